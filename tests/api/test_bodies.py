"""Bodies as clients write them, and as they should not: refused with a reason that repeats nothing."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application
from django.db import connections
from django.http import HttpRequest, HttpResponse
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from ml_models.api.fields import ImageField
from ml_models.api.parsers import MAX_VALUES
from ml_models.exceptions import NotReady
from tests.support.pictures import encoded, faceless
from tests.support.uploads import send

pytestmark = pytest.mark.django_db

VERIFY = "/api/v1/face/verify"


def refusal(client: APIClient, body: str | bytes, content_type: str = "application/json") -> dict[str, Any]:
    answer = send(client, VERIFY, body, content_type)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.content
    assert len(answer.content) < 1000
    assert b"canary" not in answer.content
    return dict(answer.json())


def test_a_picture_as_an_array_of_numbers_is_told_what_to_send_instead(service: APIClient) -> None:
    for numbers in (6, 1000):
        problem = refusal(service, json.dumps({"subject_id": "child-1", "image": [255] * numbers}))
        assert f"this list has {numbers} entries" in problem["errors"]["image"][0]
    refused = refusal(service, json.dumps({"image": [255] * MAX_VALUES}))["detail"]
    assert "base64" in refused
    assert "a long list of ids in parts" in refused


def test_the_first_picture_that_is_not_one_ends_it(service: APIClient) -> None:
    problem = refusal(service, json.dumps({"subject_id": "child-1", "image": [7, 8, 9]}))
    assert len(problem["errors"]["image"]) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"image": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deep"),
        (b'{"canary": "\xff"}', "not UTF-8, from byte 12"),
        (b'{"canary": "\xff' + b"A" * 10_000 + b'"}', "non-ASCII characters in a text"),
        (b'{"image": "' + b"A" * 10_000 + "é".encode() + b'"}', "non-ASCII characters in a text"),
        (b'{"image": "\\u20ac' + b"A" * 10_000 + b'"}', "non-ASCII characters in a text"),
        (b'{"image": "\\"\\u20ac' + b"A" * 10_000 + b'\\""}', "non-ASCII characters in a text"),
        (b'{"image": "' + b"\\u20ac" * 700 + b'"}', "non-ASCII characters in a text"),
        (b'{"canary": "' + "é".encode() * 2100 + b'"}', "non-ASCII characters in a text"),
        (b'{"canary": "' + "aé".encode() * 1300 + b'"}', "not as it should be"),
        (b'["' + b'\\u20ac","' * 9000 + "é".encode() * 9 + b'"]', "not as it should be"),
        (b'["' + b'\\u20ac \\u20ac","' * 6000 + b'"]', "in more than 10000 places: send a long list of ids in parts"),
        (b'{"canary": NaN}', "NaN"),
        (b'{"canary": 1e999}', "Infinity"),
        (b'{"subject_id": "child-1", "canary": {"a": 1, "a": 1}}', "two members of one name"),
        (b'{"canary": ' + b"1" * 5000 + b"}", "a number that is too long"),
        (b'{"canary": ', "at character 11"),
        (b"canary=1&image=2", "not JSON"),
        (b"\xef\xbb\xbf{}", "not as it should be"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_that_is_none_is_a_bad_request(service: APIClient, body: bytes, says: str) -> None:
    assert says in refusal(service, body)["detail"]


def test_json_is_utf_8_whatever_its_header_says(service: APIClient) -> None:
    body = json.dumps({"subject_id": "Zoë😀", "image": "AAAA"}, ensure_ascii=False).encode()
    for charset in ("", "; charset=utf-16", "; charset=zlib", "; charset=canary"):
        answer = send(service, VERIFY, body, f"application/json{charset}")
        assert answer.json()["code"] == "not_ready"  # understood; there is no active version


def test_an_id_in_any_script_reaches_the_service_whole(service: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("ml_models.api.access.require", lambda _, __, subject_id: asked.append(subject_id))
    ids = ["Zoë", "Žofie", "沙耶", "😀 a", 'quo"te', "back\\slash"]
    for subject_id in ids:
        for ascii_only in (True, False):
            body = json.dumps({"image": "A" * 10_000, "subject_id": subject_id}, ensure_ascii=ascii_only)
            service.generic("POST", VERIFY, body, "application/json")
        service.post(VERIFY, {"subject_id": subject_id, "image": "AAAA"}, format="multipart")
    assert asked == [subject_id for subject_id in ids for _ in range(3)]


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=canaryé", "; boundary=" + "canary" * 36])
def test_a_form_without_a_usable_boundary_is_a_bad_request(service: APIClient, boundary: str) -> None:
    assert "boundary" in refusal(service, b"--canary--", f"multipart/form-data{boundary}")["detail"]


def test_a_form_whose_charset_is_no_text_s_is_read_as_utf_8(service: APIClient) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="subject_id"\r\n\r\nZo\xc3\xab\r\n--b--\r\n'
    problem = refusal(service, body, "multipart/form-data; boundary=b; charset=zlib")
    assert set(problem["errors"]) == {"image"}


def test_a_text_that_is_not_utf_8_is_nobody_s_id(service: APIClient) -> None:
    """Two of them would become the same replacement characters."""
    body = b'--b\r\nContent-Disposition: form-data; name="subject_id"\r\n\r\nZo\xeb\r\n--b--\r\n'
    assert "subject_id" in refusal(service, body, "multipart/form-data; boundary=b")["errors"]


PICTURE = encoded(faceless(64, 64))
TEXT = base64.b64encode(PICTURE).decode()
BASE64: dict[str, str] = {
    "plain": TEXT,
    "in lines, as MIME has them": base64.encodebytes(PICTURE).decode(),
    "in lines of Windows": base64.encodebytes(PICTURE).decode().replace("\n", "\r\n"),
    "with the alphabet for addresses": base64.urlsafe_b64encode(PICTURE).decode(),
    "without padding": TEXT.rstrip("="),
    "with the alphabet for addresses, without padding": base64.urlsafe_b64encode(PICTURE).decode().rstrip("="),
    "a data URL": f"data:image/jpeg;base64,{TEXT}",
    "a data URL with parameters": f"data:image/jpeg;name=face.jpg;charset=utf-8;base64,{TEXT}",
    "a data URL in capitals": f"DATA:IMAGE/JPEG;BASE64,{TEXT}",
    "a data URL without a type": f"data:;base64,{TEXT}",
    "a data URL with blanks": f" \n data:image/jpeg; base64 , {TEXT}",
    "a data URL with escapes": "data:image/jpeg;base64," + quote(TEXT, safe=""),
    "a data URL with small escapes": "data:image/jpeg;base64," + quote(TEXT, safe="").replace("%2F", "%2f"),
    "a data URL of lines with escapes": "data:image/jpeg;base64,"
    + quote(base64.encodebytes(PICTURE).decode(), safe=""),
    "a data URL in lines": "data:image/jpeg;base64," + base64.encodebytes(PICTURE).decode(),
}


def test_the_picture_needs_all_that_the_spellings_differ_in() -> None:
    assert {"+", "/", "="} <= set(TEXT)


@pytest.mark.parametrize("name", BASE64)
def test_base64_as_clients_write_it_is_the_picture(name: str) -> None:
    assert ImageField().run_validation(BASE64[name]) == PICTURE


@pytest.mark.parametrize(
    "text", ["not base64!", "A", "AAAAA", "=AAA", "AA=A", "é" * 8, "data:image/jpeg,AAAA", "data:", 7]
)
def test_what_is_not_base64_is_no_picture(service: APIClient, text: Any) -> None:
    assert "image" in refusal(service, json.dumps({"subject_id": "child-1", "image": [text]}))["errors"]


def part(disposition: str, value: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f"--b\r\nContent-Disposition: form-data; {disposition}", *headers])
    return head.encode() + b"\r\n\r\n" + value + b"\r\n"


SUBJECT = part('name="subject_id"', b"child-1")
IMAGE: dict[str, bytes] = {
    "a file": part('name="image"; filename="face.jpg"', PICTURE, "Content-Type: image/jpeg"),
    "without a file's name": part('name="image"', PICTURE, "Content-Type: image/jpeg"),
    "with an empty one": part('name="image"; filename=""', PICTURE),
    "with one in another script": part("name=\"image\"; filename*=UTF-8''%e9%a1%94.jpg", PICTURE),
    "of a list, as axios and jQuery name them": part('name="image[]"; filename="face.jpg"', PICTURE),
    "of a list, as others do": part('name="image[0]"; filename="face.jpg"', PICTURE),
    "base64 in a field": part('name="image"', TEXT.encode()),
    "a data URL in a field": part('name="image"', f"data:image/jpeg;base64,{TEXT}".encode()),
    "base64 in a file": part('name="image"; filename="face.txt"', TEXT.encode(), "Content-Type: text/plain"),
    "a data URL in a file": part('name="image"; filename="blob"', f"data:image/jpeg;base64,{TEXT}".encode()),
    "base64 in transfer": part(
        'name="image"; filename="face.jpg"', base64.encodebytes(PICTURE), "Content-Transfer-Encoding: base64"
    ),
    "binary in transfer": part('name="image"; filename="face.jpg"', PICTURE, "Content-Transfer-Encoding: binary"),
}


@pytest.fixture
def enrolled(service: APIClient, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], list[Any]]:
    """Sends a form to enroll and to verify; what of it reached the services."""
    reached: list[Any] = []

    def note(_: Any, subject_id: str, images: Any, *more: Any) -> None:
        reached.append((subject_id, images))
        raise NotReady("That was enough.")

    monkeypatch.setattr("ml_models.services.enroll", note)
    monkeypatch.setattr("ml_models.services.verify", note)

    def reach(body: bytes) -> list[Any]:
        for call in ("enroll", "verify"):
            send(service, f"/api/v1/face/{call}", body + b"--b--\r\n", "multipart/form-data; boundary=b")
        return reached

    return reach


@pytest.mark.parametrize("name", IMAGE)
def test_a_part_as_clients_name_it_is_the_picture(enrolled: Callable[[bytes], list[Any]], name: str) -> None:
    assert enrolled(SUBJECT + IMAGE[name]) == [("child-1", [PICTURE])] * 2


def test_an_id_may_come_as_a_file_s_part(enrolled: Callable[[bytes], list[Any]]) -> None:
    """A Blob's, in a browser, or that of a library that knows no other parts."""
    subject = part('name="subject_id"; filename="blob"', "Zoë".encode(), "Content-Type: text/plain; charset=utf-8")
    assert enrolled(subject + IMAGE["a file"]) == [("Zoë", [PICTURE])] * 2


def test_several_parts_are_frames_in_their_order(enrolled: Callable[[bytes], list[Any]]) -> None:
    parts = [part(f'name="image[{i}]"; filename="{i}.jpg"', bytes([255, i])) for i in range(3)]
    # of enroll they are too many: it takes several only with a challenge
    assert enrolled(SUBJECT + b"".join(parts)) == [("child-1", [b"\xff\0", b"\xff\1", b"\xff\2"])]


class EarlyReader:
    """A middleware of a host that looks into every form."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        assert request.POST["subject_id"] == "child-1"
        return self._get_response(request)


def test_a_form_that_the_host_has_read_already_still_arrives(
    enrolled: Callable[[bytes], list[Any]], settings: Any
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.EarlyReader"]
    file = part('name="image"; filename="face.jpg"', PICTURE, "Content-Type: image/jpeg")
    assert enrolled(SUBJECT + file * 2) == [("child-1", [PICTURE, PICTURE])]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("length", [True, False])
def test_under_Djangos_ASGI_bodies_arrive_with_and_without_a_length(
    service: APIClient, length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the request's thread goes, and leaves a connection open that would have lived on
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    body = SUBJECT + IMAGE["a file"] + b"--b--\r\n"
    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=b")]
    headers.append((b"authorization", f"Token {Token.objects.get().key}".encode()))
    headers.append((b"content-length", str(len(body)).encode()) if length else (b"transfer-encoding", b"chunked"))
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": VERIFY, "query_string": b""}

    async def ask() -> Any:
        server: Any = ApplicationCommunicator(get_asgi_application(), {**scope, "headers": headers})  # type: ignore[no-untyped-call]
        await server.send_input({"type": "http.request", "body": body[:500], "more_body": True})
        await server.send_input({"type": "http.request", "body": body[500:]})
        await server.receive_output(30)
        answer = await server.receive_output(30)
        await server.wait(30)
        return json.loads(answer["body"])

    # understood: what is missing is an active version
    assert async_to_sync(ask)()["code"] == "not_ready"


@pytest.mark.parametrize("sent", ["canary", "canary" * 10_000, "\ud800", 7, True, 1.5])
def test_a_word_that_is_none_of_those_asked_for_is_not_repeated(service: APIClient, sent: Any) -> None:
    for call in ("liveness/challenges", "quality"):
        body = json.dumps({"purpose": sent, "image": "AAAA", "subject_id": "child-1"})
        answer = send(service, f"/api/v1/face/{call}", body, "application/json")
        assert answer.status_code == 400, answer.content
        assert answer.json()["errors"]["purpose"][0].startswith("Send one of these: ")
        assert len(answer.content) < 1000


@pytest.mark.parametrize("number", ["7.0", "1e5", "-0.0"])
def test_a_fraction_is_nobody_s_id(service: APIClient, number: str) -> None:
    """It would be written in a way of ours, as “100000.0”."""
    body = f'{{"subject_id": {number}, "image": "AAAA"}}'
    assert "subject_id" in refusal(service, body)["errors"]
    assert send(service, VERIFY, body.replace(number, "7"), "application/json").json()["code"] == "not_ready"


@pytest.mark.parametrize("name", ["subject_id", "capture_point", "challenge_id", "nonce"])
def test_a_form_with_two_values_where_one_belongs_is_refused(service: APIClient, name: str) -> None:
    """A proxy that looks at the first one would let the second one through."""
    body = SUBJECT + part(f'name="{name}"', b"canary") * 2 + IMAGE["a file"] + b"--b--\r\n"
    assert "several" in refusal(service, body, "multipart/form-data; boundary=b")["errors"][name][0]


def test_the_type_of_a_form_is_written_in_any_case(service: APIClient) -> None:
    body = SUBJECT + IMAGE["a file"] + b"--b--\r\n"
    assert send(service, VERIFY, body, "Multipart/Form-Data; Boundary=b").json()["code"] == "not_ready"


@pytest.mark.parametrize("wrong", ["", "\0", 7.5, None, [], {}, "x" * 201])
def test_a_long_list_of_ids_that_are_none_gets_a_short_answer(admin_user: Any, wrong: Any) -> None:
    administrator = APIClient()
    administrator.force_authenticate(admin_user)
    calls = (
        ("PUT", "groups/bus", {"subject_ids": [wrong] * 1900}),
        ("PATCH", "groups/bus", {"add": ["child-1"], "remove": [wrong] * 1900}),
        ("POST", "identify", {"subject_id": [wrong] * 199, "image": "AAAA"}),
        ("POST", "identify", {"subject_id": [wrong] * 1900, "image": "AAAA"}),
        ("POST", "liveness/challenges", {"purpose": "identify", "subject_ids": [wrong] * 199}),
    )
    for method, call, body in calls:
        answer = administrator.generic(method, f"/api/v1/face/{call}", json.dumps(body), "application/json")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), call
        assert len(answer.content) < 1000


def test_of_a_list_it_is_said_which_entry_is_wrong(admin_user: Any) -> None:
    administrator = APIClient()
    administrator.force_authenticate(admin_user)
    bodies = (
        ([*"abc", " d", None], "Entry 4 of 5: A subject's id neither"),
        (["a", None], "Entry 2 of 2: "),
        ([""], "This"),
    )
    for ids, reason in bodies:
        answer = administrator.put("/api/v1/face/groups/bus", {"subject_ids": ids}, format="json")
        [told] = answer.json()["errors"]["subject_ids"]
        assert told.startswith(reason), told


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("name", ["urn:school:7:bus:3:child:{}", "محمد علي حسن {}"])
def test_a_whole_roster_of_long_ids_is_taken(admin_user: Any, name: str, ascii_only: bool) -> None:
    administrator = APIClient()
    administrator.force_authenticate(admin_user)
    body = json.dumps({"subject_ids": [name.format(i) for i in range(2000)]}, ensure_ascii=ascii_only)
    answer = administrator.generic("PUT", "/api/v1/face/groups/bus", body, "application/json")
    assert (answer.status_code, answer.json()["size"]) == (201, 2000)
