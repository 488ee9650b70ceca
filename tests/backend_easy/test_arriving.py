"""Bodies on their way to Django: how long, how many bytes, and what becomes of the rest. No server, and no waiting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from backend_easy import arriving
from backend_easy.front import Front

VERIFY = "/api/v1/face/verify"
LIMIT = 20


class Client:
    """Sends its pieces, the last one as such if `ends`, and nothing more until the service gives up."""

    def __init__(
        self, pieces: Iterable[bytes], ends: bool = False, length: int | None = None, given_up: bool = False
    ) -> None:
        self.left, self.ends, self.asked, self.given_up = list(pieces), ends, 0, given_up
        self.sent: list[dict[str, Any]] = []
        self.headers = [] if length is None else [(b"content-length", str(length).encode())]

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if not self.left and self.given_up:
            return {"type": "http.disconnect"}
        if not self.left:
            await asyncio.Event().wait()
        piece = self.left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.left) or not self.ends}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def call(self, front: Front) -> None:
        scope = {"type": "http", "method": "POST", "http_version": "1.1", "path": VERIFY, "raw_path": VERIFY.encode()}
        headers = {"query_string": b"", "headers": self.headers}
        await asyncio.wait_for(front({**scope, **headers}, self.receive, self.send), 20)

    @property
    def answer(self) -> tuple[int, str]:
        start, body = self.sent
        return start["status"], json.loads(body["body"] or b'{"code": ""}')["code"]


@pytest.fixture
def read(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What Django is given; a request may have `LIMIT` bytes, and nobody waits for long."""
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_REQUEST_BYTES": LIMIT}
    monkeypatch.setattr(arriving, "BODY_S", 0.1)
    monkeypatch.setattr(arriving, "DRAINED_S", 0.1)
    return []


@pytest.fixture
def service(read: list[bytes]) -> Front:
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        read.append(environ["wsgi.input"].read())
        start("200 OK", [])
        return []

    return Front(application)


def test_a_body_that_comes_whole_is_given_on_and_forgotten(service: Front, read: list[bytes]) -> None:
    client = Client([b"abc", b"def"], ends=True)
    asyncio.run(client.call(service))
    assert (client.sent[0]["status"], read, service.bodies.held_bytes) == (200, [b"abcdef"], 0)


def test_a_body_that_does_not_end_is_refused_and_forgotten(service: Front, read: list[bytes]) -> None:
    client = Client([b"abc"])
    asyncio.run(client.call(service))
    assert (client.answer, read, service.bodies.held_bytes) == ((400, "invalid_request"), [], 0)
    assert client.asked == 2  # nobody waits for the rest of it


def test_a_body_that_the_server_gives_up_first_is_the_client_s_to_mend(service: Front, read: list[bytes]) -> None:
    """gunicorn does after WEB_TIMEOUT, and says no more than that the client has gone."""
    client = Client([b"abc"], given_up=True)
    asyncio.run(client.call(service))
    assert (client.answer, read, service.bodies.held_bytes) == ((400, "invalid_request"), [], 0)


def test_more_bytes_than_a_process_holds_are_refused(
    service: Front, read: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "MAX_HELD_BYTES", 10)

    async def beside_another() -> tuple[Client, Client]:
        slow, other = Client([b"x" * 8]), Client([b"y" * 8], ends=True)
        waiting = asyncio.ensure_future(slow.call(service))
        await asyncio.sleep(0.02)
        await other.call(service)
        await waiting
        return slow, other

    slow, other = asyncio.run(beside_another())
    assert (other.answer, read, service.bodies.held_bytes) == ((503, "overloaded"), [], 0)
    assert slow.answer == (400, "invalid_request")


def test_large_bodies_that_do_not_end_keep_nobody_out(
    service: Front, read: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "MAX_HELD_BYTES", 24)

    async def beside_large_ones() -> tuple[list[Client], list[Client]]:
        large = [Client([b"x" * size]) for size in (12, 11)]
        waiting = [asyncio.ensure_future(client.call(service)) for client in large]
        await asyncio.sleep(0.02)
        small = [Client([b"y", b"y" * 2], ends=True) for _ in range(3)]
        for client in small:
            await client.call(service)
        await asyncio.gather(*waiting)
        return large, small

    large, small = asyncio.run(beside_large_ones())
    assert [client.sent[0]["status"] for client in small] == [200] * 3
    assert [client.answer for client in large] == [(503, "overloaded"), (400, "invalid_request")]
    assert (read, service.bodies.held_bytes) == ([b"yyy"] * 3, 0)


@pytest.mark.parametrize("length", [None, 200])
def test_of_a_body_that_is_too_large_no_more_is_kept_than_says_so(
    service: Front, read: list[bytes], length: int | None
) -> None:
    """The rest is read and forgotten, so that the client comes to its answer; not for ever."""
    client = Client([b"x" * 15] * 10, length=length)
    asyncio.run(client.call(service))
    assert client.sent[0]["status"] == 200  # Django's own matter
    assert read == [b"x" * 30 if length is None else b""]
    assert client.left == []


def test_no_more_is_drained_than_a_client_may_send(
    service: Front, monkeypatch: pytest.MonkeyPatch, read: list[bytes]
) -> None:
    monkeypatch.setattr(arriving, "_DRAINED_BYTES", 40)
    client = Client([b"x" * 15] * 10, length=200)
    asyncio.run(client.call(service))
    assert len(client.left) == 10 - 3
