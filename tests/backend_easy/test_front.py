"""The front before Django: what costs no thread, who is refused, and who is kept waiting by whom."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.cache import cache
from rest_framework.authtoken.models import Token

from backend_easy import threads
from backend_easy.front import Front
from ml_models import metrics
from ml_models.exceptions import Overloaded
from ml_models.models import Verification
from ml_models.services import admission
from ml_models.services.line import Line
from ml_models.services.slots import Slots
from tests.conftest import Portraits
from tests.support.gunicorn import Server, gunicorn

pytestmark = pytest.mark.django_db(transaction=True)

VERIFY = "/api/v1/face/verify"
SLOTS = 2


@pytest.fixture
def server(people: list[str], tmp_path: Path) -> Iterator[Server]:
    cache.clear()
    changes = {"ML_MODELS_SLOTS_DIR": str(tmp_path / "slots"), "ML_MODELS_SLOTS": str(SLOTS)}
    with gunicorn(tmp_path, {**changes, "ML_MODELS_MAX_WAIT_S": "4"}) as started:
        while ask(started, "GET", "/readyz")[0] != 200:
            time.sleep(0.1)
        yield started


@pytest.fixture
def busy(server: Server, tmp_path: Path) -> Iterator[None]:
    """Another process computes on all cores."""
    slots = Slots(tmp_path / "slots", SLOTS, admission.URGENCIES)
    assert [slots.take(1) for _ in range(SLOTS)] == list(range(SLOTS))
    yield
    for slot in range(SLOTS):
        slots.give_back(slot)


def ask(server: Server, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any], float]:
    began = time.monotonic()
    with closing(server.connect()) as connection:
        connection.request(method, path, **more)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), time.monotonic() - began


@pytest.fixture
def key(people: list[str]) -> dict[str, str]:
    return {"Authorization": f"Token {Token.objects.get().key}"}


def verify(server: Server, key: dict[str, str], picture: bytes) -> requests.Response:
    return requests.post(
        f"http://127.0.0.1:{server.port}{VERIFY}",
        data={"subject_id": "child-1"},
        files={"image": ("a.jpg", picture)},
        headers=key,
        timeout=60,
    )


def files_without_a_name(server: Server) -> set[str]:
    """As Python's temporary ones are."""
    links = Path(f"/proc/{server.worker.pid}/fd").iterdir()
    return {str(link.readlink()) for link in links if "(deleted)" in str(link.readlink())}


def test_clients_that_send_a_byte_now_and_then_cost_nobody_a_thread_and_no_file(
    server: Server, key: dict[str, str], portraits: Portraits
) -> None:
    heads = [f"POST {VERIFY} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\nabc", "POST /api/v1/fa"]
    before = files_without_a_name(server)
    with ExitStack() as open_ones:
        slow = [
            open_ones.enter_context(closing(socket.create_connection(("127.0.0.1", server.port)))) for _ in range(200)
        ]
        for number, client in enumerate(slow):
            client.sendall(heads[number % 2].encode())
        assert verify(server, key, portraits.eileen_collins).json()["decision"] == "match"
        for client in slow:
            client.sendall(b"v")
        slow[0].sendall(bytes(10_000_000))
        assert ask(server, "GET", "/healthz")[0] == 200
        assert verify(server, key, portraits.eileen_collins).json()["decision"] == "match"
        assert files_without_a_name(server) == before
    for request in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nA" + b"a" * 20_000 + b": b\r\n\r\n"):
        head, _, body = server.raw(request).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n")
        assert json.loads(body)["code"] == "invalid_request"
    for path in ("/api/v1/face/subjects/a%2Fb%C3%A9?x=%E2%82%AC", "/api/v1/face/subjects/%FF"):
        assert ask(server, "GET", path, headers=key)[0] in (400, 404)


def test_probes_and_refusals_do_not_wait_behind_pictures(
    server: Server, busy: None, key: dict[str, str], portraits: Portraits
) -> None:
    with ThreadPoolExecutor(12) as pool:
        verifies = [pool.submit(verify, server, key, portraits.eileen_collins) for _ in range(12)]
        time.sleep(0.3)
        for path in ("/healthz", "/readyz"):
            status, _, seconds = ask(server, "GET", path)
            assert status == 200
            # behind a picture it would be the 4 s that those wait; the rest is room for a slow machine
            assert seconds < 2
        status, answer, seconds = ask(server, "GET", "/api/v1/face/config")
        assert (status, answer["code"]) == (401, "not_authenticated")
        answers = [work.result() for work in verifies]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "overloaded")}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert not Verification.objects.exists()
    # who is refused may ask again on the same connection, and before the body is sent
    with closing(server.connect()) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()


def test_a_client_that_asks_again_at_once_is_refused_some_thirty_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or its refusals would take the cores of those who are served: 2,000 a second did."""
    sent: list[dict[str, Any]] = []

    def full(*_: Any) -> None:
        raise Overloaded(1.0)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def again_and_again() -> None:
        front = Front(lambda *_: [])
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            await front({"method": "POST", "path": VERIFY, "headers": []}, receive, send)

    monkeypatch.setattr(Line, "ask", full)
    asyncio.run(again_and_again())
    statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert set(statuses) == {503}
    # the first one may come within a tick
    assert len(statuses) <= 0.5 / 0.03 + 2


def test_refusals_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several for which the loop wakes once, each costs less."""
    sent: list[float] = []

    def full(*_: Any) -> None:
        raise Overloaded(1.0)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            sent.append(time.monotonic())

    async def one_after_another() -> None:
        front, calls = Front(lambda *_: []), []
        for _ in range(50):
            calls.append(asyncio.ensure_future(front({"method": "POST", "path": VERIFY, "headers": []}, receive, send)))
            await asyncio.sleep(0.002)
        await asyncio.gather(*calls)

    monkeypatch.setattr(Line, "ask", full)
    asyncio.run(one_after_another())
    apart = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert len(sent) == 50
    # a tick is more than 10 ms; on a slow machine fewer come together
    assert sum(seconds < 0.001 for seconds in apart) > 25


def test_a_client_that_hangs_up_while_it_waits_is_not_served(
    server: Server, tmp_path: Path, key: dict[str, str], portraits: Portraits
) -> None:
    slots = Slots(tmp_path / "slots", SLOTS, admission.URGENCIES)
    held = [slots.take(1) for _ in range(SLOTS)]
    with ThreadPoolExecutor(SLOTS + 1) as pool:
        served = [pool.submit(verify, server, key, portraits.eileen_collins) for _ in range(SLOTS + 1)]
        while not slots.awaited():
            time.sleep(0.02)
        time.sleep(0.3)  # in every thread one waits for a core
        boundary = b"--b\r\nContent-Disposition: form-data; name="
        body = boundary + b'"subject_id"\r\n\r\nchild-2\r\n' + boundary + b'"image"; filename="a"\r\n\r\n'
        body += portraits.grace_hopper + b"\r\n--b--\r\n"
        with closing(server.connect()) as connection:
            connection.request("POST", VERIFY, body, {**key, "Content-Type": "multipart/form-data; boundary=b"})
            time.sleep(0.2)
        for slot in held:
            slots.give_back(slot or 0)
        assert {work.result().json()["decision"] for work in served} == {"match"}
    assert verify(server, key, portraits.eileen_collins).json()["decision"] == "match"
    assert Verification.objects.count() == SLOTS + 2


async def post(front: Front, path: str) -> int:
    """The status."""
    came, sent = [{"type": "http.request", "body": b""}], list[int]()

    async def receive() -> dict[str, Any]:
        if not came:
            await asyncio.Event().wait()
        return came.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("status", 0))

    scope = {"type": "http", "method": "POST", "http_version": "1.1", "path": path, "raw_path": path.encode()}
    await front({**scope, "query_string": b"", "headers": []}, receive, send)
    return sent[0]


def test_who_waits_for_a_thread_is_counted_among_those_who_wait() -> None:
    go_on, line = threading.Event(), 'ml_models_waiting{kind="verify"} '

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        go_on.wait(20)
        start("200 OK", [])
        return []

    def waiting() -> float:
        told = metrics.exposition([]).decode().splitlines()
        return sum(float(each.removeprefix(line)) for each in told if each.startswith(line))

    async def more_than_threads() -> tuple[float, list[int]]:
        front = Front(application)
        calls = [asyncio.ensure_future(post(front, VERIFY)) for _ in range(threads.PICTURES + 3)]
        await asyncio.sleep(0.1)
        counted = waiting()
        go_on.set()
        return counted, await asyncio.gather(*calls)

    before = waiting()
    counted, statuses = asyncio.run(more_than_threads())
    assert (counted - before, waiting(), set(statuses)) == (3, before, {200})


def test_an_enrolment_is_served_though_verifies_keep_coming(settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_WAIT_S": 2.0}

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        time.sleep(0.02)
        start("200 OK", [])
        return []

    async def beside_verifies() -> tuple[int, set[int]]:
        front, statuses = Front(application), set[int]()

        async def again_and_again() -> None:
            while not enrolment.done():
                statuses.add(await post(front, VERIFY))

        rush = [asyncio.ensure_future(again_and_again()) for _ in range(threads.PICTURES + 2)]
        enrolment = asyncio.ensure_future(post(front, "/api/v1/face/enroll"))
        await asyncio.gather(*rush)
        return await enrolment, statuses

    assert asyncio.run(beside_verifies()) == (200, {200})


def test_a_target_that_is_a_whole_url_is_read_as_any_other() -> None:
    seen: list[Any] = []

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.append((environ["HTTP_HOST"], environ["PATH_INFO"], environ["QUERY_STRING"]))
        start("200 OK", [])
        return []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        seen.append(message.get("status"))

    front = Front(application)
    for raw in (b"http://one.example:8000/readyz/", b"HTTPS://one.example", b"/readyz/http://two.example"):
        scope = {"type": "http", "method": "GET", "http_version": "1.1", "raw_path": raw, "path": raw.decode()}
        headers = [(b"host", b"elsewhere.example")]
        asyncio.run(front({**scope, "query_string": b"x=1", "headers": headers}, receive, send))
    assert [row for row in seen if isinstance(row, tuple)] == [
        ("one.example:8000", "/readyz/", "x=1"),
        ("one.example", "/", "x=1"),
        ("elsewhere.example", "/readyz/http://two.example", "x=1"),
    ]
    assert seen.count(200) == 3


@pytest.mark.parametrize(
    ("names", "says"), [((b"Zo%EB", b"%ed%a0%80", b"%ff"), "UTF-8"), ((b"a%2F", b"a%2f"), "slash")]
)
def test_an_address_is_not_taken_for_another_id_s(names: tuple[bytes, ...], says: str) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    front = Front(lambda *_: pytest.fail("it came through"))
    for name in names:
        path = {"raw_path": b"/api/v1/face/subjects/" + name, "path": "/api/v1/face/subjects/?"}
        asyncio.run(front({"type": "http", "method": "DELETE", "headers": [], **path}, receive, send))
    answers = [json.loads(message["body"]) for message in sent if message["type"] == "http.response.body"]
    assert [(answer["code"], says in answer["detail"]) for answer in answers] == [("invalid_request", True)] * len(
        names
    )
