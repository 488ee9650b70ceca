"""gunicorn's ASGI worker, with what it leaves to others: what is no HTTP is answered with a problem document, and a
client that never comes to the end of its headers is not waited for.

Both reach into gunicorn's protocol class, whose version requirements.txt pins; tests/backend_easy/test_front.py notices
when a later one has moved.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

HEAD_S = 30.0


class Protocol(ASGIProtocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_S, self._close_transport)

    def _on_headers_complete(self) -> Any:
        self._head_timer.cancel()
        return super()._on_headers_complete()

    def connection_lost(self, error: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(error)

    def _send_error_response(self, status: int, message: str, extra_headers: Any = ()) -> None:
        # `ml_models.api.errors` is not imported: it needs Django, and this module is read before it is set up
        code, status = ("invalid_request", 400) if status < 500 else ("internal_error", 500)
        detail = "The request is not HTTP as this service reads it." if status == 400 else "The service failed."
        title = HTTPStatus(status).phrase
        problem = {"type": f"urn:ml-models:{code}", "title": title, "status": status, "code": code, "detail": detail}
        body = json.dumps(problem, separators=(",", ":")).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._safe_write(head.encode() + body)


class Worker(gasgi.ASGIWorker):
    """See the module."""

    def init_process(self) -> None:
        gasgi.ASGIProtocol = Protocol  # what the worker makes of each connection
        super().init_process()
