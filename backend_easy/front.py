"""What stands before Django in a web process: it reads requests whole, and lets in as many as can be worked on.

The event loop does what costs no thread: it waits for slow clients, holds the line of those who wait, refuses who would
wait too long (`overloaded`), drops those who have gone. Django runs in threads; each lane has its own, so pictures keep
neither probes nor refusals waiting.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

from django.urls import NoReverseMatch, reverse

from ml_models import conf, metrics
from ml_models.api.errors import CODES, CONTENT_TYPE, document, retry_after
from ml_models.exceptions import Overloaded
from ml_models.services import admission
from ml_models.services.line import Line, Turn

from . import addresses, threads
from .refusals import DRAINED_S, TICK_S, Ticks, due
from .wsgi_call import Answer, Application, Pieces, Scope, call

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# A request that has not come whole by then is given up; the bytes of all bodies that are held, or are coming.
BODY_S = 60.0
MAX_HELD_BYTES = 256 << 20
# what a client may go on sending after its refusal without losing its connection
_DRAINED_BYTES = 128 << 20
# of those whose bodies have no room
_RETRY_S = 10.0
_CALL = admission.Kind("call", 1, overdue_s=math.inf, patience_s=10.0)
"""Without a picture."""

# by the names of their addresses; one that a release does not have is nobody's
_PICTURES = {
    "verify": admission.VERIFY,
    "identify": admission.VERIFY,
    "enroll": admission.ENROLL,
    "quality": admission.LOOK,
}
_MONITORING = ("readyz", "metrics")


class _Gone(Exception):
    """The client has hung up."""


class _Late(Exception):
    """The body did not come in time."""


class Lane:
    """Threads, and the line before them."""

    def __init__(self, name: str, count: int) -> None:
        self.line = Line(count)
        self.pool = ThreadPoolExecutor(count, f"web-{name}")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call goes; `name` is its address's for the metrics, where it is refused."""

    lane: Lane
    name: str
    kind: admission.Kind = _CALL

    def ask(self) -> None:
        """Raises: Overloaded, if it would have to wait too long"""
        self.lane.line.ask(self.kind.urgency, self.kind.patience())


class Front:
    """An ASGI application around Django's WSGI one."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.held_bytes = 0
        self.arriving: set[_Arriving] = set()
        self._ticks = Ticks()
        pictures, monitoring = Lane("pictures", threads.PICTURES), Lane("monitoring", threads.MONITORING)
        self._others = Route(Lane("others", threads.OTHERS), "")
        self._pictures = {
            path: Route(pictures, name, kind) for name, kind in _PICTURES.items() if (path := _path(name))
        }
        self._monitoring = {path: Route(monitoring, name) for name in _MONITORING if (path := _path(name))}
        self._monitoring[_path("healthz")] = Route(Lane("alive", threads.ALIVE), "healthz")

    def refuses(self, target: bytes, tell: Callable[[bytes], None]) -> bool:
        """Whether a POST to this address, in ASCII, is refused now; `tell` is called with the whole answer then, at a
        tick."""
        route = self._pictures.get(target.decode())
        if route is None:
            return False
        try:
            route.ask()
        except Overloaded as error:
            self._ticks.after_next(partial(_refuse, route.name, time.perf_counter(), error, tell))
            return True
        return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        scope = addresses.in_origin_form(scope)
        route = self._route(scope)
        body = _Arriving(self, scope, receive)
        try:
            addresses.require_plain(scope)
            # before the body, for those who would only be refused after it
            route.ask()
            await body.read()
            await self._served(route, scope, body, send)
        except Overloaded as error:
            if route.name:
                metrics.answered(route.name, error.code, time.perf_counter() - began)
            await asyncio.sleep(due() * TICK_S - time.monotonic())
            await _send(send, _problem(error.code, str(error), retry_after(error.retry_after_s)))
        except addresses.OddAddress as error:
            await _send(send, _problem("invalid_request", str(error)))
        except _Late:
            await _send(send, _problem("invalid_request", "The body did not arrive whole in time. Send it again."))
            return  # without the rest of it, the server closes the connection
        except _Gone:
            return
        finally:
            body.forget()
        await body.drain()

    def _route(self, scope: Scope) -> Route:
        path = scope["path"].rstrip("/")
        pictures = self._pictures if scope["method"] == "POST" else {}
        return pictures.get(path) or self._monitoring.get(path) or self._others

    async def _served(self, route: Route, scope: Scope, body: _Arriving, send: Send) -> None:
        loop, line = asyncio.get_running_loop(), route.lane.line
        turn = await _place(route, body)
        answer: asyncio.Future[Answer] = loop.create_future()

        def give(given: Answer) -> None:
            if not answer.done():  # the client has gone
                answer.set_result(given)

        def answered(given: Answer) -> None:
            loop.call_soon_threadsafe(give, given)

        work = route.lane.pool.submit(_work, self._application, scope, body.pieces, answered)
        # by the thread: whatever becomes of the client, the place is taken until it has ended
        work.add_done_callback(lambda _: line.leave(turn))
        await _send(send, await answer)


class _Arriving:
    """A request's body, from the first byte to the last one that anybody wants."""

    def __init__(self, front: Front, scope: Scope, receive: Receive) -> None:
        self.pieces: Pieces = deque()
        self.size = 0
        self._front, self._receive, self._ended, self._refused = front, receive, False, False
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        self._limit = int(conf.get("MAX_REQUEST_BYTES"))
        # of one that says that it is too large nothing is read: Django refuses it by its length
        self._wanted = not length.isdigit() or int(length) <= self._limit

    async def read(self) -> None:
        """All of it, up to one byte more than a request may have.

        Raises: _Late, Overloaded
        """
        self._front.arriving.add(self)
        try:
            async with asyncio.timeout(BODY_S) as self._until:
                while self._wanted and not self._ended and self.size <= self._limit and not self._refused:
                    await self._read_piece()
        except (TimeoutError, _Gone):  # a server may give up before us, and say that the client has gone
            if not self._refused:
                raise _Late from None
        finally:
            self._front.arriving.discard(self)
        if self._refused:
            raise Overloaded(_RETRY_S)

    async def _read_piece(self) -> None:
        piece = await self._next()
        self.size += len(piece)
        self._front.held_bytes += len(piece)
        self.pieces.append(piece)
        if self._front.held_bytes > MAX_HELD_BYTES:
            # not whoever comes last: few that send much and never end would keep everybody out
            max([self, *self._front.arriving], key=lambda body: body.size)._refuse()

    def _refuse(self) -> None:
        self._refused = True
        self.forget()
        self._front.arriving.discard(self)
        if not self._until.expired():
            self._until.reschedule(0)

    async def drain(self) -> None:
        """Read what is left and forget it: the client comes to reading its answer, and to its next request."""
        left = _DRAINED_BYTES
        with suppress(_Gone, TimeoutError):
            async with asyncio.timeout(DRAINED_S):
                while not self._ended and left > 0:
                    left -= len(await self._next())

    async def gone(self) -> None:
        """Until the client has hung up; of one that has not sent all of its body, nobody looks."""
        if not self._ended:
            await asyncio.Event().wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def forget(self) -> None:
        self._front.held_bytes -= self.size
        self.size = 0
        self.pieces = deque()  # a thread may be reading the other one

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        self._ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


async def _place(route: Route, body: _Arriving) -> Turn:
    """A place in a thread. Raises: Overloaded, _Gone"""
    line, kind, loop, came = route.lane.line, route.kind, asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(came.set)

    turn = line.join(kind.urgency, kind.patience(), wake, kind.long_s())
    if turn.since is None:
        with metrics.waiting(kind.name):
            await _come(turn, came, route, body)
    return turn


async def _come(turn: Turn, came: asyncio.Event, route: Route, body: _Arriving) -> None:
    line = route.lane.line
    waits = [asyncio.ensure_future(wait) for wait in (came.wait(), body.gone())]
    try:
        done, _ = await asyncio.wait(waits, timeout=route.kind.patience(), return_when=asyncio.FIRST_COMPLETED)
        if waits[1] in done:
            raise _Gone
        if not came.is_set():
            raise line.refusal()
    except BaseException:  # cancelled, too
        line.leave(turn)
        raise
    finally:
        for wait in waits:
            wait.cancel()


def _work(
    application: Application,
    scope: Scope,
    body: Pieces,
    answered: Callable[[Answer], None],
) -> None:
    try:
        call(application, scope, body, answered)
    except Exception:
        logger.exception("a call ended without an answer")
        answered(_problem("internal_error", "Something went wrong in the service. Try again."))


def _path(name: str) -> str:
    try:
        return reverse(f"ml_models:{name}")
    except NoReverseMatch:
        return ""


def _problem(code: str, detail: str, headers: dict[str, str] | None = None) -> Answer:
    content = json.dumps(document(code, detail)).encode()
    all_headers = {
        "Content-Type": CONTENT_TYPE,
        "Cache-Control": "no-store",
        "Content-Length": str(len(content)),
        **(headers or {}),
    }
    return Answer(
        CODES[code], [(name.lower().encode(), value.encode()) for name, value in all_headers.items()], content
    )


def _refuse(name: str, began: float, error: Overloaded, tell: Callable[[bytes], None]) -> None:
    metrics.answered(name, error.code, time.perf_counter() - began)
    tell(_refusal(error.code, str(error), error.retry_after_s))


@lru_cache(64)
def _refusal(code: str, detail: str, after_s: int) -> bytes:
    """As bytes of HTTP/1.1."""
    answer = _problem(code, detail, retry_after(after_s))
    head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.headers)
    return f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n".encode() + head + b"\r\n" + answer.body


async def _send(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})
