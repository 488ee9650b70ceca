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


class OneLane:
    """One after another, in the caller's thread."""

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        return [work() for work in works]

    def spread(self, work: Callable[[int], T]) -> T:
        return work(1)


ONE_LANE: Lanes = OneLane()
