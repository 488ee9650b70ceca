"""Side by side or one after another: who runs the independent parts of an extraction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lanes(Protocol):
    """What the host gives an extraction to run its parts on."""

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """Do all works, in any order and perhaps in other threads.

        Returns: their answers, in the order of the works.

        Raises: what the first work of that order that failed has raised.
        """

    def spread(self, work: Callable[[int], T]) -> T:
        """Call `work` with the number of cores that it may use, at least 1; its answer."""

    def beside(self, work: Callable[[], T]) -> Callable[[], T]:
        """Do a work while a core is idle beside works that `run` does, perhaps in another thread, and after all of
        those that wait.

        Returns: what waits until it is done, or does it where nobody has begun it; its answer, or what it raised.
        """


class OneLane:
    """One after another, in the caller's thread."""

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        return [work() for work in works]

    def spread(self, work: Callable[[int], T]) -> T:
        return work(1)

    def beside(self, work: Callable[[], T]) -> Callable[[], T]:
        return work


ONE_LANE: Lanes = OneLane()
