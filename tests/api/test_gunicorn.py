"""Bodies over real connections to a real gunicorn: what they cost, and what becomes of the connection."""

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.core.cache import cache
from rest_framework.authtoken.models import Token

from tests.conftest import Portraits
from tests.support.gunicorn import Server, gunicorn

pytestmark = pytest.mark.django_db(transaction=True)

VERIFY = "/api/v1/face/verify"
MIB = 1 << 20
# what the door may spend on any body of the allowed size: processor time as a multiple of what an honest one takes
MAX_TIMES, MAX_MORE_MIB, MAX_ANSWER_BYTES = 5, 150, 10_000
MULTIPART = "multipart/form-data; boundary=a-boundary"


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all: no version is active here, and it looks each caller up anew."""
    with gunicorn(tmp_path_factory.mktemp("gunicorn")) as started:
        yield started


@pytest.fixture
def token(service: Any) -> dict[str, str]:
    cache.clear()
    return {"Authorization": f"Token {Token.objects.get().key}"}


def part(value: bytes, disposition: str = 'name="image"') -> bytes:
    return f"--a-boundary\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return part(b"child-1", 'name="subject_id"') + b"".join(parts) + b"--a-boundary--\r\n"


def ask(
    connection: http.client.HTTPConnection, body: Any, headers: dict[str, str], path: str = VERIFY
) -> tuple[int, dict[str, Any]]:
    connection.request("POST", path, body, headers, encode_chunked=headers.get("Transfer-Encoding") == "chunked")
    response = connection.getresponse()
    return response.status, json.loads(response.read())


BIG = 39 * MIB
FILE = 'name="image"; filename="a.jpg"'
HONEST = ("application/json", lambda: b'{"subject_id": "a", "image": "' + b"A" * BIG + b'"}')
BODIES: dict[str, tuple[str, Any]] = {
    "a million numbers": ("application/json", lambda: b'{"image": [' + b"255," * 1_000_000 + b"0]}"),
    "eight million numbers": ("application/json", lambda: b'{"image": [' + b"255," * 8_000_000 + b"0]}"),
    "empty lists": ("application/json", lambda: b'{"image": [' + b"[]," * (BIG // 3) + b"0]}"),
    "nested lists": ("application/json", lambda: b'{"image": ' + b"[" * BIG + b"]}"),
    "lists nested as deep as values are counted": ("application/json", lambda: b"[" * 9_999 + b"]" * 9_999),
    "a long number": ("application/json", lambda: b'{"image": ' + b"1" * BIG + b"}"),
    "a long text": ("application/json", lambda: b'{"subject_id": "' + b"x" * BIG + b'", "image": "AAAA"}'),
    "a long text with one emoji": ("application/json", lambda: '{"image": "😀'.encode() + b"x" * BIG + b'"}'),
    "a long text with one emoji escaped": (
        "application/json",
        lambda: b'{"image": "' + b"x" * BIG + b'\\ud83d\\ude00"}',
    ),
    "emojis": ("application/json", lambda: b'{"image": "' + "😀".encode() * (BIG // 4) + b'"}'),
    "emojis escaped": ("application/json", lambda: b'{"image": "' + b"\\ud83d\\ude00" * (BIG // 12) + b'"}'),
    "a picture of blanks": ("application/json", lambda: b'{"subject_id": "a", "image": "' + b" " * BIG + b'"}'),
    "escapes only": ("application/json", lambda: b'{"subject_id": "a", "image": "' + b"\\n" * (BIG // 2) + b'"}'),
    "half escapes": ("application/json", lambda: b'{"subject_id": "a", "image": "' + b"\\u" * (BIG // 2) + b'"}'),
    "five pictures": (
        "application/json",
        lambda: json.dumps({"subject_id": "a", "image": ["A" * (BIG // 5)] * 5}).encode(),
    ),
    "not UTF-8": ("application/json", lambda: b'{"image": "' + b"\xff" * BIG + b'"}'),
    "keys": ("application/json", lambda: json.dumps({str(i): i for i in range(2_000_000)}).encode()),
    "parts": (MULTIPART, lambda: form(*[part(b"x")] * 500_000)),
    "files": (MULTIPART, lambda: form(*[part(b"x", FILE)] * 400_000)),
    "a long field": (MULTIPART, lambda: form(part(b"x" * BIG, 'name="subject_id"'))),
    "a long field with one emoji": (MULTIPART, lambda: form(part("😀".encode() + b"x" * 23 * MIB))),
    "five files": (MULTIPART, lambda: form(*[part(b"\xff" * (BIG // 5), FILE)] * 5)),
    "a long file": (MULTIPART, lambda: form(part(b"\xff" * BIG, FILE))),
    "a long part's header": (MULTIPART, lambda: form(part(b"x", 'name="' + "x" * BIG + '"'))),
    "boundaries": (MULTIPART, lambda: b"--a-boundary\r\n" * (BIG // 14)),
    "half boundaries": (MULTIPART, lambda: form(part(b"\r\n--a-boundar" * (11 * MIB // 13), FILE))),
    "no boundary": (MULTIPART, lambda: b"\r\n" * (BIG // 2)),
}


def test_a_body_costs_what_its_length_allows(server: Server, token: dict[str, str]) -> None:
    spent = {}
    around = {"the first": ("application/json", lambda: b"{}"), "honest": HONEST}
    for name, (content_type, make) in {**around, **BODIES, "honest again": HONEST}.items():
        body = make()
        server.set_back_peak()
        mib, cpu_s = server.peak_mib(), server.cpu_s()
        with closing(server.connect()) as connection:
            status, answer = ask(connection, body, {**token, "Content-Type": content_type})
        spent[name] = server.cpu_s() - cpu_s, server.peak_mib() - mib, len(json.dumps(answer)), status
    del spent["the first"]  # imports what the others use
    max_cpu_s = MAX_TIMES * max(spent["honest"][0], spent["honest again"][0])
    dear = {
        name: numbers
        for name, numbers in spent.items()
        if numbers[0] > max_cpu_s or numbers[1] > MAX_MORE_MIB or numbers[2] > MAX_ANSWER_BYTES or numbers[3] == 500
    }
    assert dear == {}


def test_a_refusal_before_the_body_is_read_leaves_the_connection_whole(server: Server, token: dict[str, str]) -> None:
    body, headers = form(part(b"\xff" * 200_000, FILE)), {"Content-Type": MULTIPART}
    refused: list[tuple[str, dict[str, str]]] = [
        (VERIFY, {}),  # 401
        ("/api/v1/face/config", token),  # 405
        ("/api/v1/face/nothing", token),  # 404
        (VERIFY, {**token, "Content-Type": "text/plain"}),  # 415
        ("/somewhere/else", {}),  # not the API's
        (VERIFY, {"Host": "elsewhere.example"}),  # 400
    ]
    statuses = []
    with closing(server.connect()) as connection:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        first = connection.sock
        for path, more in refused * 5:
            connection.request("POST", path, body, {**headers, **more})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ok"}'
            # http.client opens another where the server has closed this one
            assert connection.sock is first, path
    assert statuses == [401, 405, 404, 415, 404, 400] * 5


def chunks(body: bytes) -> Iterator[bytes]:
    """http.client sends an iterable without Content-Length, in chunks."""
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def test_a_chunked_body_is_read_up_to_the_cap(server: Server, token: dict[str, str], portraits: Portraits) -> None:
    picture = base64.b64encode(portraits.eileen_collins).decode()
    bodies = {
        "application/json": json.dumps({"subject_id": "child-1", "image": picture}).encode(),
        MULTIPART: form(part(portraits.eileen_collins, FILE)),
    }
    with closing(server.connect()) as connection:
        for content_type, body in bodies.items():
            headers = {**token, "Content-Type": content_type, "Transfer-Encoding": "chunked"}
            # read and understood: what is missing is an active version
            assert ask(connection, chunks(body), headers)[1]["code"] == "not_ready"
            # refusals that come before the body is read
            del headers["Authorization"]
            assert ask(connection, chunks(body), headers)[0] == 401
            assert ask(connection, chunks(body), headers, "/api/v1/face/nothing")[0] == 404
        large = part(b"x", FILE) + b"x" * 41 * MIB
        headers = {**token, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        assert ask(connection, chunks(large), headers)[1]["code"] == "image_too_large"


def test_a_broken_chunk_is_a_request_that_did_not_arrive(server: Server, token: dict[str, str]) -> None:
    head = (
        f"POST {VERIFY} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token['Authorization']}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    before = len(server.log.read_bytes())
    answer = server.raw(head.encode() + b'5\r\n{"a":\r\nnonsense\r\n')
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_request"' in answer
    assert b"Traceback" not in server.log.read_bytes()[before:]
