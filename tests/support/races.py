"""Races, lost on purpose: a call stopped in the middle while others go on."""

import threading
import time
from typing import Any

import pytest
from django.db import connection

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


def wait_for_a_lock() -> None:
    """Until some transaction waits for another one's row or lock."""
    for _ in range(10 * LONG_S):
        with connection.cursor() as cursor:
            # PostgreSQL keeps one snapshot of its statistics for a whole transaction
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.1)
    raise AssertionError("Nobody waits.")
