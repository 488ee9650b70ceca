"""Who is refused because too many come, from the bytes that came: no parser, no task, no ASGI call.

Under ten times what can be served most requests are refused, and what each of them costs is taken from those who are
served. Whatever is unusual about a request goes the ordinary way.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

# A refusal is sent at the tick after the next one. So a client that asks again at once asks every second tick: each
# refusal takes processor time from those who are served. Of several that are sent together, each takes less.
TICK_S = 0.015
# for so long may a client go on sending after its refusal without losing its connection
DRAINED_S = 10.0

_FIELDS = (
    rb"(?:(?!(?i:connection|content-length|expect|transfer-encoding|upgrade):)"
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n"
    rb"|(?i:connection):[ \t]*+(?i:keep-alive)[ \t]*+\r\n)*+"
)
# Where the request ends is said once, by a length. No step goes back, so a text takes no longer than its length.
_HEAD = re.compile(
    rb"POST (/[!-~]*+) HTTP/1\.1\r\n"
    + _FIELDS
    + rb"(?i:content-length):[ \t]*+([0-9]{1,8}+)[ \t]*+\r\n"
    + _FIELDS
    + rb"\r\n"
)
_HEAD_BYTES = 4096


def usual_post(data: bytes) -> tuple[bytes, int, int] | None:
    """The target, the bytes of the head and those of the body, of a request that begins here."""
    head = _HEAD.match(data, 0, _HEAD_BYTES)
    return head and (head[1], head.end(), int(head[2]))


def due() -> int:
    """The number of the tick that a refusal is sent at."""
    return int(time.monotonic() / TICK_S) + 2


class Ticks:
    """Runs what is left until a tick, all together."""

    def __init__(self) -> None:
        self._due: dict[int, list[Callable[[], None]]] = {}

    def after_next(self, do: Callable[[], None]) -> None:
        number = due()
        if number not in self._due:
            self._due[number] = []
            asyncio.get_running_loop().call_at(number * TICK_S, self._run, number)
        self._due[number].append(do)

    def _run(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        for do in self._due.pop(number):
            loop.call_soon(do)  # one that fails keeps no other one back
