"""gunicorn's ASGI worker, with what it leaves to others: what is no HTTP is answered with a problem document, a client
that never comes to the end of its headers is not waited for, no request is lost on a connection that was idle, and a
crowd that connects at once is not kept waiting. And who is refused because too many come costs no more than reading its
bytes.

They reach into gunicorn's protocol class, whose version requirements.txt pins; tests/backend_easy/test_front.py,
test_worker.py and test_refusals.py notice when a later one has moved.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from gunicorn.asgi.parser import ParseError
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from .refusals import DRAINED_S, usual_post

HEAD_S = 30.0
# of the time that gunicorn gives a process to end: how long an idle connection may be used. A proxy that keeps its
# own for less loses no request, and what remains is for the last answers.
_LAST_SHARE = 0.6
# A body may come in so many pieces of any size. A small one costs more than its bytes, and everybody waits for it.
_PIECES, _PIECE_BYTES = 1000, 64
# before the loop looks at anything else; without a file left, it logs as many errors a second
_ACCEPTED = 16
# gunicorn's own words may repeat the request
_NOT_HTTP = (
    "The request is not HTTP/1.1 as this service reads it. Escape what is not ASCII in the address. Its first line may "
    "have 4,094 bytes, each of 100 headers 8,190; the only transfer coding is chunked, in chunks of 64 bytes or more."
)


class Protocol(ASGIProtocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.worker.connections.add(self)
        self._refuses = getattr(self.app, "refuses", None)
        self._refusing, self._told, self._unread, self._held = False, False, 0, b""
        self._head_timer = self._close_in(HEAD_S)

    def data_received(self, data: bytes) -> None:
        if self._refusing:
            self._read_on(data, 0)
            return
        if self._awaiting_request and self._refused(data):
            return
        # the beginning of a request: to close now because the idle time is over would lose it
        if self._keepalive_handle:
            self._cancel_keepalive_timer()
            self._head_timer = self._close_in(HEAD_S)
        super().data_received(data)

    def _refused(self, data: bytes) -> bool:
        """Whether a request begins here that the application refuses at once; then it is none for the server."""
        if self._refuses is None or not self.worker.alive or self._flow_control.write_paused:
            return False
        parser = self._callback_parser
        if parser.method or parser._buffer or not (usual := usual_post(data)):
            return False
        target, head, body = usual
        if not self._refuses(target, self._tell):
            return False
        self._cancel_keepalive_timer()
        self._head_timer.cancel()
        self._refusing, self._told, self._unread = True, False, body
        self._read_on(data, head)
        return True

    def _read_on(self, data: bytes, start: int) -> None:
        """Forget the body of a refused request, and keep what comes behind it until it has its answer."""
        end = start + min(len(data) - start, self._unread)
        self._unread -= end - start
        if end < len(data):
            self._held += data[end:]
            self._pause_reading()
        self._go_on()

    def _tell(self, answer: bytes) -> None:
        if not self._closed:
            self._safe_write(answer)
            self._told = True
            if self._unread:
                self._head_timer = self._close_in(DRAINED_S)
            self._go_on()

    def _go_on(self) -> None:
        """To the next request, if the refused one has come whole and has its answer."""
        if self._unread or not self._told:
            return
        self._refusing = False
        self._head_timer.cancel()
        self._arm_keepalive_timer()
        held, self._held = self._held, b""
        self._resume_reading()
        if held:
            self.data_received(held)
        elif not self.worker.alive:
            self._keepalive_timeout()

    def _resume_reading(self) -> None:
        # requests that came before their turn are answered first, or each answer would bring more of them
        if self._http1_buffered() <= self._max_buffer_size:
            super()._resume_reading()

    def _on_headers_complete(self) -> Any:
        self._head_timer.cancel()
        self._pieces, self._body_bytes = 0, 0
        return super()._on_headers_complete()

    def _on_body(self, piece: Any) -> None:
        self._pieces += 1
        self._body_bytes += len(piece)
        if self._pieces > _PIECES and self._body_bytes < _PIECE_BYTES * self._pieces:
            raise ParseError("chunks that are too small")
        super()._on_body(piece)

    def _handle_h1c_exception(self, error: Exception) -> bool:
        """A Content-Length of more than 4,300 digits, of which Python makes no number."""
        if not isinstance(error, ValueError):
            return bool(super()._handle_h1c_exception(error))
        self._send_error_response(400, "")
        self._close_transport()
        return True

    def _is_websocket_upgrade(self, request: Any) -> bool:
        """There are none: a server may go on in HTTP (RFC 9110, 7.8)."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._head_timer.cancel()
        self.worker.connections.discard(self)
        super().connection_lost(error)

    def end(self, within_s: float) -> None:
        """Its process stops: a request that begins within this time is answered, with `Connection: close`."""
        if self._awaiting_request:
            self._cancel_keepalive_timer()
            self._head_timer.cancel()
            self._head_timer = self._close_in(within_s)

    def _close_in(self, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._keepalive_timeout)

    def _send_error_response(self, status: int, message: str, extra_headers: Any = ()) -> None:
        # `ml_models.api.errors` is not imported: it needs Django, and this module is read before it is set up
        # 501: a transfer coding that there is none
        code, status = ("invalid_request", 400) if status < 500 or status == 501 else ("internal_error", 500)
        detail = _NOT_HTTP if status == 400 else "The service failed."
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections: set[Protocol] = set()

    def init_process(self) -> None:
        gasgi.ASGIProtocol = Protocol  # what the worker makes of each connection
        super().init_process()

    def _setup_event_loop(self) -> None:
        super()._setup_event_loop()
        create = self.loop.create_server

        async def create_server(*args: Any, **kwargs: Any) -> Any:
            server = await create(*args, **kwargs, backlog=_ACCEPTED)
            # asyncio has listened anew: of more clients who come at once, each would wait a second or three
            kwargs["sock"].listen(self.cfg.backlog)
            return server

        self.loop.create_server = create_server

    async def _shutdown(self) -> None:
        for connection in self.connections:
            connection.end(_LAST_SHARE * self.cfg.graceful_timeout)
        await super()._shutdown()
