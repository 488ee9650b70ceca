"""How failures are counted, forgotten and waited for: the arithmetic of `services.lockout`, on numbers alone.

Times are in seconds. Failures are counted in halves, so that a `review` is one and a `no_match` is two.
"""

from __future__ import annotations

import math

from .. import conf

POINTS = {"no_match": 2, "review": 1, "match": 0}
DAY_S = 86_400
# a credential serves many: it waits long enough for somebody to look, not a day
CREDENTIAL_MAX_S = 3_600
# so far above the honest rate is suspicious: standard deviations of a Poisson count, and so many for small counts
SIGMAS, SPARE = 4, 10
# no count goes higher
_MOST = 1_000


def halved(value: float, since_s: float) -> float:
    """What is left of a value of which each day forgets half."""
    return float(value * 0.5 ** (max(0.0, since_s) / DAY_S))


def with_failure(failures: int, since_s: float, points: int) -> int:
    """A row's failures with one more; each half of a day has forgotten one of its halves."""
    forgotten = math.floor(max(0.0, since_s) / (DAY_S / 2))
    return min(_MOST, max(0, failures - forgotten) + points)


def next_wait_s(last_s: float, since_its_end_s: float, most_s: float) -> float:
    """Twice the last wait, or what is left of it; the first one at least."""
    return float(min(most_s, max(conf.get("LOCKOUT_S"), 2 * halved(last_s, since_its_end_s))))


def slow_after() -> int:
    """The failures of one credential on one subject, in halves, at which it waits; none where the lock comes first."""
    slow, lock = conf.get("SLOW_AFTER"), conf.get("LOCKOUT_AFTER")
    return int(2 * slow) if slow < lock else _MOST + 1


def locks(failures: int, with_this_credential: int) -> bool:
    """Whether a subject's failures lock it; of one credential's no more count than make it wait."""
    others = max(0, failures - with_this_credential)
    return bool(others + min(with_this_credential, slow_after()) >= 2 * conf.get("LOCKOUT_AFTER"))


def is_suspect(failures: float, visits: float) -> bool:
    """Whether a credential fails far more people than honest ones fail."""
    honest = conf.get("HONEST_FAILURE_RATE")
    expected = honest * visits
    return bool(honest < 1 and failures > expected + SIGMAS * math.sqrt(expected) + SPARE)
