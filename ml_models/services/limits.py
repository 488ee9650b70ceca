"""How often a caller may ask, and how often a subject may be asked for, counted once for all processes.

The count lies in the host's default cache. When that does not answer, each process counts for itself and asks again a
second later: the limits hold per process meanwhile. A child waiting at a door is not sent away because a cache is down,
and guessing stays bounded by the lock-out, which the database counts.
"""

from __future__ import annotations

import hashlib
import logging
import time

from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from redis.exceptions import RedisError

from .. import conf, metrics
from .breaker import Breaker

logger = logging.getLogger(__name__)

breaker = Breaker(pause_s=1.0)
own = LocMemCache("ml_models.limits", {"OPTIONS": {"MAX_ENTRIES": 10_000}})


def spend(scope: str, who: str, uses: int = 1) -> int | None:
    """Count one use, or several, against `ML_MODELS["LIMITS"][scope]`, a pair (uses, seconds) or None for no limit;
    the default where the host's setting does not name the scope. With none it is only looked at.

    Returns: None while within the limit, else the seconds until the next window opens.
    """
    # a host that sets one limit keeps the others
    limit = (conf.DEFAULTS["LIMITS"] | conf.get("LIMITS")).get(scope)
    if limit is None:
        return None
    most, window_s = limit
    window, elapsed_s = divmod(time.time(), window_s)
    # an id may be a name, and memcached takes no blanks; the window is part of the key, so none needs to be reset
    key = f"ml_models:{scope}:{hashlib.sha256(who.encode()).hexdigest()}:{int(window)}"
    return None if _count(key, window_s, uses) <= most else max(1, round(window_s - elapsed_s))


def _count(key: str, window_s: int, uses: int) -> int:
    if breaker.allows():
        try:
            count = _increment(cache, key, window_s, uses)
        except (OSError, RedisError, ValueError) as error:  # ValueError: the cache forgot the key at once
            breaker.failed()
            metrics.cache_answered(False)
            logger.warning("limits: the cache does not answer (%s); this process counts alone", type(error).__name__)
        else:
            breaker.worked()
            metrics.cache_answered(True)
            return count
    return _increment(own, key, window_s, uses)


def _increment(store: BaseCache, key: str, window_s: int, uses: int) -> int:
    if not uses:
        return int(store.get(key, 0))
    try:
        return int(store.incr(key, uses))
    except ValueError:  # the first one of this window
        store.add(key, 0, timeout=2 * window_s)  # sets it only where no other was first
        return int(store.incr(key, uses))
