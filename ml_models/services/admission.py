"""Who may compute now: `with admission.admitted(admission.VERIFY) as lanes:` around whatever runs networks.

As many at a time as the host has cores, over all of its processes (`slots`); the most urgent kind first, and at once
`overloaded` for who would wait too long (`line`). Who is admitted has one core, and more while nobody waits for them.
"""

from __future__ import annotations

import logging
import math
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from .. import conf, metrics, tracing
from ..engine.lanes import Lanes
from ..engine.processor import cores
from ..runtime import PerProcess
from .line import Line
from .slots import Slots

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind:
    """`urgency`: the lower one goes first. `overdue_s`: after so long nobody goes first any more, or a rush would hold
    it up for ever. `patience_s`: who would wait longer is refused; the setting MAX_WAIT_S where it is None. `alone`: it
    takes no second core, so that one is idle for whoever comes."""

    name: str
    urgency: int
    overdue_s: float
    patience_s: float | None = None
    alone: bool = False

    def patience(self) -> float:
        return float(conf.get("MAX_WAIT_S")) if self.patience_s is None else self.patience_s

    def long_s(self) -> float:
        """After so long in the line a share of the places is for it; see `Line.join`."""
        return self.patience() / 2 if math.isfinite(self.overdue_s) else math.inf


VERIFY = Kind("verify", 1, overdue_s=0.05)
"""Somebody stands before a door."""
ENROLL = Kind("enroll", 2, overdue_s=0.2)
LOOK = Kind("look", 3, overdue_s=0.2)
"""Somebody is still choosing a picture."""
EMBED = Kind("embed", 4, overdue_s=1.0, patience_s=math.inf, alone=True)
"""A worker's re-embedding; never refused."""
SHADOW = Kind("shadow", 5, overdue_s=math.inf, patience_s=5.0, alone=True)
"""What may as well not be done."""
KINDS = (VERIFY, ENROLL, LOOK, EMBED, SHADOW)
URGENCIES = len(KINDS) + 1
"""Of who waits: 0 is the overdue's."""
# the urgency of a further core for who has one: after all who wait
_SPARE = URGENCIES


class _Process:
    """What belongs to this process."""

    @cached_property
    def slots(self) -> Slots:
        try:
            return Slots(Path(conf.get("SLOTS_DIR") or conf.cache_dir() / "slots"), _count(), URGENCIES)
        except OSError as error:
            logger.warning("slots cannot be kept in SLOTS_DIR (%s): this process counts alone", error.strerror)
            return Slots(Path(tempfile.mkdtemp(prefix="ml_models-slots-")), _count(), URGENCIES)

    @cached_property
    def line(self) -> Line:
        return Line(_count())

    @cached_property
    def helpers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_count(), "ml_models-lane")


current = PerProcess(_Process)


@contextmanager
def admitted(kind: Kind) -> Iterator[Lanes]:
    """Wait for a core, and hold it inside.

    Args:
        kind: one of `KINDS`.

    Returns: what to run independent works on; see `engine.lanes`.

    Raises:
        Overloaded: there is none in time; raised at once where that can be foreseen.
    """
    process = current()
    until = time.monotonic() + kind.patience()
    came = threading.Event()
    turn = process.line.join(kind.urgency, kind.patience(), came.set, kind.long_s())
    try:
        with metrics.waiting(kind.name), tracing.span("wait"):
            # a place that comes at the very end is taken all the same
            if turn.since is None and not came.wait(_timeout(until)) and turn.since is None:
                raise process.line.refusal()
            slot = process.slots.take(kind.urgency)
            if slot is None:
                try:
                    slot = process.slots.wait(kind.urgency, kind.overdue_s, until)
                except TimeoutError:
                    raise process.line.refusal() from None
        try:
            yield _Lanes(process, kind)
        finally:
            process.slots.give_back(slot)
    finally:
        process.line.leave(turn)


def _count() -> int:
    return int(conf.get("SLOTS") or cores())


def _timeout(until: float) -> float | None:
    return max(0.0, until - time.monotonic()) if math.isfinite(until) else None


@dataclass(slots=True, eq=False)
class _Work:
    """`run`: the same for the works that were asked for together."""

    do: Callable[[], Any]
    run: object
    answer: Future[Any] = field(default_factory=Future)


class _Lanes:
    """The caller's own slot, and those that nobody waits for, for all the works of one attempt.

    Works may run works: a picture runs its members. Whoever has to wait for works that another thread does, does the
    next one of the attempt meanwhile, whoever's it is, or its core would be idle.
    """

    def __init__(self, process: _Process, kind: Kind) -> None:
        self._process, self._alone = process, kind.alone
        self._todo: deque[_Work] = deque()
        self._beside: deque[_Work] = deque()
        self._helpers = 0
        self._changed = threading.Condition()

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        together = object()
        own = [_Work(work, together) for work in works]
        with self._changed:
            self._todo.extend(own)
            self._changed.notify_all()
        for _ in range(len(works) - 1 + len(self._beside)):
            slot = self._spare()
            if slot is None:
                break
            with self._changed:
                self._helpers += 1
            self._process.helpers.submit(self._help, slot)
        return self._finish(own)

    def spread(self, work: Callable[[int], T]) -> T:
        slot = self._spare()
        if slot is None:
            return work(1)
        try:
            return work(2)
        finally:
            self._process.slots.give_back(slot)

    def beside(self, work: Callable[[], T]) -> Callable[[], T]:
        own = _Work(work, object())
        self._beside.append(own)

        def answer() -> T:
            answer: T = self._finish([own])[0]
            return answer

        return answer

    def _finish(self, own: Sequence[_Work]) -> list[Any]:
        while (work := self._next(own)) is not None:
            self._do(work)
        return [work.answer.result() for work in own]

    def _spare(self) -> int | None:
        return None if self._alone or self._process.line.waiting else self._process.slots.take(_SPARE)

    def _awaited(self) -> bool:
        return bool(self._process.line.waiting or self._process.slots.awaited())

    def _help(self, slot: int) -> None:
        try:
            while (work := self._take()) is not None:
                self._do(work)
                if self._awaited():
                    break
        finally:
            with self._changed:
                self._helpers -= 1
                self._changed.notify_all()
            self._process.slots.give_back(slot)

    def _take(self) -> _Work | None:
        with self._changed:
            waiting = self._todo or self._beside
            return waiting.popleft() if waiting else None

    def _next(self, own: Sequence[_Work]) -> _Work | None:
        """The next work for who waits for `own`; waits for one, and gives None once those are done."""
        with self._changed:
            while not all(work.answer.done() for work in own):
                # alone, one picture after another: no more of them are in memory than need be
                anybodys = self._helpers and not self._awaited()
                waiting = (*self._todo, *self._beside)
                work = next((work for work in waiting if anybodys or work in own), None)
                if work is not None:
                    (self._todo if work in self._todo else self._beside).remove(work)
                    return work
                self._changed.wait()
        return None

    def _do(self, work: _Work) -> None:
        try:
            work.answer.set_result(work.do())
        except BaseException as error:  # noqa: BLE001 - whoever asked for the answer gets it
            work.answer.set_exception(error)
            with self._changed:
                # all before it are done or begun, so nobody comes to ask for those after it
                for later in [other for other in self._todo if other.run is work.run]:
                    self._todo.remove(later)
                    later.answer.cancel()
        with self._changed:
            self._changed.notify_all()
