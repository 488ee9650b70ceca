"""What the log says of a call: which request, which credential, what came of it; never whose face it was about.

Django logs the path of every refused request. Ours end in a subject's id, so their route is logged in its place.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from django.http import HttpResponseBase
from rest_framework.request import Request

from .callers import caller
from .fallback import is_ours

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
# every few seconds, by whom nobody looks for
_ASKED_OFTEN = ("healthz", "readyz", "metrics")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_context: ContextVar[Mapping[str, str] | None] = ContextVar("ml_models.request", default=None)


def context() -> Mapping[str, str]:
    """What is known of the call in hand, for a log's formatter: `request_id`; empty outside of calls."""
    return _context.get() or {}


@contextmanager
def numbered(given: str | None) -> Iterator[str]:
    """Around a call: whatever is logged meanwhile has its id, the proxy's where that gave one."""
    request_id = given if given and _ID.fullmatch(given) else uuid4().hex
    token = _context.set({"request_id": request_id})
    try:
        yield request_id
    finally:
        _context.reset(token)


def answered(request: Request, response: HttpResponseBase, name: str, code: str, seconds: float) -> None:
    """One line a call. The ids are of rows: the verification's or the identification's, and the credential's."""
    data = getattr(response, "data", None)
    data = data if isinstance(data, dict) else {}
    # the public property would authenticate where a refusal came before that, and fail where the database is gone
    known = getattr(request, "_authenticator", None) is not None
    facts = {
        "call": name,
        "code": code,
        "status": response.status_code,
        "ms": round(seconds * 1000, 1),
        "credential_id": caller(request).credential_id if known else "",
        "decision": data.get("decision", ""),
        "verification_id": data.get("verification_id", ""),
        "identification_id": data.get("identification_id", ""),
    }
    told = {fact: value for fact, value in facts.items() if value != ""}
    level = logging.DEBUG if name in _ASKED_OFTEN and code == "ok" else logging.INFO
    logger.log(level, "%s", " ".join(f"{fact}={value}" for fact, value in told.items()), extra={"facts": told})


def route_for_path(record: logging.LogRecord) -> bool:
    """A logging filter that keeps every record, and takes the ids out of those about our addresses."""
    request: Any = getattr(record, "request", None)
    path = getattr(request, "path", None)
    if path and is_ours(path) and isinstance(record.args, tuple):
        match = request.resolver_match  # None where the request was refused before its address was looked at
        route = match.route if match else "(an address of the API)"
        paths = {path, path.encode("unicode_escape").decode("ascii")}  # Django escapes what it logs
        record.args = tuple(route if value in paths else value for value in record.args)
    return True


def install() -> None:
    """Twice is once: a logger keeps a filter one time."""
    logging.getLogger("django.request").addFilter(route_for_path)
