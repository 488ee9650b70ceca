"""One call of a WSGI application for an ASGI request whose body is there."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

Scope = dict[str, Any]
Pieces = deque[bytes | memoryview]
Application = Callable[..., Iterable[bytes]]


class _Body(io.RawIOBase):
    """A body as it came, in pieces; each is let go of as it is read, so that it is in memory once."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._pieces:
            return 0
        piece = memoryview(self._pieces.popleft())
        count = min(len(buffer), len(piece))
        buffer[:count] = piece[:count]
        if count < len(piece):
            self._pieces.appendleft(piece[count:])
        return count


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def call(application: Application, scope: Scope, body: Pieces, answered: Callable[[Answer], None]) -> None:
    """Run an application in this thread.

    Args:
        body: in pieces, which are taken out as they are read. It may be shorter than the request's Content-Length,
            where nobody wanted the rest.
        answered: takes the whole answer. What the application does when it is closed comes after that.
    """
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        started[:] = [(status, headers)]

    response = application(_environ(scope, body), start)
    try:
        content = b"".join(response)
        [(status, headers)] = started
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if all(name != b"content-length" for name, _ in encoded):
            encoded.append((b"content-length", str(len(content)).encode()))
        answered(Answer(int(status.split(" ", 1)[0]), encoded, content))
    finally:
        getattr(response, "close", lambda: None)()


def _environ(scope: Scope, body: Pieces) -> dict[str, Any]:
    server, client = scope.get("server") or ("localhost", 80), scope.get("client")
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": _path(scope),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BufferedReader(_Body(body), 1 << 16),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if client:
        environ["REMOTE_ADDR"] = client[0]
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def _path(scope: Scope) -> str:
    """WSGI's way: bytes, in a text of latin-1. `raw_path` is optional, and the only one that has every byte."""
    raw = scope.get("raw_path")
    path = scope["path"].encode() if raw is None else unquote_to_bytes(raw.partition(b"?")[0])
    return str(path.decode("latin-1"))
