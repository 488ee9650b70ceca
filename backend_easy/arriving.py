"""Requests' bodies on their way to Django: how long one may take, and how many bytes all of them may have."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ml_models import conf
from ml_models.exceptions import Overloaded

from .refusals import DRAINED_S
from .wsgi_call import Pieces, Scope

Receive = Callable[[], Awaitable[dict[str, Any]]]

# A request that has not come whole by then is given up; the bytes of all bodies that are held, or are coming.
BODY_S = 60.0
MAX_HELD_BYTES = 256 << 20
# what a client may go on sending after its refusal without losing its connection
_DRAINED_BYTES = 128 << 20
# of those whose bodies have no room
_RETRY_S = 10.0


class Gone(Exception):
    """The client has hung up."""


class Late(Exception):
    """The body did not come in time."""


@dataclass(slots=True)
class Bodies:
    """All of a process: the bytes that are held or are coming, and the bodies that are still coming."""

    held_bytes: int = 0
    coming: set[Body] = field(default_factory=set)


class Body:
    """A request's body, from the first byte to the last one that anybody wants."""

    def __init__(self, bodies: Bodies, scope: Scope, receive: Receive) -> None:
        self.pieces: Pieces = deque()
        self.size = 0
        self._bodies, self._receive, self._ended, self._refused = bodies, receive, False, False
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        self._limit = int(conf.get("MAX_REQUEST_BYTES"))
        # of one that says that it is too large nothing is read: Django refuses it by its length
        self._wanted = not length.isdigit() or int(length) <= self._limit

    async def read(self) -> None:
        """All of it, up to one byte more than a request may have.

        Raises: Late, Overloaded
        """
        self._bodies.coming.add(self)
        try:
            async with asyncio.timeout(BODY_S) as self._until:
                while self._wanted and not self._ended and self.size <= self._limit and not self._refused:
                    await self._read_piece()
        except (TimeoutError, Gone):  # a server may give up before us, and say that the client has gone
            if not self._refused:
                raise Late from None
        finally:
            self._bodies.coming.discard(self)
        if self._refused:
            raise Overloaded(_RETRY_S)

    async def _read_piece(self) -> None:
        piece = await self._next()
        self.size += len(piece)
        self._bodies.held_bytes += len(piece)
        self.pieces.append(piece)
        if self._bodies.held_bytes > MAX_HELD_BYTES:
            # not whoever comes last: few that send much and never end would keep everybody out
            max([self, *self._bodies.coming], key=lambda body: body.size)._refuse()

    def _refuse(self) -> None:
        self._refused = True
        self.forget()
        self._bodies.coming.discard(self)
        if not self._until.expired():
            self._until.reschedule(0)

    async def drain(self) -> None:
        """Read what is left and forget it: the client comes to reading its answer, and to its next request."""
        left = _DRAINED_BYTES
        with suppress(Gone, TimeoutError):
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
        self._bodies.held_bytes -= self.size
        self.size = 0
        self.pieces = deque()  # a thread may be reading the other one

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        self._ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece
