"""Who asks reaches the services: the account, the key it used, and where the picture was taken."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from backend_easy.api_keys.models import ApiKey
from ml_models.exceptions import NotReady
from ml_models.services import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Caller]:
    callers: list[Caller] = []

    def note(caller: Caller, *more: Any) -> None:
        callers.append(caller)
        raise NotReady("That was enough.")

    monkeypatch.setattr("ml_models.services.enroll", note)
    monkeypatch.setattr("ml_models.services.verify", note)
    return callers


def send(client: APIClient, call: str, **more: str) -> Any:
    return client.post(f"/api/v1/face/{call}", {"subject_id": "child-1", "image": "AAAA", **more}, format="json")


@pytest.mark.parametrize("call", ["enroll", "verify"])
def test_a_key_is_named_by_its_public_part_and_an_account_by_its_number(
    service: APIClient, django_user_model: Any, grant: Any, asked: list[Caller], call: str
) -> None:
    bus = grant(django_user_model.objects.create_user("bus"), "enroll_subject", "verify_subject")
    key, text = ApiKey.objects.issue(bus, "front door")
    send(APIClient(HTTP_AUTHORIZATION=f"Api-Key {text}"), call, capture_point="front door")
    send(service, call)
    assert asked[0] == Caller(bus, f"key:{key.prefix}", "front door")
    assert asked[1].credential_id == f"account:{asked[1].account.pk}"  # type: ignore[union-attr]
    assert asked[1].capture_point == ""


def nameless(request: Any) -> str:
    return ""


def test_a_request_that_the_host_names_no_credential_of_has_its_accounts(
    service: APIClient, asked: list[Caller], settings: Any
) -> None:
    """One without any is a command's, which nobody suspects however many faces it shows."""
    settings.ML_MODELS = {**settings.ML_MODELS, "CREDENTIAL": f"{__name__}.nameless"}
    send(service, "verify")
    assert asked[0].credential_id == f"account:{asked[0].account.pk}"  # type: ignore[union-attr]


@pytest.mark.parametrize("point", ["x" * 51, "front\ndoor", "\x00"])
def test_a_capture_point_is_short_and_plain(service: APIClient, asked: list[Caller], point: str) -> None:
    answers = [send(service, call, capture_point=point) for call in ("enroll", "verify")]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(400, "invalid_request")] * 2
    assert not asked
