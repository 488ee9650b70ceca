"""What the policy asks of an attempt, and what is answered and counted where it is not met."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from PIL import Image
from rest_framework.test import APIClient

from devstack.turned import shown
from ml_models import conf, runtime
from ml_models.engine.align import TEMPLATE
from ml_models.engine.errors import InferenceFailed
from ml_models.engine.presentation import PresentationDetector
from ml_models.engine.quality import VERIFY_LIMITS, QualityLimits, measure
from ml_models.engine.types import DetectedFace
from ml_models.models import (
    Artifact,
    AuditEvent,
    CredentialCount,
    EnsembleConfig,
    PlacedArtifact,
    Reference,
    Subject,
    Verification,
)
from ml_models.services import NOBODY, challenges, liveness
from tests.conftest import Portraits
from tests.support.challenges import TURNED, answer, ask, steps
from tests.support.pictures import encoded, opened
from tests.support.served import publish_presentation, rewrite
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db


@pytest.fixture
def ask_for(settings: Any) -> Callable[..., None]:
    """Set the policy of both purposes: ask_for(challenge="enforce")."""

    def change(**parts: str) -> None:
        settings.ML_MODELS = {**settings.ML_MODELS, "LIVENESS": {"verify": parts, "enroll": parts}}

    return change


@pytest.fixture
def looking(served: EnsembleConfig) -> Callable[..., None]:
    """Give the version an attack detector whose threshold makes everybody a person, or nobody; or another one, too."""

    def change(threshold: float, another: Artifact | None = None) -> None:
        rule = {"turned": TURNED, "passive": {"a": 1.0, "b": 0.0, "threshold": threshold}}
        one = Artifact.objects.get(name="fr_liveness")
        rewrite(presentation=None if another else one, liveness=rule)
        for artifact in (one, another) if another else ():
            PlacedArtifact.objects.bulk_create([PlacedArtifact(config=served, place="presentation", artifact=artifact)])
        runtime.refresh()

    return change


@pytest.fixture
def child(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> str:
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    return "child-1"


def told(response: Any) -> tuple[str | None, list[str]]:
    body = response.json()
    assert response.status_code in (200, 201), body
    return body.get("live"), [reason["code"] for reason in body.get("live_reasons", [])]


def test_where_nobody_looks_nothing_is_said(
    service: APIClient, child: str, portraits: Portraits, looking: Callable[..., None]
) -> None:
    looking(-1e6)
    response = verify(service, child, portraits.eileen_collins)
    assert told(response) == (None, [])
    assert "live_score" not in response.json()
    row = Verification.objects.get()
    assert row.liveness == {}
    assert "presentation" not in row.timings_ms  # nor does the network run


def test_monitoring_tells_and_refuses_nobody(
    service: APIClient,
    child: str,
    portraits: Portraits,
    ask_for: Callable[..., None],
    looking: Callable[..., None],
) -> None:
    ask_for(challenge="monitor", passive="monitor")
    assert told(verify(service, child, portraits.eileen_collins)) == ("uncertain", ["no_challenge", "not_measured"])
    ask_for(passive="monitor")
    looking(-1e6)
    response = verify(service, child, portraits.eileen_collins)
    assert told(response) == ("yes", [])
    row = Verification.objects.get(pk=response.json()["verification_id"])
    assert row.liveness["score"] == response.json()["live_score"]
    assert row.timings_ms["presentation"] > 0
    looking(1e6)
    assert told(verify(service, child, portraits.eileen_collins)) == ("no", ["looks_like_a_picture"])
    assert told(enroll(service, "child-2", portraits.grace_hopper)) == ("no", ["looks_like_a_picture"])
    small = opened(portraits.eileen_collins).resize((250, 250))
    assert told(verify(service, child, encoded(small))) == ("uncertain", ["too_small_to_tell"])
    assert CredentialCount.objects.get().failures == 0


def test_scores_of_attacks_are_for_who_may_see_scores(
    service: APIClient,
    child: str,
    portraits: Portraits,
    ask_for: Callable[..., None],
    looking: Callable[..., None],
    grant: Any,
    user: Any,
) -> None:
    ask_for(passive="monitor")
    looking(1e6)
    caller = APIClient()
    caller.force_authenticate(grant(user, "verify_subject"))
    body = verify(caller, child, portraits.eileen_collins).json()
    assert body["live"] == "no"
    assert "live_score" not in body
    assert set(body["live_reasons"][0]) == {"code", "text"}


def test_an_enforced_look_refuses_before_anybody_is_compared_and_counts_for_the_credential_alone(
    service: APIClient,
    child: str,
    portraits: Portraits,
    ask_for: Callable[..., None],
    looking: Callable[..., None],
) -> None:
    ask_for(passive="enforce")
    looking(1e6)
    for number, picture in enumerate((portraits.eileen_collins, portraits.grace_hopper), 1):
        response = verify(service, child, picture)
        body = response.json()
        assert (response.status_code, body["code"]) == (422, "spoof_suspected")
        assert [detail["code"] for detail in body["details"]] == ["looks_like_a_picture"]
        # whose face it is makes no difference
        assert body["detail"].startswith("Hold the camera to the face itself")
        assert CredentialCount.objects.get().failures == pytest.approx(number, abs=0.01)
    assert enroll(service, "child-2", portraits.grace_hopper).json()["code"] == "spoof_suspected"
    assert not Subject.objects.filter(subject_id="child-2").exists()
    subject = Subject.objects.get(subject_id=child)
    assert (subject.failures, subject.locked_until) == (0, None)
    rows = Verification.objects.all()
    assert {row.code for row in rows} == {"spoof_suspected"}
    assert AuditEvent.objects.filter(code="spoof_suspected").count() == 3

    small = encoded(opened(portraits.eileen_collins).resize((250, 250)))
    # somebody's own face beside it does not cover for it: the frames are compared together
    for frames in ([small], [small, portraits.grace_hopper]):
        looking(-1e6)
        body = verify(service, child, *frames).json()
        assert (body["code"], body["details"][0]["code"]) == ("spoof_suspected", "too_small_to_tell")
    assert CredentialCount.objects.get().failures == pytest.approx(3, abs=0.01)

    assert told(verify(service, child, portraits.eileen_collins)) == ("yes", [])


def test_a_credential_that_shows_pictures_again_and_again_is_slowed(
    service: APIClient,
    child: str,
    portraits: Portraits,
    ask_for: Callable[..., None],
    looking: Callable[..., None],
) -> None:
    ask_for(passive="enforce")
    looking(1e6)
    assert verify(service, child, portraits.eileen_collins).json()["code"] == "spoof_suspected"
    CredentialCount.objects.update(visits=14, failures=14)
    codes = [verify(service, child, portraits.eileen_collins).json()["code"] for _ in range(2)]
    assert codes == ["spoof_suspected", "throttled"]
    assert Subject.objects.get(subject_id=child).locked_until is None


def test_what_is_enforced_and_cannot_be_looked_at_fails_closed(
    service: APIClient,
    child: str,
    portraits: Portraits,
    ask_for: Callable[..., None],
    looking: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> Any:
        raise InferenceFailed("broken")

    ask_for(passive="enforce")
    response = verify(service, child, portraits.eileen_collins)
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    looking(-1e6)
    monkeypatch.setattr(PresentationDetector, "examine", broken)
    for response in (verify(service, child, portraits.eileen_collins), enroll(service, "x", portraits.grace_hopper)):
        assert (response.status_code, response.json()["code"]) == (500, "inference_failed")
    ask_for(passive="monitor")
    assert told(verify(service, child, portraits.eileen_collins)) == ("uncertain", ["not_measured"])


def test_what_one_of_several_networks_cannot_look_at_the_others_do_not_decide(
    service: APIClient,
    child: str,
    portraits: Portraits,
    ask_for: Callable[..., None],
    looking: Callable[..., None],
    tmp_path: Path,
) -> None:
    looking(-1e6, publish_presentation(tmp_path, "blind_in_the_dark", dark=0.5))
    head = opened(portraits.eileen_collins).crop((140, 20, 310, 220))
    room = Image.new("RGB", (800, 800))
    room.paste(head, (300, 300))
    in_the_dark = encoded(room)
    ask_for(passive="enforce")
    assert told(verify(service, child, portraits.eileen_collins)) == ("yes", [])
    for frames in ([in_the_dark], [portraits.eileen_collins, in_the_dark]):
        response = verify(service, child, *frames)
        assert (response.status_code, response.json()["code"]) == (500, "inference_failed")
    ask_for(passive="monitor")
    response = verify(service, child, portraits.eileen_collins, in_the_dark)
    assert (told(response), response.json()["decision"]) == (("uncertain", ["not_measured"]), "match")


def test_a_mode_that_there_is_not_enforces_and_is_an_error_of_the_settings(
    service: APIClient, child: str, portraits: Portraits, ask_for: Callable[..., None]
) -> None:
    call_command("check")
    ask_for(challenge="enforced")
    assert conf.liveness("verify") == {"challenge": "enforce", "passive": "off"}
    assert verify(service, child, portraits.eileen_collins).json()["code"] == "challenge_required"
    with pytest.raises(SystemCheckError, match="E013"):
        call_command("check")


@pytest.mark.parametrize("asked", [{"verfy": {}}, {"verify": "enforce"}, {"verify": {"passiv": "off"}}, ["verify"]])
def test_a_policy_with_other_names_is_an_error_of_the_settings(settings: Any, asked: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "LIVENESS": asked}
    with pytest.raises(SystemCheckError, match="E013"):
        call_command("check")


def test_a_frame_of_a_challenge_shows_a_face_that_the_detector_is_sure_of() -> None:
    def covered(score: float, limits: QualityLimits) -> bool:
        face = DetectedFace((0.0, 0.0, 100.0, 120.0), TEMPLATE, score)
        quality = measure(np.zeros((112, 112, 3), np.uint8), face, liveness.challenge_limits(limits))
        return "covered" in {reason.code for reason in quality.details}

    assert [covered(score, VERIFY_LIMITS) for score in (0.79, 0.8)] == [True, False]
    stricter = replace(VERIFY_LIMITS, min_detector_score=0.9)
    assert [covered(score, stricter) for score in (0.89, 0.9)] == [True, False]


def test_who_cannot_turn_the_head_is_asked_for_no_turn_and_somebody_looks(
    service: APIClient,
    child: str,
    portraits: Portraits,
    ask_for: Callable[..., None],
    looking: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looking(-1e6)
    monkeypatch.setattr(challenges, "draw", lambda: ["front", "left", "right"])
    ask_for(challenge="enforce")
    subject = Subject.objects.get(subject_id=child)
    assert challenges.exempt(NOBODY, subject.pk, cannot_turn=True)
    assert not challenges.exempt(NOBODY, subject.pk, cannot_turn=True)
    challenge = ask(service, child)
    assert steps(challenge) == ["front"]
    response = answer(service, child, challenge, [portraits.eileen_collins])
    assert told(response) == ("uncertain", ["attended"])
    assert response.json()["decision"] == "review"
    assert Verification.objects.get(pk=response.json()["verification_id"]).decision == "review"
    # a visit that went well, though somebody has to look
    assert Subject.objects.get(subject_id=child).failures == 0

    assert challenges.exempt(NOBODY, subject.pk, cannot_turn=False)
    noted = AuditEvent.objects.filter(kind="exempt").order_by("pk")
    assert [event.facts for event in noted] == [{"cannot_turn": True}, {"cannot_turn": False}]
    assert subject.subject_id not in {event.subject for event in noted}
    challenge = ask(service, child)
    response = answer(service, child, challenge, shown(portraits.eileen_collins, steps(challenge)))
    assert (response.json()["decision"], told(response)) == ("match", ("yes", []))
    assert Reference.objects.count() == 1
