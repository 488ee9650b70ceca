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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from .. import conf, metrics
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
# the urgency of a further core for who has one: after all others
_SPARE = len(KINDS) + 1


class _Process:
    """What belongs to this process."""

    @cached_property
    def slots(self) -> Slots:
        try:
            return Slots(Path(conf.get("SLOTS_DIR") or conf.cache_dir() / "slots"), _count(), _SPARE)
        except OSError as error:
            logger.warning("slots cannot be kept in SLOTS_DIR (%s): this process counts alone", error.strerror)
            return Slots(Path(tempfile.mkdtemp(prefix="ml_models-slots-")), _count(), _SPARE)

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
    turn = process.line.join(kind.urgency, kind.patience(), came.set)
    try:
        with metrics.waiting(kind.name):
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


class _Lanes:
    """The caller's own slot, and those that nobody waits for."""

    def __init__(self, process: _Process, kind: Kind) -> None:
        self._process, self._alone = process, kind.alone

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        todo = deque((work, Future[T]()) for work in works)
        answers = [answer for _, answer in todo]
        for _ in works[1:]:
            slot = self._spare()
            if slot is None:
                break
            self._process.helpers.submit(self._help, todo, slot)
        while _do_next(todo):
            pass
        return [answer.result() for answer in answers]

    def _spare(self) -> int | None:
        return None if self._alone or self._process.line.waiting else self._process.slots.take(_SPARE)

    def _help(self, todo: deque[tuple[Callable[[], T], Future[T]]], slot: int) -> None:
        try:
            while _do_next(todo) and not (self._process.line.waiting or self._process.slots.awaited()):
                pass
        finally:
            self._process.slots.give_back(slot)


def _do_next(todo: deque[tuple[Callable[[], T], Future[T]]]) -> bool:
    try:
        work, answer = todo.popleft()
    except IndexError:
        return False
    try:
        answer.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever asked for the answer gets it
        todo.clear()  # all before it are done or begun, so nobody comes to ask for those after it
        answer.set_exception(error)
    return True
