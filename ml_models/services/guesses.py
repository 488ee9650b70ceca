"""How many guesses the counts of `services.lockout` leave to somebody who guesses without pause.

Expected false matches a day = guesses told a day × FMR. Every guess counts as a `no_match`: the first false match is
what he is after. `tests/services/test_guesses.py` asks the database for the same figures, and the table in
docs/security.md for these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import conf
from .lockout import CREDENTIAL_MAX_S, DAY_S, SIGMAS, SPARE


@dataclass(slots=True)
class _Wait:
    length_s: float = 0.0
    until_s: float = 0.0

    def extend(self, now_s: float, most_s: float) -> None:
        left = 2 * self.length_s * 0.5 ** ((now_s - self.until_s) / DAY_S)
        self.length_s = min(most_s, max(conf.get("LOCKOUT_S"), left))
        self.until_s = now_s + self.length_s


@dataclass(slots=True)
class _Failures:
    count: float = 0.0
    at_s: float = 0.0

    def add(self, now_s: float) -> float:
        forgotten = math.floor((now_s - self.at_s) / (DAY_S / 2)) / 2
        self.count, self.at_s = max(0.0, self.count - forgotten) + 1, now_s
        return self.count


def on_one_subject(days: int, one_credential: bool) -> list[int]:
    """Guesses told on each day, on one subject.

    Args:
        one_credential: all come with one; else each comes with a new one, as fast as the subject's lock allows.
    """
    slow_after, lock_after = conf.get("SLOW_AFTER"), conf.get("LOCKOUT_AFTER")
    told, now_s = [0] * days, 0.0
    failures, wait = _Failures(), _Wait()
    limit = slow_after if one_credential and slow_after < lock_after else lock_after
    while now_s < days * DAY_S:
        told[int(now_s // DAY_S)] += 1
        if failures.add(now_s) >= limit:
            wait.extend(now_s, conf.get("LOCKOUT_MAX_S"))
        now_s = max(now_s, wait.until_s)
    return told


def over_all_subjects(days: int, visits: float = 0, fnmr: float = 0.0) -> list[int]:
    """Guesses told on each day with one stolen credential, each on another subject, until somebody revokes it.

    Args:
        visits: subjects whom the credential's owner verifies a day, among whom the guesses hide.
        fnmr: the share of them that fails, in [0, 1].
    """
    honest = conf.get("HONEST_FAILURE_RATE")
    # where half is forgotten each day, so many are remembered of a steady stream
    remembered = visits / math.log(2)
    told, now_s = [0] * days, 0.0
    guesses, before_s, wait = 0.0, 0.0, _Wait()
    while now_s < days * DAY_S:
        told[int(now_s // DAY_S)] += 1
        guesses, before_s = guesses * 0.5 ** ((now_s - before_s) / DAY_S) + 1, now_s
        expected = honest * (remembered + guesses)
        if fnmr * remembered + guesses > expected + SIGMAS * math.sqrt(expected) + SPARE:
            wait.extend(now_s, CREDENTIAL_MAX_S)
            now_s = wait.until_s
    return told
