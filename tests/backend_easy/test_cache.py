"""The service's cache: Django's in Redis, with a client that lasts."""

from typing import Any

import pytest
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


def test_a_count_that_is_not_there_is_not_begun_and_one_that_is_keeps_its_time() -> None:
    cache: Any = caches.create_connection("default")
    cache.delete("test_cache")
    with pytest.raises(ValueError, match="not found"):
        cache.incr("test_cache")
    assert cache.get("test_cache") is None
    cache.set("test_cache", 1, timeout=50)
    assert cache.incr("test_cache", 3) == 4
    client = cache._cache.get_client(write=True)
    assert 0 < client.ttl(cache.make_key("test_cache")) <= 50
    client.script_flush()  # as a server that was started again
    assert cache.incr("test_cache", -1) == 3
    cache.delete("test_cache")


def test_a_count_asks_the_server_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache: Any = caches.create_connection("default")
    cache.set("test_cache", 1, timeout=50)
    cache.incr("test_cache")  # the server has the script now
    client = cache._cache.get_client(write=True)
    asked: list[str] = []
    ask = client.execute_command

    def noted(*words: Any, **options: Any) -> Any:
        asked.append(words[0])
        return ask(*words, **options)

    monkeypatch.setattr(client, "execute_command", noted)
    cache.incr("test_cache")
    assert asked == ["EVALSHA"]
    cache.delete("test_cache")
