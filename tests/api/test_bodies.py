"""Bodies as clients write them, and as they should not: refused with a reason that repeats nothing."""

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from ml_models.api.parsers import MAX_VALUES

pytestmark = pytest.mark.django_db

VERIFY = "/api/v1/face/verify"


def refusal(client: APIClient, body: str | bytes, content_type: str = "application/json") -> dict[str, Any]:
    answer = client.generic("POST", VERIFY, body, content_type)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.content
    assert len(answer.content) < 1000
    assert b"canary" not in answer.content
    return dict(answer.json())


def test_a_picture_as_an_array_of_numbers_is_told_what_to_send_instead(service: APIClient) -> None:
    for numbers in (6, 1000):
        problem = refusal(service, json.dumps({"subject_id": "child-1", "image": [255] * numbers}))
        assert f"this list has {numbers} entries" in problem["errors"]["image"][0]
    assert "base64" in refusal(service, json.dumps({"image": [255] * MAX_VALUES}))["detail"]


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
        (b'{"canary": NaN}', "NaN"),
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
        answer = service.generic("POST", VERIFY, body, f"application/json{charset}")
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
