"""How many guesses the counts of `services.lockout` leave to somebody who guesses without pause.

Expected false matches a day = guesses told a day × FMR. Every guess counts as a `no_match`: the first false match is
what he is after. `tests/services/test_guesses.py` asks the database for the same figures, and the table in
docs/security.md for these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import conf
from . import counts
from .counts import DAY_S


@dataclass(slots=True)
class _Wait:
    length_s: float = 0.0
    until_s: float = 0.0

    def extend(self, now_s: float, most_s: float) -> None:
        self.length_s = counts.next_wait_s(self.length_s, now_s - self.until_s, most_s)
        self.until_s = now_s + self.length_s


def on_one_subject(days: int, one_credential: bool) -> list[int]:
    """Guesses told on each day, on one subject.

    Args:
        one_credential: all come with one; else each comes with a new one, as fast as the subject's lock allows.
    """
    lock_after = 2 * conf.get("LOCKOUT_AFTER")
    limit = min(counts.slow_after(), lock_after) if one_credential else lock_after
    told, now_s = [0] * days, 0.0
    failures, failed_s, wait = 0, 0.0, _Wait()
    while now_s < days * DAY_S:
        told[int(now_s // DAY_S)] += 1
        failures = counts.with_failure(failures, now_s - failed_s, counts.POINTS["no_match"])
        failed_s = now_s
        if failures >= limit:
            wait.extend(now_s, conf.get("LOCKOUT_MAX_S"))
        now_s = max(now_s, wait.until_s)
    return told


def over_all_subjects(days: int, visits: float = 0, fnmr: float = 0.0) -> list[int]:
    """Guesses told on each day with one stolen credential, each on another subject, until somebody revokes it.

    Args:
        visits: subjects whom the credential's owner verifies a day, among whom the guesses hide.
        fnmr: the share of them that fails, in [0, 1].
    """
    # where half is forgotten each day, so many are remembered of a steady stream
    remembered = visits / math.log(2)
    told, now_s = [0] * days, 0.0
    guesses, before_s, wait = 0.0, 0.0, _Wait()
    while now_s < days * DAY_S:
        told[int(now_s // DAY_S)] += 1
        guesses, before_s = counts.halved(guesses, now_s - before_s) + 1, now_s
        if counts.is_suspect(fnmr * remembered + guesses, remembered + guesses):
            wait.extend(now_s, counts.CREDENTIAL_MAX_S)
            now_s = wait.until_s
    return told
