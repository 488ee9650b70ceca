"""Django's cache in Redis, with a client that lasts: Django makes one for each call, which takes longer than the call.
A client is safe to share between threads; its connections come from the pool that Django keeps. And with an `incr` that
asks once where Django asks twice, since each call of the API counts two limits."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.core.cache.backends import redis

# a key that is not there has to be told from one that counts: INCRBY alone would make it, and it would never expire
_INCREMENT = "if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('INCRBY', KEYS[1], ARGV[1]) end"


class _Client(redis.RedisCacheClient):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # one that writes, and one that reads, perhaps from another server
        self._clients: dict[bool, Any] = {}

    def get_client(self, key: Any = None, *, write: bool = False) -> Any:
        if write not in self._clients:
            self._clients[write] = super().get_client(key, write=write)
        return self._clients[write]

    def incr(self, key: Any, delta: int) -> int:
        count = self._increment(keys=[key], args=[delta])
        if count is None:
            raise ValueError(f"Key '{key}' not found.")
        return int(count)

    @cached_property
    def _increment(self) -> Any:
        return self.get_client(write=True).register_script(_INCREMENT)


class RedisCache(redis.RedisCache):
    """See the module."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _Client
