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
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

from django.urls import NoReverseMatch, reverse

from ml_models import metrics
from ml_models.api.errors import CODES, CONTENT_TYPE, document, retry_after
from ml_models.exceptions import Overloaded
from ml_models.services import admission
from ml_models.services.line import Line, Turn

from . import addresses, threads
from .arriving import Bodies, Body, Gone, Late, Receive
from .refusals import TICK_S, Ticks, due
from .wsgi_call import Answer, Application, Pieces, Scope, call

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]

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
        self.bodies = Bodies()
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
        body = Body(self.bodies, scope, receive)
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
        except Late:
            await _send(send, _problem("invalid_request", "The body did not arrive whole in time. Send it again."))
            return  # without the rest of it, the server closes the connection
        except Gone:
            return
        finally:
            body.forget()
        await body.drain()

    def _route(self, scope: Scope) -> Route:
        path = scope["path"].rstrip("/")
        pictures = self._pictures if scope["method"] == "POST" else {}
        return pictures.get(path) or self._monitoring.get(path) or self._others

    async def _served(self, route: Route, scope: Scope, body: Body, send: Send) -> None:
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


async def _place(route: Route, body: Body) -> Turn:
    """A place in a thread. Raises: Overloaded, Gone"""
    line, kind, loop, came = route.lane.line, route.kind, asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(came.set)

    turn = line.join(kind.urgency, kind.patience(), wake, kind.long_s())
    if turn.since is None:
        with metrics.waiting(kind.name):
            await _come(turn, came, route, body)
    return turn


async def _come(turn: Turn, came: asyncio.Event, route: Route, body: Body) -> None:
    line = route.lane.line
    waits = [asyncio.ensure_future(wait) for wait in (came.wait(), body.gone())]
    try:
        done, _ = await asyncio.wait(waits, timeout=route.kind.patience(), return_when=asyncio.FIRST_COMPLETED)
        if waits[1] in done:
            raise Gone
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
