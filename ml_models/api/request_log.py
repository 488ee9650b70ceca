"""Django logs the path of every refused request. Ours end in a subject's id, so their route is logged in its place."""

from __future__ import annotations

import logging
from typing import Any

from .fallback import is_ours


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
