"""As many computations at a time as this host has cores, counted over all of its processes.

A slot is a file that whoever computes holds a lock on (`flock`): the kernel lets go of a killed process's. So that each
process sees who waits in the others, whoever waits locks a file, shared, for its own urgency and for each lesser one:
one look at the file of an urgency says whether anybody of that or of a greater one waits.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A waiter polls so often for slots that other processes free. A slot freed in its own process wakes it at once.
_LOOK_EVERY_S = 0.003


class Slots:
    """Safe to share between threads, of one process: make it after a fork.

    Args:
        folder: where the files are; the same for all processes of the host.
        count: how many slots there are.
        urgencies: how many there are; 0 is the most urgent.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, count: int, urgencies: int) -> None:
        self.count = count
        folder.mkdir(parents=True, exist_ok=True)
        self._slots = [_open(folder / f"slot-{number}") for number in range(count)]
        # to say that somebody waits here, and to look whether somebody does, here or elsewhere
        self._says = [_open(folder / f"waiting-{urgency}") for urgency in range(urgencies)]
        self._looks = [_open(folder / f"waiting-{urgency}") for urgency in range(urgencies)]
        self._waiting = [0] * urgencies
        self._held: set[int] = set()
        self._changed = threading.Condition()

    def __del__(self) -> None:
        # after a fork, too: a lock lasts until the last copy of its file is closed
        for descriptor in (*getattr(self, "_slots", ()), *getattr(self, "_says", ()), *getattr(self, "_looks", ())):
            os.close(descriptor)

    def take(self, urgency: int) -> int | None:
        """A free slot, unless somebody more urgent waits for one; None where there is none."""
        if self.awaited(urgency):
            return None
        with self._changed:
            for number, descriptor in enumerate(self._slots):
                if number not in self._held and _lock(descriptor, fcntl.LOCK_EX):
                    self._held.add(number)
                    return number
        return None

    def give_back(self, slot: int) -> None:
        with self._changed:
            fcntl.flock(self._slots[slot], fcntl.LOCK_UN)
            self._held.discard(slot)
            self._changed.notify_all()

    def awaited(self, less_than: int | None = None) -> bool:
        """Whether somebody waits for a slot, in any process; of an urgency below `less_than`, if that is given."""
        last = (len(self._looks) if less_than is None else less_than) - 1
        if last < 0:
            return False
        with self._changed:
            if self._waiting[last]:
                return True
            if free := _lock(self._looks[last], fcntl.LOCK_EX):
                fcntl.flock(self._looks[last], fcntl.LOCK_UN)
            return not free

    def wait(self, urgency: int, overdue_s: float, until: float) -> int:
        """Wait for a slot.

        Args:
            urgency: from 1 on; 0 is for who is overdue.
            overdue_s: after so long nobody goes first any more: in another process somebody takes each slot at once.
            until: by `time.monotonic`.

        Raises:
            TimeoutError: there was none until then.
        """
        began = time.monotonic()
        while (now := time.monotonic()) < until:
            current = 0 if now > began + overdue_s else urgency
            with self._awaiting(current):
                turn_ends = until if current == 0 else min(until, began + overdue_s)
                slot = self.take(current)
                while slot is None and time.monotonic() < turn_ends:
                    with self._changed:
                        self._changed.wait(_LOOK_EVERY_S)
                    slot = self.take(current)
            if slot is not None:
                return slot
        raise TimeoutError

    def busy(self) -> int:
        """How many are taken, in all processes."""
        with self._changed:
            taken = len(self._held)
            for number, descriptor in enumerate(self._slots):
                if number not in self._held and _lock(descriptor, fcntl.LOCK_EX):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                elif number not in self._held:
                    taken += 1
            return taken

    @contextmanager
    def _awaiting(self, urgency: int) -> Iterator[None]:
        levels = range(urgency, len(self._waiting))
        with self._changed:
            # from the least urgent on: whoever sees one of them sees all the lesser ones
            for level in reversed(levels):
                self._waiting[level] += 1
                if self._waiting[level] == 1:
                    fcntl.flock(self._says[level], fcntl.LOCK_SH)  # who looks lets go at once
        try:
            yield
        finally:
            with self._changed:
                for level in levels:
                    self._waiting[level] -= 1
                    if not self._waiting[level]:
                        fcntl.flock(self._says[level], fcntl.LOCK_UN)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
