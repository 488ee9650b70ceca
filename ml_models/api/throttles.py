"""The limit per caller, checked before a body is read."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from ml_models.services import limits


class CallerThrottle(BaseThrottle):
    """Refuses a caller beyond `ML_MODELS["LIMITS"]["caller"]`; callers without a name only reach health checks."""

    _wait_s: int | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        if getattr(request.user, "is_authenticated", False):
            self._wait_s = limits.spend("caller", str(request.user.pk))
        return self._wait_s is None

    def wait(self) -> float | None:
        return self._wait_s
