"""Every answer of the API is a problem document or what was asked for, whatever stands between client and view."""

from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from rest_framework.test import APIClient

from ml_models.models import EnsembleConfig, Subject
from tests.api.test_access import CALLS, call
from tests.conftest import Portraits
from tests.support.pictures import another
from tests.support.uploads import enroll, upload

pytestmark = pytest.mark.django_db


def assert_problem(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    body = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:ml-models:{code}")
    assert body["title"]
    assert body["detail"]
    assert len(answer.content) < 1000
    # another length would cut it, or keep the client waiting
    assert answer.headers.get("Content-Length", str(len(answer.content))) == str(len(answer.content))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/face/",
        "/api/v1/face",
        "/api/v1/face/nothing",
        "/api/v1/face/verify/nothing",
        "/api/v1/face/verify//",
        "/api/v1/face/subjects/",
        "/api/v1/face/references/no-uuid",
        "/api/v1/face/rollouts/no-uuid/pause",
        "/api/v1/nothing/",
        "/api/",
        "/api",
        "/%2Fapi/v1/face/verify",  # as “//api” is, which the client would take for a host
        "/API/v1/face/verify",
        "/healthz/nothing",
    ],
)
def test_an_unknown_address_is_a_problem(path: str, method: str) -> None:
    answer = Client(enforce_csrf_checks=True).generic(method, path, b"{}", "application/json")
    assert_problem(answer, 404, "not_found")


def test_a_problem_in_place_of_a_compressed_page_is_not_called_compressed(settings: Any) -> None:
    settings.DEBUG = True  # a page that is long enough
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.gzip.GZipMiddleware"]
    answer = Client().get("/api/v1/nothing", headers={"accept-encoding": "gzip"})
    assert_problem(answer, 404, "not_found")
    assert "Content-Encoding" not in answer


def test_the_document_s_page_takes_get_alone() -> None:
    assert_problem(Client().options("/api/docs/"), 405, "method_not_allowed")
    assert Client().get("/api/docs/").status_code == 200


def test_other_addresses_of_the_host_keep_their_pages() -> None:
    assert "html" in Client().get("/nothing")["Content-Type"]
    assert "html" in Client().get("/nothing", headers={"host": "elsewhere.example"})["Content-Type"]


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("path", ["/api/v1/face/verify", "/api/v1/face/config", "/api/v1/nothing", "/readyz/"])
def test_a_wrong_host_is_a_problem(path: str, settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    answer = Client().get(path, headers={"host": "elsewhere.example"})
    assert_problem(answer, 400, "invalid_request")
    assert b"elsewhere" not in answer.content


class Broken:
    """A middleware of the host that fails on what it is given."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        pass

    def __call__(self, request: HttpRequest) -> HttpResponse:
        raise KeyError("canary")


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_in_front_of_the_views_is_a_problem(settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.Broken"]
    client = Client(raise_request_exception=False)
    for path in ("/api/v1/face/config", "/healthz"):
        answer = client.get(path)
        assert_problem(answer, 500, "internal_error")
        assert b"canary" not in answer.content


def test_an_error_that_nobody_foresaw_is_told_to_the_host_and_not_to_the_client(
    service: APIClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from django.core.signals import got_request_exception

    def unforeseen(subject_id: str) -> None:
        raise KeyError(subject_id.upper())

    monkeypatch.setattr("ml_models.selectors.subject", unforeseen)
    service.raise_request_exception = False
    heard: list[Any] = []
    got_request_exception.connect(lambda request, **_: heard.append(request), weak=False, dispatch_uid="test")
    answer = service.get("/api/v1/face/subjects/canary")
    got_request_exception.disconnect(dispatch_uid="test")
    assert_problem(answer, 500, "internal_error")
    assert len(heard) == 1
    assert "KeyError" in caplog.text
    assert "unforeseen" in caplog.text  # where
    assert "CANARY" not in caplog.text + answer.content.decode()


@pytest.mark.parametrize("accept", ["text/html", "application/problem+json", "image/jpeg", "nonsense"])
def test_whatever_a_client_would_rather_have_it_gets_json(service: APIClient, accept: str) -> None:
    answer = service.get("/api/v1/face/subjects/nobody?format=xml", headers={"accept": accept})
    assert_problem(answer, 404, "not_found")
    assert service.get("/healthz", headers={"accept": accept}).json() == {"status": "ok"}


@pytest.mark.parametrize(("name", "method"), list(CALLS), ids=lambda value: value)
def test_both_forms_of_an_address_answer_the_same(admin_user: Any, name: str, method: str) -> None:
    """A redirect to the other one would lose the body of a POST."""
    operator = APIClient(enforce_csrf_checks=True)
    operator.force_authenticate(admin_user)
    asked: list[str] = []

    def slashed(method: str, path: str, *args: Any) -> Any:
        asked.append(path)
        return APIClient.generic(operator, method, path + "/", *args)

    unknown = "00000000-0000-4000-8000-000000000000"
    plain = call(operator, name, method, "nobody", unknown)  # type: ignore[arg-type]
    operator.generic = slashed  # type: ignore[method-assign, assignment]
    both = call(operator, name, method, "nobody", unknown)  # type: ignore[arg-type]
    assert asked
    assert both.status_code == plain.status_code
    # what is measured changes with being asked for, and what is drawn never comes twice
    assert both.content == plain.content or both.status_code == 404 or name in ("metrics", "challenges")


def test_a_subject_is_enrolled_read_and_erased_with_a_last_slash(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    made = service.post("/api/v1/face/enroll/", upload("child-1", portraits.eileen_collins), format="multipart")
    assert made.status_code == 201
    assert enroll(service, "child-1", another(portraits.eileen_collins)).status_code == 201
    assert len(service.get("/api/v1/face/subjects/child-1/").json()["references"]) == 2
    assert service.delete(f"/api/v1/face/references/{made.json()['reference_id']}/").status_code == 204
    assert service.delete("/api/v1/face/subjects/child-1/").json()["references_erased"] == 1
    assert not Subject.objects.exists()
