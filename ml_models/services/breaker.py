"""A circuit breaker: what has just failed is left alone for a moment, so that not everybody waits for it."""

from __future__ import annotations

import threading
import time


class Breaker:
    """Open after a failure. Once in `pause_s` it lets one caller find out whether the failure is over.

    Args:
        pause_s: seconds for which nobody tries again.
    """

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._retry_at: float | None = None

    def allows(self) -> bool:
        """Whether to try. After a try, call `failed` or `worked`."""
        with self._lock:
            if self._retry_at is None:
                return True
            if time.monotonic() < self._retry_at:
                return False
            # this caller finds out; the others go on without meanwhile
            self._retry_at = time.monotonic() + self._pause_s
            return True

    def failed(self) -> None:
        with self._lock:
            self._retry_at = time.monotonic() + self._pause_s

    def worked(self) -> None:
        self._retry_at = None
