"""Races, lost on purpose: a call stopped in the middle while others go on."""

import threading
from typing import Any

import pytest

LONG_S = 120


class Parking:
    """Stops the first caller of a function, before or after its work, until the test lets it go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, after: bool = False) -> None:
        self.reached, self._go, self._taken = threading.Event(), threading.Event(), threading.Lock()
        original = getattr(module, name)

        def parked(*args: Any, **kwargs: Any) -> Any:
            first = self._taken.acquire(blocking=False)
            if first and not after:
                self._wait()
            result = original(*args, **kwargs)
            if first and after:
                self._wait()
            return result

        monkeypatch.setattr(module, name, parked)

    def _wait(self) -> None:
        self.reached.set()
        assert self._go.wait(LONG_S)

    def arrive(self) -> None:
        assert self.reached.wait(LONG_S)

    def let_go(self) -> None:
        self._go.set()
