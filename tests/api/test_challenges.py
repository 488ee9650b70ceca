"""Challenges over HTTP: passed once, by whom they were given to, with frames of one living person."""

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models import F
from django.db.models.functions import Now
from PIL import Image
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from devstack.turned import printed, shown, turned
from ml_models.engine import decode, pipeline
from ml_models.models import Challenge, CredentialCount, EnsembleConfig, Reference, Subject, Verification
from ml_models.services import challenges, retention
from tests.conftest import Portraits
from tests.support.challenges import TURNED, answer, ask, steps
from tests.support.counted import counted
from tests.support.pictures import encoded, faceless, opened
from tests.support.served import rewrite
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db


@pytest.fixture
def child(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> str:
    """Enrolled, under a version that can judge turned heads."""
    rewrite(liveness={"turned": TURNED})
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    return "child-1"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every picture that was decoded."""
    seen: list[bytes] = []
    original = decode.read

    def noting(data: bytes, *args: Any) -> Any:
        seen.append(data)
        return original(data, *args)

    monkeypatch.setattr(pipeline, "read", noting)
    return seen


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What every challenge asks for: the least there is."""
    asked = ["front", "left", "right"]
    monkeypatch.setattr(challenges, "draw", lambda: asked)
    return asked


def codes(response: Any) -> list[tuple[str, int | None]]:
    return [(detail["code"], detail.get("frame")) for detail in response.json()["details"]]


def refused(response: Any, code: str) -> None:
    status = {"not_found": 404, "challenge_used": 409, "challenge_expired": 409}.get(code, 422)
    assert (response.status_code, response.json().get("code")) == (status, code), response.json()


def test_steps_are_three_to_five_with_every_direction_and_never_twice_in_a_row() -> None:
    drawn = [tuple(challenges.draw()) for _ in range(500)]
    assert {len(asked) for asked in drawn} == {3, 4, 5}
    assert all(set(asked) == {"front", "left", "right"} for asked in drawn)
    assert not any(first == second for asked in drawn for first, second in itertools.pairwise(asked))
    assert {asked for asked in drawn if len(asked) == 3} == {*itertools.permutations(("front", "left", "right"))}


def test_fewer_frames_allowed_are_fewer_steps(settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_FRAMES": 3}
    assert {len(challenges.draw()) for _ in range(50)} == {3}


def test_a_challenge_says_its_steps_and_when_it_ends(service: APIClient, settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "CHALLENGE_S": 33}
    first, second = ask(service, "nobody-yet", "enroll"), ask(service, "nobody-yet", "enroll")
    assert first["nonce"] != second["nonce"]
    assert len(first["nonce"]) == 22  # 128 bits in base64
    assert all(step["text"] for step in first["steps"])
    kept = Challenge.objects.get(pk=first["challenge_id"])
    assert Challenge.objects.filter(pk=kept.pk, expires_at__lte=Now() + timedelta(seconds=33)).exists()
    assert not {first["nonce"], "nobody-yet"} & {*map(str, kept.__dict__.values())}


@pytest.mark.parametrize("asked", [["right", "front", "left"], ["left", "front", "right", "front", "left"]], ids=len)
def test_a_turned_head_passes_once(
    service: APIClient,
    child: str,
    portraits: Portraits,
    decoded: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    asked: list[str],
) -> None:
    monkeypatch.setattr(challenges, "draw", lambda: asked)
    challenge = ask(service, child)
    decoded.clear()
    pictures = shown(portraits.eileen_collins, steps(challenge))
    passed = counted("ml_models_challenges_total", step="passed")
    response = answer(service, child, challenge, pictures)
    body = response.json()
    assert response.status_code == 200, body["details"]
    assert counted("ml_models_challenges_total", step="passed") == passed + 1
    assert (body["decision"], body["live"], body["live_reasons"]) == ("match", "yes", [])
    row = Verification.objects.get(pk=body["verification_id"])
    assert row.liveness == {"live": "yes", "reasons": [], "steps": steps(challenge)}
    assert row.frames == len(pictures) == len(decoded)

    refused(answer(service, child, challenge, pictures), "challenge_used")
    assert len(decoded) == len(pictures)


def test_of_another_person_it_says_no_match_and_counts(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    body = answer(service, child, ask(service, child), shown(portraits.grace_hopper, three)).json()
    assert (body["decision"], body["live"]) == ("no_match", "yes")
    assert Subject.objects.get(subject_id=child).failures == 2


def test_a_still_photograph_for_all_steps_fails_and_uses_the_challenge_up(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    steps_counted = ("issued", "answered", "passed")
    before = [counted("ml_models_challenges_total", step=step) for step in steps_counted]
    challenge = ask(service, child)
    response = answer(service, child, challenge, [portraits.eileen_collins] * 3)
    refused(response, "challenge_failed")
    after = [counted("ml_models_challenges_total", step=step) for step in steps_counted]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 0]
    assert codes(response) == [("not_turned_left", 1), ("not_turned_right", 2)]
    assert not Subject.objects.get(subject_id=child).failures
    refused(answer(service, child, challenge, shown(portraits.eileen_collins, three)), "challenge_used")


def test_a_print_that_is_turned_shows_no_turned_head(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    response = answer(service, child, ask(service, child), printed(portraits.eileen_collins, three))
    refused(response, "challenge_failed")
    assert codes(response) == [("not_turned_left", 1), ("not_turned_right", 2)]


def test_a_mirrored_camera_is_recognised(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    front, left, right = shown(portraits.eileen_collins, three)
    response = answer(service, child, ask(service, child), [front, right, left])
    refused(response, "challenge_failed")
    assert codes(response) == [("mirrored_camera", None)]


def test_a_picture_and_its_mirror_image_are_not_two_sides(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    front, left, _ = shown(portraits.eileen_collins, three)
    mirrored = encoded(opened(left).transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=90)
    response = answer(service, child, ask(service, child), [front, left, mirrored])
    refused(response, "challenge_failed")
    assert codes(response) == [("mirrored_picture", 2)]


def test_the_same_picture_for_two_steps_fails(
    service: APIClient, child: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenges, "draw", lambda: ["front", "left", "front", "right"])
    front, left, right = shown(portraits.eileen_collins, ["front", "left", "right"])
    for again in (front, encoded(opened(front), quality=60)):
        response = answer(service, child, ask(service, child), [front, left, again, right])
        assert codes(response) == [("same_picture", 2)]


def test_frames_from_another_distance_or_in_another_light_fail_and_count_for_nobody(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    front, left, right = shown(portraits.eileen_collins, three)
    nearer = encoded(opened(left).crop((95, 0, 351, 256)).resize((512, 512)))
    warmer = encoded(opened(right).convert("RGB", (1.0, 0, 0, 0, 0, 0.85, 0, 0, 0, 0, 0.5, 0)))
    for pictures, found in (
        ([front, nearer, right], [("distance_changed", 1), ("distance_changed", 2)]),
        ([front, left, warmer], [("colour_changed", 2)]),
    ):
        response = answer(service, child, ask(service, child), pictures)
        refused(response, "challenge_failed")
        assert codes(response) == found
    assert not CredentialCount.objects.filter(failures__gt=0).exists()
    assert not Subject.objects.get(subject_id=child).failures


def test_another_persons_frame_fails_in_every_position_and_counts_for_the_credential_alone(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    before = CredentialCount.objects.values_list("failures", flat=True).first() or 0.0
    for position in range(3):
        pictures = shown(portraits.eileen_collins, three)
        pictures[position] = shown(portraits.grace_hopper, three)[position]
        response = answer(service, child, ask(service, child), pictures)
        refused(response, "challenge_failed")
        assert {code for code, _ in codes(response)} == {"another_person"}
        assert not Subject.objects.get(subject_id=child).failures
        assert CredentialCount.objects.get().failures == pytest.approx(before + position + 1, abs=0.01)


def test_two_front_frames_go_by_the_versions_own_rule(
    service: APIClient, child: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(liveness={"turned": {"threshold": -1e6}})  # whoever turns the head is anybody
    asked = ["front", "left", "front", "right"]
    monkeypatch.setattr(challenges, "draw", lambda: asked)
    pictures = shown(portraits.eileen_collins, asked)
    pictures[2] = shown(portraits.grace_hopper, asked)[2]
    response = answer(service, child, ask(service, child), pictures)
    refused(response, "challenge_failed")
    assert codes(response) == [("another_person", 2)]


@pytest.mark.parametrize("purpose", ["verify", "enroll"])
def test_every_frame_must_match_the_claimed_subject_too(
    service: APIClient,
    child: str,
    portraits: Portraits,
    three: list[str],
    monkeypatch: pytest.MonkeyPatch,
    purpose: str,
) -> None:
    from ml_models.engine import challenge as judging

    # as if the frames agreed among themselves: only the comparison with the references is left
    monkeypatch.setattr(judging, "failures", lambda *_: ())
    pictures = [turned(portraits.eileen_collins, 9), *shown(portraits.eileen_collins, three)[1:]]
    pictures[1] = shown(portraits.grace_hopper, three)[1]
    response = answer(service, child, ask(service, child, purpose), pictures, purpose)
    refused(response, "challenge_failed")
    assert codes(response) == [("another_person", 1)]
    assert not Subject.objects.get(subject_id=child).failures
    assert Reference.objects.count() == 1


@pytest.mark.parametrize(("changed", "code"), [("fewer", "frames_missing"), ("faceless", "no_face_found")])
def test_every_step_needs_a_picture_with_a_face(
    service: APIClient,
    child: str,
    portraits: Portraits,
    three: list[str],
    decoded: list[bytes],
    changed: str,
    code: str,
) -> None:
    pictures = shown(portraits.eileen_collins, three)
    pictures = pictures[:2] if changed == "fewer" else [*pictures[:2], encoded(faceless())]
    challenge = ask(service, child)
    response = answer(service, child, challenge, pictures)
    refused(response, "challenge_failed")
    assert [found for found, _ in codes(response)] == [code]
    assert (len(decoded) == 0) == (changed == "fewer")
    refused(answer(service, child, challenge, pictures), "challenge_used")


def test_nobody_else_can_use_it_nor_learns_that_it_is_there(
    service: APIClient,
    child: str,
    portraits: Portraits,
    three: list[str],
    decoded: list[bytes],
    grant: Any,
    django_user_model: Any,
) -> None:
    other = grant(django_user_model.objects.create_user("other"), "verify_subject", "enroll_subject")
    stranger = APIClient(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=other).key}")
    assert enroll(service, "child-2", portraits.grace_hopper).status_code == 201
    challenge, pictures = ask(service, child), shown(portraits.eileen_collins, three)
    unknown = {**challenge, "challenge_id": "00000000-0000-4000-8000-000000000000"}
    before = len(decoded)

    answers = [
        answer(service, child, unknown, pictures),
        answer(stranger, child, challenge, pictures),
        answer(service, "child-2", challenge, pictures),
        answer(service, child, challenge, pictures, purpose="enroll"),
        answer(service, child, {**challenge, "nonce": "A" * 22}, pictures),
    ]

    for response in answers:
        refused(response, "not_found")
        assert response.json() == answers[0].json()
    assert len(decoded) == before
    assert answer(service, child, challenge, pictures).json()["decision"] == "match"


def test_another_credential_of_the_same_account_cannot_either(
    service: APIClient, child: str, portraits: Portraits, three: list[str], settings: Any, decoded: list[bytes]
) -> None:
    challenge = ask(service, child)
    settings.ML_MODELS = {**settings.ML_MODELS, "CREDENTIAL": f"{__name__}.another_key"}
    before = len(decoded)
    refused(answer(service, child, challenge, shown(portraits.eileen_collins, three)), "not_found")
    assert len(decoded) == before


def test_another_account_cannot_either_where_both_name_their_credential_alike(
    service: APIClient,
    child: str,
    portraits: Portraits,
    three: list[str],
    settings: Any,
    grant: Any,
    django_user_model: Any,
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "CREDENTIAL": f"{__name__}.another_key"}
    other = APIClient()
    other.force_authenticate(grant(django_user_model.objects.create_user("other"), "verify_subject"))
    challenge = ask(service, child)
    refused(answer(other, child, challenge, shown(portraits.eileen_collins, three)), "not_found")


def another_key(request: Any) -> str:
    return "another key"


def test_too_late_is_too_late(
    service: APIClient, child: str, portraits: Portraits, three: list[str], decoded: list[bytes]
) -> None:
    challenge, before = ask(service, child), len(decoded)
    Challenge.objects.update(expires_at=Now())
    refused(answer(service, child, challenge, shown(portraits.eileen_collins, three)), "challenge_expired")
    assert len(decoded) == before
    assert not Challenge.objects.exclude(used_at=None).exists()


def test_the_first_front_frame_of_an_enrolment_becomes_the_reference(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    challenge = ask(service, "child-2", "enroll")
    mixed = [*shown(portraits.grace_hopper, three)[:2], turned(portraits.eileen_collins, -45)]
    refused(answer(service, "child-2", challenge, mixed, "enroll"), "challenge_failed")
    assert not Subject.objects.filter(subject_id="child-2").exists()

    challenge, pictures = ask(service, "child-2", "enroll"), shown(portraits.grace_hopper, three)
    response = answer(service, "child-2", challenge, pictures, "enroll")
    assert (response.status_code, response.json().get("live")) == (201, "yes"), response.json()
    refused(answer(service, "child-2", challenge, pictures, "enroll"), "challenge_used")
    assert Reference.objects.filter(subject__subject_id="child-2").count() == 1
    assert verify(service, "child-2", portraits.grace_hopper).json()["decision"] == "match"


def test_several_pictures_enroll_only_with_a_challenge(service: APIClient, child: str, portraits: Portraits) -> None:
    response = enroll(service, "child-2", portraits.grace_hopper, portraits.grace_hopper)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    response = verify(service, child, portraits.eileen_collins, nonce="A" * 22)
    assert (response.status_code, [*response.json()["errors"]]) == (400, ["challenge_id"])


@pytest.mark.parametrize(
    "body",
    [
        {"purpose": "verify"},
        {"purpose": "verify", "group": "bus 7"},
        {"purpose": "identify", "subject_id": "child-1"},
        {"purpose": "identify"},
        {"purpose": "verify", "subject_id": "child-1", "group": "bus 7"},
        {"purpose": "release", "subject_id": "child-1"},
    ],
    ids=str,
)
def test_a_purpose_needs_its_own_claim(service: APIClient, body: dict[str, str]) -> None:
    response = service.post("/api/v1/face/liveness/challenges", body, format="json")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


def test_of_a_group_only_who_may_identify_in_it_gets_one(service: APIClient, grant: Any, user: Any) -> None:
    body = {"purpose": "identify", "group": "bus 7"}
    assert service.post("/api/v1/face/liveness/challenges", body, format="json").status_code == 403
    caller = APIClient()
    caller.force_authenticate(grant(user, "identify_group"))
    assert caller.post("/api/v1/face/liveness/challenges", body, format="json").status_code == 201


def test_a_version_without_numbers_for_turned_heads_lets_nobody_through(
    service: APIClient, child: str, portraits: Portraits, three: list[str]
) -> None:
    rewrite(liveness={})
    response = answer(service, child, ask(service, child), shown(portraits.eileen_collins, three))
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")


def test_old_challenges_are_removed_even_where_nothing_else_is(service: APIClient, settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "RETENTION_DAYS": 0}
    old, new = ask(service, "child-1"), ask(service, "child-1")
    Challenge.objects.filter(pk=old["challenge_id"]).update(at=F("at") - timedelta(hours=2))
    assert retention.remove_expired() == 1
    assert retention.remove_expired() == 0
    assert str(Challenge.objects.get().pk) == new["challenge_id"]


@pytest.mark.django_db(transaction=True)
def test_of_sixteen_requests_at_once_one_is_answered(
    service: APIClient, child: str, portraits: Portraits, three: list[str], decoded: list[bytes], settings: Any
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_WAIT_S": 3600, "CHALLENGE_S": 600}  # on a busy machine
    token = Token.objects.get(user__username="kiosk").key
    challenge, pictures, before = ask(service, child), shown(portraits.eileen_collins, three), len(decoded)

    def send(_: int) -> str:
        client = APIClient(HTTP_AUTHORIZATION=f"Token {token}")
        try:
            body = answer(client, child, challenge, pictures).json()
        finally:
            connections.close_all()
        return str(body.get("decision") or body["code"])

    with ThreadPoolExecutor(16) as pool:
        outcomes = [*pool.map(send, range(16))]
    assert Counter(outcomes) == {"challenge_used": 15, "match": 1}
    assert len(decoded) == before + 3
