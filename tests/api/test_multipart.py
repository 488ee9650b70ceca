"""Forms as clients write them: a header that nobody asks for loses no part, and what is no part does not become one."""

import base64
import json
import quopri
from typing import Any

import pytest
from rest_framework.test import APIClient

from ml_models.api.multipart import MAX_HEADER_BYTES, MAX_PARTS
from ml_models.exceptions import NotReady
from tests.support.pictures import encoded, faceless
from tests.support.uploads import send

pytestmark = pytest.mark.django_db

PICTURE = encoded(faceless(64, 64)) + b"\n"
TYPE = "multipart/form-data; boundary=b"
NAMED = b'Content-Disposition: form-data; name="image"; filename="'
SUBJECT = b'--b\r\nContent-Disposition: form-data; name="subject_id"\r\n\r\nchild-1\r\n'
END = b"--b--\r\n"


def image(head: bytes, content: bytes = PICTURE) -> bytes:
    return b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What of a form reached the service."""
    seen: list[Any] = []

    def note(_: Any, subject_id: str, images: Any, *more: Any) -> None:
        seen.append((subject_id, images))
        raise NotReady("That was enough.")

    monkeypatch.setattr("ml_models.services.verify", note)
    return seen


def verify(client: APIClient, body: bytes, content_type: str = TYPE) -> Any:
    return send(client, "/api/v1/face/verify", body, content_type).json()


LONG = ("写" * 85 + ".jpg").encode()
GOOD = {
    "a file's name in Latin-1": image(NAMED + b'F\xe4hre.jpg"'),
    "a file's name in GBK": image(NAMED + b'\xd5\xd5\xc6\xac.jpg"'),
    "a file's name in Shift JIS that ends with a backslash": image(NAMED + b'\x95\x5c"'),
    "the longest file's name, twice": image(
        NAMED + LONG + b"\"; filename*=UTF-8''" + b"".join(b"%%%02X" % byte for byte in LONG)
    ),
    "a file's name in an encoding that there is none": image(NAMED + b"a\"; filename*=none''a.jpg"),
    "a file's name that is not closed": image(NAMED + b"a.jpg"),
    "a header of another encoding": image(b"X-Name: \xe4\r\n" + NAMED + b'a"'),
    "a header in two lines": image(NAMED[:-10] + b'\r\n filename="a"'),
    "forty headers": image(b"X-A: b\r\n" * 40 + NAMED + b'a"'),
    "text before and behind it": b"hello\r\n" + SUBJECT + image(NAMED + b'a"') + END + b"\r\nbye\r\n",
    "parts before and behind it": SUBJECT[5:] + SUBJECT + image(NAMED + b'a"') + END + image(NAMED + b'a"') + END,
    "a boundary with blanks behind it": SUBJECT.replace(b"--b\r\n", b"--b \t\r\n") + image(NAMED + b'a"'),
    "a longer line than the boundary in a picture": SUBJECT + image(NAMED + b'a"', b"\xff\r\n--bb\r\n--b-\n"),
    "lines as Unix has them": (SUBJECT + image(NAMED + b'a"', b"\xff\xd8") + END).replace(b"\r\n", b"\n"),
    "base64 without padding": image(
        NAMED + b'a"\r\nContent-Transfer-Encoding: Base64', base64.b64encode(PICTURE).rstrip(b"=")
    ),
    "base64 with the alphabet for addresses": image(
        NAMED + b'a"\r\nContent-Transfer-Encoding: base64', base64.urlsafe_b64encode(PICTURE)
    ),
    "quoted-printable": image(
        NAMED + b'a"\r\nContent-Transfer-Encoding: Quoted-Printable', quopri.encodestring(PICTURE)
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_form_as_clients_write_it_arrives(service: APIClient, reached: list[Any], name: str) -> None:
    body = GOOD[name]
    whole = body if b"child-1" in body else SUBJECT + body
    verify(service, whole if END.strip() in whole else whole + END)
    pictures = {b"\xff\r\n--bb\r\n--b-\n", b"\xff\xd8", PICTURE}
    assert [(subject, len(images), images[0] in pictures) for subject, images in reached] == [("child-1", 1, True)]


def test_an_id_may_be_quoted_printable(service: APIClient, reached: list[Any]) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="subject_id"\r\nContent-Transfer-Encoding: quoted-printable'
    verify(service, head + b"\r\n\r\nZo=C3=AB\r\n" + image(NAMED + b'a"') + END)
    assert [subject for subject, _ in reached] == ["Zoë"]


@pytest.mark.parametrize(
    ("sent", "meant"), [('"Zo\\u00eb"', "Zoë"), ('"a\\/b"', "a/b"), ("child-1", "child-1"), ("7", "7")]
)
def test_an_id_may_be_a_text_of_json(service: APIClient, reached: list[Any], sent: str, meant: str) -> None:
    """As Retrofit writes it where its converter is one for JSON; some write the type and not the quotes."""
    head = b'--b\r\nContent-Disposition: form-data; name="subject_id"\r\nContent-Type: application/json; charset=UTF-8'
    verify(service, head + b"\r\n\r\n" + sent.encode() + b"\r\n" + image(NAMED + b'a"') + END)
    assert [subject for subject, _ in reached] == [meant]


BAD = {
    "cut off in an id": (image(NAMED + b'a"') + SUBJECT[:-3], "last boundary"),
    "cut off behind an id": (image(NAMED + b'a"') + SUBJECT, "last boundary"),
    "another boundary than the header names": (SUBJECT.replace(b"--b", b"--c"), "boundary that its header names"),
    "a part without a name": (SUBJECT + image(b"Content-Type: image/jpeg") + END, "no name"),
    "a part without headers": (SUBJECT + b"--b\r\n\r\ncanary\r\n" + END, "no name"),
    "a part without a blank line": (SUBJECT + b"--b\r\ncanary\r\n" + END, "no blank line"),
    "a part with endless headers": (SUBJECT + image(b"X-A: canary\r\n" * 700 + NAMED + b'a"') + END, "no blank line"),
    "a part with two names": (SUBJECT + image(NAMED + b'a"; name="canary"') + END, "no name, or two"),
    "a part with a header twice": (SUBJECT + image(NAMED + b'a"\r\n' + NAMED + b'a"') + END, "one header twice"),
    "json that is none": (
        b'--b\r\nContent-Disposition: form-data; name="subject_id"\r\nContent-Type: application/json\r\n\r\n"canary\r\n'
        + image(NAMED + b'a"')
        + END,
        "JSON is not",
    ),
    "base64 that is none": (
        SUBJECT + image(NAMED + b'a"\r\nContent-Transfer-Encoding: base64', b"canary!") + END,
        "base64 is not",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_form_that_could_be_read_in_two_ways_is_refused_with_its_reason(
    service: APIClient, reached: list[Any], name: str
) -> None:
    body, says = BAD[name]
    answer = verify(service, body)
    assert answer["code"] == "invalid_request"
    assert says in answer["detail"]
    assert "canary" not in json.dumps(answer)
    assert not reached


def test_a_boundary_is_named_once(service: APIClient, reached: list[Any]) -> None:
    body = SUBJECT + image(NAMED + b'a"') + END
    for content_type in ("multipart/form-data; boundary=c; boundary=b", "multipart/form-data; boundary*=UTF-8''b"):
        assert "boundary" in verify(service, body, content_type)["detail"]
    for content_type in ('multipart/form-data; charset=x; Boundary="b"; a=b', "multipart/form-data;boundary=b;"):
        verify(service, body, content_type)
    assert len(reached) == 2


def test_the_cost_of_headers_is_capped(service: APIClient) -> None:
    """A quote that is never closed, a thousand times: the standard library's reader takes minutes."""
    head = b'Content-Disposition: form-data; name="x"'
    one = image(head + b';a="' * ((MAX_HEADER_BYTES - len(head) - 10) // 4), b"x")
    assert "image" in verify(service, one * MAX_PARTS + END)["errors"]
