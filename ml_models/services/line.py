"""A bounded queue for a few places: the most urgent first, and whoever would wait too long is refused at once.

While the more urgent keep coming, the others would wait in vain: so a share of the places is for those who have waited
long.

While about as much comes as is served, a newcomer may wait as long as its patience. While far more comes, a long line
would make everybody late and serve nobody more: then one waits for each place that is about to be free, and the others
are refused as they come.
"""

from __future__ import annotations

import bisect
import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..exceptions import Overloaded

# What came within so many seconds is far more than what is served when it is so many times what the places could serve.
_LATELY_S = 2.0
_FAR_MORE = 2.0
# then a newcomer may be expected to wait for so many times what a place is usually held for
_BRIEFLY = 0.25
# so much of its patience may a newcomer be expected to wait: what is expected is a mean, and some wait in vain
_SURE = 0.9
# the latest measurement's share in the mean
_LATEST = 0.1
# Of so many places one is for who has waited long, though somebody more urgent waits.
_SHARED = 4


@dataclass(slots=True, order=True)
class Turn:
    """Where somebody stands. `long_at`: when it has waited long; `since`: since when it holds a place, None while it
    waits."""

    kind: int
    deadline: float
    number: int
    wake: Callable[[], None] = field(compare=False)
    long_at: float = field(default=math.inf, compare=False)
    since: float | None = field(default=None, compare=False)
    gone: bool = field(default=False, compare=False)


class Line:
    """Safe to share between threads; nothing in it blocks.

    Args:
        places: how many are served at the same time.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: list[Turn] = []  # in their order; nobody waits while a place is free
        self._given = 0
        self._served: dict[int, float] = {}  # since when, by number; whoever has its place for longest comes first
        self._hold_s = 0.0
        self._came, self._counted_at = 0.0, time.monotonic()

    @property
    def waiting(self) -> int:
        with self._lock:
            return len(self._waiting)

    def ask(self, kind: int, patience_s: float) -> None:
        """Whether `join` would refuse now, for whoever has to fetch the work first.

        Raises: Overloaded
        """
        with self._lock:
            try:
                self._require_time(Turn(kind, time.monotonic() + patience_s, next(self._numbers), _nothing), patience_s)
            except Overloaded:
                self._count()  # it will not come to join
                raise

    def join(self, kind: int, patience_s: float, wake: Callable[[], None], long_s: float = math.inf) -> Turn:
        """Take a place, or a place in the line.

        Args:
            kind: the lower one is served first; of one kind, whoever's patience ends first.
            patience_s: who would wait longer is refused; infinity for who never is.
            wake: called once the place is there, by whichever thread made room; not when it is there at once.
            long_s: after so long every fourth place is for it, unless others came to that before.

        Raises:
            Overloaded: it would wait too long.
        """
        with self._lock:
            now = time.monotonic()
            turn = Turn(kind, now + patience_s, next(self._numbers), wake, now + long_s)
            self._count()
            self._require_time(turn, patience_s)
            if len(self._served) < self.places:
                self._serve(turn)
            else:
                bisect.insort(self._waiting, turn)
            return turn

    def leave(self, turn: Turn) -> None:
        """Give up a place, or a place in the line; a second time does nothing."""
        served: list[Turn] = []
        with self._lock:
            if turn.gone:
                return
            turn.gone = True
            if turn.since is None:
                self._waiting.remove(turn)
            else:
                held_s = time.monotonic() - self._served.pop(turn.number)
                self._hold_s += (held_s - self._hold_s) * (_LATEST if self._hold_s else 1.0)
            while self._waiting and len(self._served) < self.places:
                served.append(self._following())
                self._waiting.remove(served[-1])
                self._serve(served[-1])
        for following in served:
            following.wake()

    def refusal(self) -> Overloaded:
        """For who has waited in vain."""
        with self._lock:
            return self._refusal()

    def _following(self) -> Turn:
        self._given += 1
        if self._given % _SHARED == 0:
            longest = min(self._waiting, key=lambda turn: turn.long_at)
            if longest.long_at <= time.monotonic():
                return longest
        return self._waiting[0]

    def _serve(self, turn: Turn) -> None:
        turn.since = self._served[turn.number] = time.monotonic()

    def _require_time(self, turn: Turn, patience_s: float) -> None:
        if len(self._served) < self.places:
            return
        expected_s = self._expected_s(bisect.bisect_left(self._waiting, turn))
        if self._far_more() and math.isfinite(patience_s):
            patience_s = min(patience_s, _BRIEFLY * self._hold_s / _SURE)
        if expected_s > _SURE * patience_s:
            raise self._refusal()

    def _expected_s(self, ahead: int) -> float:
        """Until a place is free for whoever has so many before it; all are taken."""
        rounds, place = divmod(ahead, self.places)
        since = next(itertools.islice(self._served.values(), place, None))
        return rounds * self._hold_s + max(0.0, since + self._hold_s - time.monotonic())

    def _refusal(self) -> Overloaded:
        return Overloaded(self._hold_s * (len(self._waiting) + len(self._served)) / self.places)

    def _count(self) -> None:
        now = time.monotonic()
        self._came = 1 + self._came * math.exp((self._counted_at - now) / _LATELY_S)
        self._counted_at = now

    def _far_more(self) -> bool:
        return self._came * self._hold_s > _FAR_MORE * self.places * _LATELY_S


def _nothing() -> None:
    return None
