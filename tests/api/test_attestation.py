"""Calls that have to show that they come from the host's app: what its class does not accept is never looked at."""

from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from rest_framework.request import Request
from rest_framework.test import APIClient

from ml_models import services
from ml_models.engine import decode, pipeline
from ml_models.models import AuditEvent, CredentialCount, Verification
from ml_models.services import groups
from tests.conftest import Portraits
from tests.support.uploads import upload

pytestmark = pytest.mark.django_db


class Phones:
    """A test double for Play Integrity and App Attest: a token is good for the subject or group that it names."""

    def accepts(self, token: str, request: Request) -> bool:
        if token == "not known":
            raise ConnectionError("the phone maker's service does not answer")
        data = dict(request.data)
        return token == f"genuine, {(data.get('subject_id') or data['group'])[0]}"


class Everybody:
    """Accepts all that it is asked about: who sends no token is no question for it."""

    def accepts(self, token: str, request: Request) -> bool:
        return True


class Claims:
    """Answers with what the token says, whatever that is, in place of whether it is good."""

    def accepts(self, token: str, request: Request) -> Any:
        return {"verdict": "tampered with"}


class Nothing:
    """No method of that name."""


@pytest.fixture
def kiosk(people: list[str], service: APIClient, grant: Any, django_user_model: Any) -> APIClient:
    """May do all three calls, and neither child is enrolled by a token."""
    grant(django_user_model.objects.get(username="kiosk"), "identify_group")
    groups.put(services.NOBODY, "bus/7", people)
    return service


@pytest.fixture
def asked(kiosk: APIClient, settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Attestation is asked for; every picture that is decoded from now on."""
    settings.ML_MODELS = {**settings.ML_MODELS, "ATTESTATION": f"{__name__}.Phones"}
    seen: list[bytes] = []
    original = decode.read

    def noting(data: bytes, *args: Any) -> Any:
        seen.append(data)
        return original(data, *args)

    monkeypatch.setattr(pipeline, "read", noting)
    return seen


def send(client: APIClient, call: str, picture: bytes, token: str | None = None, subject: str = "child-1") -> Any:
    body = upload(subject, picture)
    if call == "identify":
        body = {"image": body["image"], "group": "bus/7"}
    headers = {} if token is None else {"X-Attestation": token}
    return client.post(f"/api/v1/face/{call}", body, format="multipart", headers=headers)


@pytest.mark.parametrize("call", ["enroll", "verify", "identify"])
def test_without_a_good_token_nothing_is_decoded_and_an_event_is_left(
    kiosk: APIClient, portraits: Portraits, asked: list[bytes], call: str, settings: Any
) -> None:
    before = AuditEvent.objects.count()
    tokens = (None, "", "genuine", "genuine, child-2")
    for token in tokens:
        response = send(kiosk, call, portraits.eileen_collins, token)
        assert (response.status_code, response.json()["code"]) == (403, "not_attested")
        assert "genuine" not in response.content.decode()
    assert not asked
    events = AuditEvent.objects.order_by("pk")[before:]
    assert [(event.kind, event.code) for event in events] == [(call, "not_attested")] * len(tokens)
    assert not Verification.objects.exists()
    assert CredentialCount.objects.filter(failures__gt=0).count() == 0
    settings.ML_MODELS = {**settings.ML_MODELS, "ATTESTATION": f"{__name__}.Everybody"}
    for token in (None, ""):
        assert send(kiosk, call, portraits.eileen_collins, token).json()["code"] == "not_attested"
    settings.ML_MODELS = {**settings.ML_MODELS, "ATTESTATION": f"{__name__}.Claims"}
    assert send(kiosk, call, portraits.eileen_collins, "any").json()["code"] == "not_attested"


def test_a_good_token_opens_and_unset_nothing_is_asked(
    kiosk: APIClient, portraits: Portraits, asked: list[bytes], settings: Any
) -> None:
    response = send(kiosk, "verify", portraits.eileen_collins, "genuine, child-1")
    assert response.json()["decision"] == "match"
    response = send(kiosk, "enroll", portraits.grace_hopper, "genuine, child-3", "child-3")
    assert response.status_code == 201
    # the next refusal, of a version that cannot identify: the token was taken
    response = send(kiosk, "identify", portraits.eileen_collins, "genuine, bus/7")
    assert response.json()["code"] == "not_ready"
    settings.ML_MODELS = {**settings.ML_MODELS, "ATTESTATION": None}
    assert send(kiosk, "verify", portraits.eileen_collins).json()["decision"] == "match"


def test_who_has_no_right_is_told_so_before_the_token_is_looked_at(
    portraits: Portraits, asked: list[bytes], user: Any
) -> None:
    stranger = APIClient()
    stranger.force_authenticate(user)
    assert send(stranger, "verify", portraits.eileen_collins).json()["code"] == "forbidden"


def test_a_class_that_cannot_tell_or_is_not_there_refuses(
    kiosk: APIClient, portraits: Portraits, asked: list[bytes], settings: Any
) -> None:
    kiosk.raise_request_exception = False
    answers = [send(kiosk, "verify", portraits.eileen_collins, "not known")]
    for path in ("", "tests.nowhere.Phones", f"{__name__}.Nothing"):
        settings.ML_MODELS = {**settings.ML_MODELS, "ATTESTATION": path}
        answers.append(send(kiosk, "verify", portraits.eileen_collins, "genuine, child-1"))
        with pytest.raises(SystemCheckError, match="E014"):
            call_command("check")
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(500, "internal_error")}
    assert not asked
    settings.ML_MODELS = {**settings.ML_MODELS, "ATTESTATION": f"{__name__}.Phones"}
    call_command("check")
