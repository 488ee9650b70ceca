"""The service's cache: Django's in Redis, with a client that lasts."""

from typing import Any

from django.conf import settings
from django.core.cache import caches


def test_a_cache_makes_one_client_with_the_time_outs_of_the_settings() -> None:
    cache: Any = caches.create_connection("default")
    for write in (True, False):
        client = cache._cache.get_client("key", write=write)
        assert cache._cache.get_client("another", write=write) is client
        connections = client.connection_pool.connection_kwargs
        wanted: Any = settings.CACHES["default"]["OPTIONS"]
        assert {name: connections[name] for name in wanted} == wanted
    cache.set("test_cache", 1, timeout=5)
    assert (cache.incr("test_cache"), cache.get("test_cache")) == (2, 2)
    cache.delete("test_cache")
