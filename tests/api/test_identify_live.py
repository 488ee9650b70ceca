"""Identify with a challenge: the frames show one person, and it is who is named."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from devstack.turned import shown
from ml_models import runtime, services
from ml_models.engine import challenge as judging
from ml_models.models import CredentialCount, Identification
from ml_models.services import challenges, groups
from tests.conftest import Portraits
from tests.support.challenges import TURNED
from tests.support.served import rewrite
from tests.support.uploads import upload

pytestmark = pytest.mark.django_db

STEPS = ["front", "left", "right"]


@pytest.fixture
def door(
    people: list[str], django_user_model: Any, grant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> APIClient:
    """May identify in the group of both people, under a version that can judge turned heads."""
    offsets = [{"candidates": count, "match": 0.0, "review": -1.0} for count in (1, 2000)]
    rewrite(identification={"target_fpir": 0.001, "offsets": offsets}, liveness={"turned": TURNED})
    runtime.refresh()
    groups.put(services.NOBODY, "bus/7", people)
    monkeypatch.setattr(challenges, "draw", lambda: STEPS)
    client = APIClient()
    client.force_authenticate(grant(django_user_model.objects.create_user("door"), "identify_group"))
    return client


def identify(client: APIClient, pictures: list[bytes], group: str = "bus/7", asked_for: str = "bus/7") -> Any:
    challenge = client.post(
        "/api/v1/face/liveness/challenges", {"purpose": "identify", "group": asked_for}, format="json"
    ).json()
    body = upload("", *pictures, group=group, challenge_id=challenge["challenge_id"], nonce=challenge["nonce"])
    return client.post(
        "/api/v1/face/identify", {k: v for k, v in body.items() if k != "subject_id"}, format="multipart"
    )


def test_a_turned_head_is_named(door: APIClient, portraits: Portraits) -> None:
    body = identify(door, shown(portraits.eileen_collins, STEPS)).json()
    assert (body.get("decision"), body.get("subject_id"), body.get("live")) == ("match", "child-1", "yes"), body


def test_two_people_in_one_attempt_name_nobody(door: APIClient, portraits: Portraits) -> None:
    for position in range(3):
        pictures = shown(portraits.eileen_collins, STEPS)
        pictures[position] = shown(portraits.grace_hopper, STEPS)[position]
        response = identify(door, pictures)
        assert (response.status_code, response.json()["code"]) == (422, "challenge_failed")
        assert CredentialCount.objects.get(pk__contains="account").failures == pytest.approx(position + 1, abs=0.01)
    assert [row.code for row in Identification.objects.all()] == ["challenge_failed"] * 3


def test_every_frame_must_match_whoever_is_named(
    door: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "failures", lambda *_: ())  # as if the frames agreed among themselves
    pictures = shown(portraits.eileen_collins, STEPS)
    pictures[2] = shown(portraits.grace_hopper, STEPS)[2]
    body = identify(door, pictures).json()
    assert (body["code"], [detail["code"] for detail in body["details"]]) == ("challenge_failed", ["another_person"])


def test_a_challenge_of_another_group_is_unknown(door: APIClient, portraits: Portraits, people: list[str]) -> None:
    groups.put(services.NOBODY, "bus/8", people)
    response = identify(door, shown(portraits.eileen_collins, STEPS), asked_for="bus/8")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_challenge_may_be_asked_for_with_subjects(
    door: APIClient, portraits: Portraits, people: list[str], grant: Callable[..., Any], django_user_model: Any
) -> None:
    def searched(asked_for: dict[str, Any], among: list[str]) -> Any:
        asked = {"purpose": "identify", **asked_for}
        challenge = door.post("/api/v1/face/liveness/challenges", asked, format="json").json()
        body = upload("", *shown(portraits.eileen_collins, STEPS), challenge_id=challenge["challenge_id"])
        answer = {**body, "nonce": challenge["nonce"], "subject_id": among}
        return door.post("/api/v1/face/identify", answer, format="multipart").json()

    refused = door.post(
        "/api/v1/face/liveness/challenges", {"purpose": "identify", "subject_ids": people}, format="json"
    )
    assert refused.status_code == 403
    door.force_authenticate(grant(django_user_model.objects.get(username="door"), "identify_subject"))
    body = searched({"subject_ids": people}, people[::-1])
    assert (body["decision"], body["subject_id"], body["live"]) == ("match", "child-1", "yes")
    assert searched({"subject_ids": people}, people[:1])["code"] == "not_found"
    groups.put(services.NOBODY, people[0], people)
    assert searched({"group": people[0]}, people[:1])["code"] == "not_found"
    both = door.post(
        "/api/v1/face/liveness/challenges",
        {"purpose": "identify", "subject_ids": people, "group": "bus/7"},
        format="json",
    )
    assert (both.status_code, both.json()["code"]) == (400, "invalid_request")


def test_an_enforced_challenge_is_asked_of_identify_too(door: APIClient, portraits: Portraits, settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "LIVENESS": {"identify": {"challenge": "enforce"}}}
    body = {"image": upload("", portraits.eileen_collins)["image"], "group": "bus/7"}
    response = door.post("/api/v1/face/identify", body, format="multipart")
    assert (response.status_code, response.json()["code"]) == (422, "challenge_required")
