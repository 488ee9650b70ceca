"""Verifies at a rate, or from so many clients, in a process of its own: `python -m devstack.bench.load` reads what to
do as JSON on stdin, and writes what came of it on stdout; what it costs itself, too, for it is on the same cores."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from devstack.bench.figures import percentile

# probes during the load, every so often
_PROBE_S = 0.2


@dataclass
class Outcome:
    """`seconds` of each answer by its status; `probe_s` of `/healthz` and `/readyz`; `failed`: without an answer."""

    took_s: float = 0.0
    cpu_s: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    probe_s: list[float] = field(default_factory=list)
    failed: int = 0

    def of(self, status: int) -> list[float]:
        return self.seconds.get(str(status), [])

    @property
    def good_per_s(self) -> float:
        return len(self.of(200)) / self.took_s

    def ms(self, status: int, share: float) -> float | None:
        seconds = self.of(status)
        return percentile(seconds, share) * 1000 if seconds else None


def run(request: bytes, port: int, seconds: float, rate: float = 0.0, clients: int = 0, probed: bool = True) -> Outcome:
    """Load the service from another process.

    Args:
        request: whole, on a connection that stays open.
        rate: of requests a second, whether they are answered or not;
        clients: or so many, each asking again when it was answered.
        probed: whether health is asked meanwhile.
    """
    what = {"request": base64.b64encode(request).decode(), "port": port, "seconds": seconds, "probed": probed}
    done = subprocess.run(
        [sys.executable, "-m", "devstack.bench.load"],
        input=json.dumps({**what, "rate": rate, "clients": clients}),
        capture_output=True,
        text=True,
        check=True,
    )
    return Outcome(**json.loads(done.stdout))


class _Connections:
    """Open ones that nobody uses; a new one where there is none."""

    def __init__(self, port: int, outcome: Outcome) -> None:
        self._port, self._outcome = port, outcome
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> tuple[int, float] | None:
        """The status and the seconds; None without an answer."""
        began = time.perf_counter()
        try:
            async with self._one() as (reader, writer):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self._outcome.failed += 1
            return None
        return int(head.split(b" ", 2)[1]), time.perf_counter() - began

    @asynccontextmanager
    async def _one(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                break
            writer.close()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield reader, writer
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))


async def _load(request: bytes, port: int, seconds: float, rate: float, clients: int, probed: bool) -> Outcome:
    outcome = Outcome()
    connections = _Connections(port, outcome)
    began, cpu = time.perf_counter(), time.process_time()
    until = began + seconds

    async def once() -> None:
        if answer := await connections.ask(request):
            outcome.seconds.setdefault(str(answer[0]), []).append(answer[1])

    async def again_and_again() -> None:
        while time.perf_counter() < until:
            await once()

    probing = asyncio.create_task(_probe(port, outcome, until if probed else began))
    if clients:
        await asyncio.gather(*(again_and_again() for _ in range(clients)))
    else:
        await _at_rate(once, rate, until)
    await probing
    outcome.took_s, outcome.cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return outcome


async def _at_rate(once: Callable[[], Awaitable[None]], rate: float, until: float) -> None:
    asked, next_at = [], time.perf_counter()
    while next_at < until:
        await asyncio.sleep(max(0.0, next_at - time.perf_counter()))
        asked.append(asyncio.ensure_future(once()))
        next_at += 1 / rate
    await asyncio.gather(*asked)


async def _probe(port: int, outcome: Outcome, until: float) -> None:
    connections = _Connections(port, outcome)
    while time.perf_counter() < until:
        for path in ("/healthz", "/readyz"):
            if answer := await connections.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()):
                outcome.probe_s.append(answer[1])
        await asyncio.sleep(_PROBE_S)


def main() -> None:
    what: dict[str, Any] = json.load(sys.stdin)
    what["request"] = base64.b64decode(what["request"])
    json.dump(asdict(asyncio.run(_load(**what))), sys.stdout)


if __name__ == "__main__":
    main()
