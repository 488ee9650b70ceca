"""Hostile files over HTTP, to a server that goes on answering others meanwhile."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from rest_framework.authtoken.models import Token

from ml_models.api.multipart import MAX_PARTS
from ml_models.engine.errors import ImageTooLarge
from ml_models.models import EnsembleConfig, Subject
from ml_models.services.frames import FrameUploadHandler
from tests.conftest import Portraits
from tests.fuzz.mutations import mutated
from tests.support.hostile import hostile, png_bomb, polyglots
from tests.support.memory import MAX_MORE_MIB, peak_mib, set_back_peak
from tests.support.uploads import enroll, verify

HOSTILE = hostile()
_BOUNDARY = "a-boundary"


def multipart(subject_id: str, image: bytes) -> bytes:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="subject_id"\r\n\r\n{subject_id}\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()


class Door:
    """A caller of the running server."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._address, self._token = (host, port), token

    def post(self, body: bytes) -> tuple[int, bytes]:
        headers = {
            "Authorization": f"Token {self._token}",
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        }
        return self._ask("POST", "/api/v1/face/enroll", body, headers)

    def healthy(self) -> bool:
        return self._ask("GET", "/healthz", None, {})[0] == 200

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection(*self._address, timeout=120)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()


@pytest.fixture
def door(live_server: Any, served: EnsembleConfig, service: Any) -> Door:
    return Door(live_server.thread.host, live_server.thread.port, Token.objects.get().key)


@pytest.fixture
def watched(door: Door) -> Iterator[list[float]]:
    """How long each health check took while the test ran."""
    taken_s: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            started = time.monotonic()
            assert door.healthy()
            taken_s.append(time.monotonic() - started)

    thread = threading.Thread(target=watch)
    thread.start()
    yield taken_s
    done.set()
    thread.join()


@pytest.mark.django_db(transaction=True)
def test_the_service_answers_throughout_whatever_it_is_sent(door: Door, watched: list[float]) -> None:
    slowest_s = 0.0
    for name, (data, code) in HOSTILE.items():
        request = multipart("child-1", data)
        set_back_peak()
        before_mib, started = peak_mib(), time.monotonic()
        status, body = door.post(request)
        slowest_s = max(slowest_s, time.monotonic() - started)
        assert peak_mib() - before_mib < MAX_MORE_MIB, name
        assert status in (413, 422), name
        # without a code it is a picture, of nobody
        assert (code or "no_face_found").encode() in body, name
    assert not Subject.objects.exists()
    assert len(watched) > 5
    # on a busy machine everything takes longer; a server that answers nobody meanwhile keeps them waiting as long
    assert max(watched) < max(1.0, slowest_s / 2)


@pytest.mark.django_db
def test_a_body_is_refused_by_its_length_and_by_a_file_that_grows_too_large(
    service: Any, settings: Any, portraits: Portraits
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_REQUEST_BYTES": 3000}
    response = enroll(service, "child-1", portraits.eileen_collins)
    assert (response.status_code, response.json()["code"]) == (413, "image_too_large")
    # a server that closes a connection with unread bytes in it takes the answer away from the client
    assert response.wsgi_request.read() == b""
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_REQUEST_BYTES": 10**8, "MAX_IMAGE_BYTES": 3000}
    response = verify(service, "child-1", portraits.eileen_collins, portraits.eileen_collins)
    assert (response.status_code, response.json()["code"]) == (413, "image_too_large")
    response = service.post("/api/v1/face/verify", {"subject_id": "child-1", "image": "A" * 5000}, format="json")
    assert (response.status_code, response.json()["code"]) == (413, "image_too_large")


@pytest.mark.django_db
@pytest.mark.parametrize(("length", "code"), [("9" * 5000, "image_too_large"), ("²", "invalid_request")])
def test_a_length_of_which_python_makes_no_number_is_refused(service: Any, length: str, code: str) -> None:
    response = service.generic("POST", "/api/v1/face/verify", b"{}", "application/json", CONTENT_LENGTH=length)
    assert response.json()["code"] == code
    assert len(response.content) < 1000


def test_an_upload_is_refused_at_the_byte_that_is_one_too_many(settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_IMAGE_BYTES": 3000}
    handler = FrameUploadHandler()
    handler.new_file("image", "face.jpg", "image/jpeg", None)
    handler.receive_data_chunk(bytes(3000), 0)
    with pytest.raises(ImageTooLarge):
        handler.receive_data_chunk(b"x", 3000)


@pytest.mark.django_db
def test_a_picture_never_lies_in_a_temporary_file(
    service: Any, settings: Any, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what another host's settings may say
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    monkeypatch.setattr("django.core.files.uploadedfile.tempfile.NamedTemporaryFile", refuse)
    assert enroll(service, "child-1", portraits.eileen_collins).json()["code"] == "not_ready"


@pytest.mark.django_db
def test_too_many_parts_are_refused_with_a_problem(service: Any) -> None:
    answers = [
        service.post("/api/v1/face/enroll", {f"f{i}": "x" for i in range(n)}) for n in (MAX_PARTS, MAX_PARTS + 1)
    ]
    assert [answer.json()["code"] for answer in answers] == ["invalid_request"] * 2
    assert [f"more than {MAX_PARTS} parts" in answer.json()["detail"] for answer in answers] == [False, True]


@pytest.mark.django_db
def test_polyglots_and_damaged_pictures_never_give_a_500(served: EnsembleConfig, service: Any) -> None:
    for name, data in polyglots().items():
        response = enroll(service, "child-1", data)
        assert (response.status_code, response.json()["code"]) == (422, "undecodable_image"), name
    for index in range(150):
        response = enroll(service, "child-1", mutated(index, seed=5)[1])
        assert response.status_code in (413, 422), (index, response.content)
    assert not Subject.objects.exists()


def test_the_bomb_is_one() -> None:
    assert len(png_bomb(10_000, 6_000)) < 400_000
