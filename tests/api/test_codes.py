"""Every code of the interface, over HTTP: body, status, and that nothing was written. One without a case fails here.

Over 300 lines: the table of codes and the requests that meet them belong beside each other.
"""

import dataclasses
import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.db.models.functions import Now
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from ml_models import runtime, services
from ml_models.api.errors import CODES
from ml_models.models import (
    Artifact,
    Challenge,
    ConfigStep,
    Embedding,
    EnsembleConfig,
    Erasure,
    Reference,
    Rollout,
    Subject,
    Verification,
)
from ml_models.services import admission, enrolment, groups, idempotency
from tests.conftest import Portraits
from tests.support.challenges import TURNED, ask
from tests.support.challenges import answer as answer_challenge
from tests.support.openapi import promised
from tests.support.pictures import another, encoded, faceless, opened, playing_card, side_by_side
from tests.support.served import rewrite
from tests.support.uploads import enroll, send, verify

pytestmark = pytest.mark.django_db


@dataclasses.dataclass(frozen=True)
class Door:
    """A served version, `child-1` enrolled with the first portrait, and who calls."""

    service: APIClient
    operator: APIClient
    stranger: APIClient
    portraits: Portraits
    settings: Any
    monkeypatch: pytest.MonkeyPatch
    folder: Path

    def change(self, **settings: Any) -> None:
        self.settings.ML_MODELS = {**self.settings.ML_MODELS, **settings}

    def both(self, picture: bytes) -> list[Any]:
        """Verify and enroll take the same pictures."""
        return [verify(self.service, "child-1", picture), enroll(self.service, "child-1", picture)]


@pytest.fixture
def door(
    served: EnsembleConfig,
    service: APIClient,
    portraits: Portraits,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    admin_user: Any,
    user: Any,
    tmp_path: Path,
) -> Door:
    cache.clear()
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    operator, stranger = APIClient(), APIClient()
    operator.force_authenticate(admin_user)
    stranger.force_authenticate(user)
    return Door(service, operator, stranger, portraits, settings, monkeypatch, tmp_path)


Case = Callable[[Door], list[Any]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """The case of the code that the function is named after; it returns the answers that must carry it."""
    CASES[function.__name__] = function
    return function


@case
def invalid_request(door: Door) -> list[Any]:
    picture = door.portraits.eileen_collins
    return [
        verify(door.service, "", picture),
        verify(door.service, "child-1", *[picture] * 6),
        enroll(door.service, "x" * 201, picture),
        door.service.delete("/api/v1/face/subjects/%00"),
        door.operator.post("/api/v1/face/configs/2/activate", {"hold_for_approval": "perhaps"}, format="json"),
    ]


@case
def not_authenticated(door: Door) -> list[Any]:
    nobody = APIClient()
    picture = door.portraits.eileen_collins
    return [
        verify(nobody, "child-1", picture),
        enroll(nobody, "child-1", picture),
        nobody.delete("/api/v1/face/subjects/child-1"),
        nobody.post("/api/v1/face/configs/2/rollback"),
    ]


@case
def forbidden(door: Door) -> list[Any]:
    picture = door.portraits.eileen_collins
    return [
        verify(door.stranger, "child-1", picture),
        enroll(door.stranger, "child-1", picture),
        enroll(door.service, "child-1", picture, override="true"),
        door.stranger.delete("/api/v1/face/subjects/child-1"),
        door.stranger.delete(f"/api/v1/face/references/{Reference.objects.get().pk}"),
        door.stranger.post("/api/v1/face/configs/2/rollback"),
    ]


@case
def not_attested(door: Door) -> list[Any]:
    door.change(ATTESTATION="tests.api.test_attestation.Phones")
    picture = door.portraits.eileen_collins
    return [verify(door.service, "child-1", picture), enroll(door.service, "child-1", picture)]


@case
def not_enrolled(door: Door) -> list[Any]:
    return [verify(door.service, "nobody", door.portraits.eileen_collins)]


@case
def not_found(door: Door) -> list[Any]:
    unknown = "00000000-0000-4000-8000-000000000000"
    return [
        door.service.get("/api/v1/face/subjects/nobody"),
        door.service.delete("/api/v1/face/subjects/nobody"),
        door.service.delete(f"/api/v1/face/references/{unknown}"),
        door.operator.post("/api/v1/face/configs/99/activate"),
        door.operator.get(f"/api/v1/face/rollouts/{unknown}"),
        door.operator.post(f"/api/v1/face/rollouts/{unknown}/pause"),
    ]


@case
def method_not_allowed(door: Door) -> list[Any]:
    return [door.service.get("/api/v1/face/verify"), door.service.put("/api/v1/face/subjects/child-1")]


@case
def length_required(door: Door) -> list[Any]:
    # a server that does not say where a chunked body ends; test_gunicorn has one that does
    return [
        send(door.service, f"/api/v1/face/{call}", "", "application/json", HTTP_TRANSFER_ENCODING="chunked")
        for call in ("verify", "enroll")
    ]


@case
def unsupported_media_type(door: Door) -> list[Any]:
    types = ("text/plain", "application/x-www-form-urlencoded", "canary/" + "x" * 300)
    answers = [door.service.post("/api/v1/face/enroll", "subject_id=child-1", content_type=name) for name in types]
    packed = gzip.compress(b"{}")
    return [
        *answers,
        send(door.service, "/api/v1/face/verify", packed, "application/json", HTTP_CONTENT_ENCODING="gzip"),
        send(door.service, "/api/v1/face/verify", packed, "application/json", HTTP_TRANSFER_ENCODING="gzip, chunked"),
    ]


@case
def internal_error(door: Door) -> list[Any]:
    def unforeseen(*_: Any) -> None:
        raise KeyError("child-1 and the rest of the input")

    door.monkeypatch.setattr("ml_models.services.verify", unforeseen)
    door.monkeypatch.setattr("ml_models.services.enroll", unforeseen)
    door.service.raise_request_exception = False
    return door.both(door.portraits.eileen_collins)


@case
def config_changed(door: Door) -> list[Any]:
    # somebody else's enrolment always comes first; test_erase_races loses this race for real
    door.monkeypatch.setattr(enrolment, "write", lambda *_: None)
    return [enroll(door.service, "child-1", another(door.portraits.eileen_collins))]


@case
def reference_mismatch(door: Door) -> list[Any]:
    return [enroll(door.service, "child-1", door.portraits.grace_hopper)]


@case
def duplicate_reference(door: Door) -> list[Any]:
    return [enroll(door.service, "child-1", door.portraits.eileen_collins)]


@case
def reference_limit(door: Door) -> list[Any]:
    door.change(MAX_REFERENCES=1)
    return [enroll(door.service, "child-1", another(door.portraits.eileen_collins))]


def _with_key(door: Door) -> APIClient:
    token = Token.objects.get(user__username="kiosk").key
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}", HTTP_IDEMPOTENCY_KEY="k1")
    return client


@case
def idempotency_conflict(door: Door) -> list[Any]:
    client = _with_key(door)
    for call in (enroll, verify):
        assert call(client, "child-1", b"not a picture").json()["code"] == "undecodable_image"
    return [call(client, "child-1", door.portraits.eileen_collins) for call in (enroll, verify)]


@case
def idempotency_in_progress(door: Door) -> list[Any]:
    client = _with_key(door)
    door.monkeypatch.setattr(idempotency, "keep", lambda *_: None)  # as if the process had been killed
    first = [call(client, "child-1", b"not a picture") for call in (enroll, verify)]
    assert {answer.json()["code"] for answer in first} == {"undecodable_image"}
    return [call(client, "child-1", b"not a picture") for call in (enroll, verify)]


@case
def duplicate_face(door: Door) -> list[Any]:
    offsets = [{"candidates": count, "match": 1.0, "review": 0.0} for count in (1, 2000)]
    rewrite(identification={"target_fpir": 0.001, "offsets": offsets})
    groups.put(services.NOBODY, "bus/7", ["child-1", "child-2"])
    door.change(GROUP_POLICY=f"{__name__}.anybody")
    return [enroll(door.service, "child-2", another(door.portraits.eileen_collins), group="bus/7")]


def anybody(*_: Any) -> bool:
    return True


@case
def rollout_refused(door: Door) -> list[Any]:
    return [
        door.operator.post("/api/v1/face/configs/2/validate"),
        door.operator.post("/api/v1/face/configs/2/activate"),
        door.operator.post("/api/v1/face/configs/2/rollback"),
    ]


@case
def image_too_large(door: Door) -> list[Any]:
    return door.both(b"\xff\xd8" + bytes(13 << 20))


@case
def undecodable_image(door: Door) -> list[Any]:
    return door.both(b"not a picture")


@case
def no_face_found(door: Door) -> list[Any]:
    return door.both(encoded(faceless()))


@case
def multiple_faces(door: Door) -> list[Any]:
    collins, hopper = opened(door.portraits.eileen_collins), opened(door.portraits.grace_hopper)
    return door.both(encoded(side_by_side(collins.crop((100, 0, 350, 300)), hopper)))


@case
def face_too_small(door: Door) -> list[Any]:
    return door.both(encoded(opened(door.portraits.eileen_collins).resize((150, 150))))


@case
def not_upright(door: Door) -> list[Any]:
    return door.both(encoded(playing_card(opened(door.portraits.grace_hopper), 260, 242)))


@case
def low_quality(door: Door) -> list[Any]:
    answers = door.both(encoded(opened(door.portraits.eileen_collins).point(lambda v: v // 14)))
    assert all("too dark" in answer.json()["reasons"] for answer in answers)
    return answers


def _challenged(door: Door, **changes: Any) -> Any:
    """A still photograph for every step of a challenge, changed beforehand."""
    rewrite(liveness={"turned": TURNED})
    challenge = ask(door.service, "child-1")
    Challenge.objects.update(**changes)
    return answer_challenge(
        door.service, "child-1", challenge, [door.portraits.eileen_collins] * len(challenge["steps"])
    )


@case
def challenge_failed(door: Door) -> list[Any]:
    return [_challenged(door)]


@case
def challenge_used(door: Door) -> list[Any]:
    return [_challenged(door, used_at=Now())]


@case
def challenge_expired(door: Door) -> list[Any]:
    return [_challenged(door, expires_at=Now())]


@case
def challenge_required(door: Door) -> list[Any]:
    enforced = {"challenge": "enforce"}
    door.change(LIVENESS={"verify": enforced, "enroll": enforced})
    return door.both(door.portraits.eileen_collins)


@case
def spoof_suspected(door: Door) -> list[Any]:
    rule = {"passive": {"a": 1.0, "b": 0.0, "threshold": 1e6}}
    rewrite(presentation=Artifact.objects.get(name="fr_liveness"), liveness=rule)
    runtime.refresh()
    enforced = {"passive": "enforce"}
    door.change(LIVENESS={"verify": enforced, "enroll": enforced})
    return door.both(door.portraits.eileen_collins)


@case
def throttled(door: Door) -> list[Any]:
    door.change(LIMITS={"caller": (0, 60), "subject": None})
    answers = door.both(door.portraits.eileen_collins)
    door.change(LIMITS={"caller": None, "subject": (0, 60)})
    return [*answers, *door.both(door.portraits.eileen_collins), door.service.delete("/api/v1/face/subjects/child-1")]


@case
def locked_out(door: Door) -> list[Any]:
    door.change(LOCKOUT_AFTER=1)
    assert verify(door.service, "child-1", door.portraits.grace_hopper).json()["decision"] == "no_match"
    return door.both(door.portraits.eileen_collins)


@case
def inference_failed(door: Door) -> list[Any]:
    row = Embedding.objects.earliest("pk")
    data = bytearray(row.vector)
    data[-1] ^= 1
    Embedding.objects.filter(pk=row.pk).update(vector=bytes(data))
    return door.both(door.portraits.eileen_collins)


@case
def not_ready(door: Door) -> list[Any]:
    EnsembleConfig.objects.update(state="retired")
    return [*door.both(door.portraits.eileen_collins), door.service.get("/api/v1/face/config")]


@case
def overloaded(door: Door) -> list[Any]:
    # a core of its own: the other tests' processes compute meanwhile
    door.change(SLOTS=1, SLOTS_DIR=str(door.folder), MAX_WAIT_S=0.05)
    with admission.current.renewed(), admission.admitted(admission.VERIFY):
        return door.both(door.portraits.eileen_collins)


_WAIT = ("idempotency_in_progress", "throttled", "locked_out", "not_ready", "overloaded")


def written() -> dict[str, Any]:
    """What a refusal must not have touched. A refused verify leaves a row that says so: that is not a decision."""
    return {
        "subjects": list(Subject.objects.order_by("pk").values_list("pk", "subject_id")),
        "references": list(Reference.objects.order_by("pk").values_list("pk", "chip")),
        "embeddings": list(Embedding.objects.order_by("pk").values_list("pk", "vector")),
        "decisions": list(Verification.objects.exclude(decision="").values_list("pk", flat=True)),
        "others": [model.objects.count() for model in (Erasure, Rollout, ConfigStep)],
        "states": list(EnsembleConfig.objects.order_by("version").values_list("version", "state")),
    }


def written_by_the_call(door: Door, code: str) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """The answers of a case, and what was written before the first and after the last of its calls."""
    before: list[dict[str, Any]] = []

    def first_call(*args: Any, **kwargs: Any) -> Any:
        if not before or (code == "locked_out" and len(before) < 2):  # its first call locks, and decides
            before.append(written())
        return original(*args, **kwargs)

    original = APIClient.generic
    door.monkeypatch.setattr(APIClient, "generic", first_call)
    answers = CASES[code](door)
    door.monkeypatch.undo()
    return answers, before[-1], written()


def test_every_code_has_a_case() -> None:
    assert set(CASES) == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_refusal_carries_its_code_and_writes_nothing(door: Door, code: str) -> None:
    answers, before, after = written_by_the_call(door, code)

    assert answers
    for answer in answers:
        body = answer.json()
        assert (answer.status_code, body["status"], body["code"]) == (CODES[code], CODES[code], code), body
        assert answer["Content-Type"] == "application/problem+json"
        assert answer["Cache-Control"] == "no-store"
        assert body["type"] == f"urn:ml-models:{code}"
        assert body["title"]
        assert body["detail"]
        assert code == "method_not_allowed" or code in promised(answer)
        assert (code in _WAIT) == ("Retry-After" in answer)
        assert code not in _WAIT or int(answer["Retry-After"]) >= 1
        # the words of a refusal are for whoever stands there: no path, class or query
        assert not {"Traceback", "SELECT", "ml_models_", "/"} & set(body["detail"].split())
        assert not re.findall(rb"canary|child-1", answer.content)
    assert after == before


def test_an_active_version_without_a_usable_rule_decides_nothing(door: Door) -> None:
    before = written()
    rewrite(voter_sets={"arcface_int8": {"threshold": None}})
    for answer in door.both(door.portraits.eileen_collins):
        assert (answer.status_code, answer.json()["code"]) == (500, "inference_failed")
    assert written() == before


def test_a_database_that_does_not_answer_is_not_ready(door: Door) -> None:
    def down(*_: Any) -> None:
        raise OperationalError("connection to server at 10.0.0.7 failed")

    with connection.execute_wrapper(down):
        answers = [*door.both(door.portraits.eileen_collins), APIClient().get("/readyz")]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert "10.0.0.7" not in answer.content.decode()
        assert int(answer["Retry-After"]) >= 1


def test_the_promised_codes_are_all_there() -> None:
    promised = (
        "invalid_request 400 · not_authenticated 401 · forbidden 403 · not_enrolled 404 · not_found 404 · "
        "config_changed 409 · reference_mismatch 409 · rollout_refused 409 · challenge_used 409 · duplicate_face 409 · "
        "challenge_expired 409 · challenge_failed 422 · reference_limit 409 · "
        "idempotency_conflict 422 · image_too_large 413 · "
        "undecodable_image 422 · no_face_found 422 · multiple_faces 422 · face_too_small 422 · not_upright 422 · "
        "low_quality 422 · spoof_suspected 422 · throttled 429 · locked_out 429 · inference_failed 500 · "
        "not_ready 503 · overloaded 503 · method_not_allowed 405 · length_required 411 · "
        "unsupported_media_type 415 · internal_error 500"
    )
    pairs = dict(entry.rsplit(" ", 1) for entry in promised.split(" · "))
    assert {code: str(CODES[code]) for code in pairs} == pairs
