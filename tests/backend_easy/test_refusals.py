"""Refusals that no parser and no task is needed for, on real sockets: gunicorn's protocol as the service changes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from backend_easy import worker
from backend_easy.front import Front
from backend_easy.refusals import usual_post
from ml_models import metrics
from ml_models.exceptions import Overloaded
from ml_models.services.line import Line
from tests.backend_easy.test_slow_heads import PROBE, application, talk

BODY = b"a picture"
HEAD = b"POST /verify HTTP/1.1\r\nHost: localhost\r\nconnection: Keep-Alive\r\nContent-length: 9\r\nAccept: */*\r\n\r\n"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno!"
ANSWER_S = 0.03


class Busy:
    """An application that refuses what is posted to /verify, a moment later."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await application(scope, receive, send)

    def refuses(self, target: bytes, tell: Callable[[bytes], None]) -> bool:
        self.asked.append(target)
        if target != b"/verify":
            return False
        asyncio.get_running_loop().call_later(ANSWER_S, tell, REFUSAL)
        return True


async def read(reader: asyncio.StreamReader, end: bytes) -> bytes:
    return (await reader.readuntil(end)).split(b"\r\n", 1)[0]


def test_who_is_refused_may_ask_again_on_the_same_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the body comes with the head or after the answer, and whatever comes behind it before the answer."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for pieces in ([HEAD + BODY], [HEAD, BODY], [HEAD + BODY[:3], BODY[3:]]):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.005)
            assert await reader.readexactly(len(REFUSAL)) == REFUSAL
        writer.write(HEAD)
        assert await reader.readexactly(len(REFUSAL)) == REFUSAL
        writer.write(BODY[:3])
        await asyncio.sleep(0.01)
        writer.write(BODY[3:] + PROBE)
        assert await read(reader, b"\r\n\r\nok") == b"HTTP/1.1 200 OK"
        writer.write(HEAD + BODY + HEAD + BODY + PROBE + PROBE[:10])
        answers = [await read(reader, end) for end in (b"no!", b"no!", b"\r\n\r\nok")]
        writer.write(PROBE[10:])
        return b" ".join([*answers, await read(reader, b"\r\n\r\nok")])

    answers = talk(client, monkeypatch, Busy())
    refused, served = b"HTTP/1.1 503 Service Unavailable", b"HTTP/1.1 200 OK"
    assert answers == b" ".join([refused, refused, served, served])


def test_a_body_that_does_not_end_after_its_refusal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "DRAINED_S", 0.2)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD)
        return await reader.read()

    assert talk(client, monkeypatch, Busy()) == REFUSAL


def test_after_a_refusal_a_connection_may_be_idle_for_as_long_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gunicorn's default, 2 s, from the refusal on; not the 0.2 s from its beginning in which headers have to come."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + BODY)
        assert await reader.readexactly(len(REFUSAL)) == REFUSAL
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.6)
        writer.write(PROBE)
        return await read(reader, b"\r\n\r\nok")

    assert talk(client, monkeypatch, Busy()) == b"HTTP/1.1 200 OK"


UNUSUAL = {
    "pieces of unknown length": (b"Transfer-Encoding: chunked", b"9\r\na picture\r\n0\r\n\r\n"),
    "waits to be told to go on": (b"Content-Length: 9\r\nExpect: 100-continue", BODY),
    "wants the connection closed": (b"Content-Length: 9\r\nConnection: close", BODY),
    "asks for another protocol": (b"Content-Length: 9\r\nUpgrade: h2c", BODY),
    "two lengths": (b"Content-Length: 9\r\nContent-Length: 9", BODY),
    "a length and pieces": (b"Content-Length: 9\r\nTransfer-Encoding: chunked", BODY),
    "a length that is no number": (b"Content-Length: +9", BODY),
    "a space behind a name": (b"Content-Length: 9\r\nTransfer-Encoding : chunked", BODY),
    "a line that goes on": (b"Content-Length: 9\r\nA: b\r\n c", BODY),
    "a line end of one byte": (b"Content-Length: 9\r\nA: b\nTransfer-Encoding: chunked", BODY),
    "no length": (b"A: b", b""),
    "a head that is long": (b"Content-Length: 9\r\nA: " + b"a" * 5000, BODY),
}


@pytest.mark.parametrize(("fields", "body"), UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_unusual_goes_the_ordinary_way(fields: bytes, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Busy()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST /verify HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n\r\n" + body)
        return await read(reader, b"\r\n")

    assert b"503" not in talk(client, monkeypatch, busy)
    assert busy.asked == []


def test_a_head_that_comes_in_two_pieces_goes_the_ordinary_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second piece is not taken for a request of its own, either."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET / HTTP/1.1\r\n")
        await asyncio.sleep(0.01)
        writer.write(HEAD + BODY)
        return await read(reader, b"\r\n")

    busy = Busy()
    assert talk(client, monkeypatch, busy) == b"HTTP/1.1 400 Bad Request"
    assert busy.asked == []


def test_a_text_that_nearly_is_a_head_takes_no_longer_than_its_length() -> None:
    near = b"POST / HTTP/1.1\r\n" + b"connection:\t" * 50_000
    began = time.process_time()
    assert usual_post(near) is None
    assert time.process_time() - began < 0.1


def test_the_front_refuses_together_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise Overloaded(1.2)

    told: list[tuple[float, bytes]] = []
    counted: list[tuple[str, str]] = []

    async def ask() -> None:
        front = Front(lambda *_: [])

        def tell(answer: bytes) -> None:
            told.append((time.monotonic(), answer))

        assert not front.refuses(b"/api/v1/face/verify", tell)
        monkeypatch.setattr(Line, "ask", full)
        assert not front.refuses(b"/healthz", tell)
        began = time.monotonic()
        for call in (b"verify", b"enroll"):
            assert front.refuses(b"/api/v1/face/" + call, tell)
        assert not told
        await asyncio.sleep(0.1)
        # a client that asks again at once is refused some thirty times a second
        assert told[0][0] - began > 0.014

    monkeypatch.setattr(metrics, "answered", lambda call, code, _: counted.append((call, code)))
    asyncio.run(ask())
    (first_at, answer), (second_at, _) = told
    assert second_at - first_at < 0.01
    assert counted == [("verify", "overloaded"), ("enroll", "overloaded")]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    for field in (b"content-type: application/problem+json", b"retry-after: 2", b"content-length: %d" % len(body)):
        assert field in head.split(b"\r\n")
    assert b'"code": "overloaded"' in body


def test_a_client_that_cannot_be_told_keeps_nobody_s_refusal_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise Overloaded(1.0)

    def fails(_: bytes) -> None:
        raise RuntimeError

    told: list[bytes] = []

    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        front = Front(lambda *_: [])
        assert front.refuses(b"/api/v1/face/verify", fails)
        assert front.refuses(b"/api/v1/face/verify", told.append)
        await asyncio.sleep(0.1)

    monkeypatch.setattr(Line, "ask", full)
    asyncio.run(ask())
    assert len(told) == 1


def test_requests_that_come_before_their_turn_are_left_with_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or some sixty connections would fill the memory, whatever is refused."""
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for _ in range(400):
            writer.write(post)
        for _ in range(150):
            await reader.readuntil(b"\r\n\r\nok")
        left = writer.transport.get_write_buffer_size()
        writer.transport.abort()
        return str(left).encode()

    # 25 MB of the 40 are not asked for yet; the kernel may have some of them
    assert int(talk(client, monkeypatch)) > 5_000_000
