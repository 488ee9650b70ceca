"""Headers that do not end, on real sockets: gunicorn's protocol as the service changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from backend_easy import worker
from backend_easy.worker import Protocol

HEAD_S = 0.2
PROBE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def application(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def talk(client: Talk, monkeypatch: pytest.MonkeyPatch, asgi: Any = application) -> bytes:
    """What a client makes of a connection to one process."""
    monkeypatch.setattr(worker, "HEAD_S", HEAD_S)

    async def both() -> bytes:
        loop = asyncio.get_running_loop()
        cfg = Config()
        process = SimpleNamespace(cfg=cfg, loop=loop, asgi=asgi, log=Logger(cfg), connections=set())
        process.nr_conns, process.nr, process.max_requests, process.alive, process.state = 0, 0, 1000, True, {}
        server = await loop.create_server(lambda: Protocol(process), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await asyncio.wait_for(client(reader, writer), 10 * HEAD_S)
        finally:
            writer.close()
            server.close()
            await asyncio.sleep(0.01)
            assert not process.connections  # else they would be ended again when the process stops

    return asyncio.run(both())


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(PROBE)
    assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("head", [b"", PROBE[:20]])
def test_a_connection_whose_headers_do_not_end_is_closed(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head)
        return await reader.read()

    assert talk(client, monkeypatch) == b""


def test_nor_is_the_next_request_on_it_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        await asked(reader, writer)
        writer.write(PROBE[:20])
        return await reader.read()

    assert talk(client, monkeypatch) == b""


def test_a_body_may_take_longer_than_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
        await asyncio.sleep(2 * HEAD_S)
        writer.write(b"cd")
        return await reader.readuntil(b"ok")

    assert talk(client, monkeypatch).startswith(b"HTTP/1.1 200 ")
