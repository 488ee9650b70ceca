"""Challenges asked for and answered over HTTP, with portraits turned by software."""

from collections import Counter
from typing import Any

from rest_framework.test import APIClient

from tests.support.pictures import another
from tests.support.turned import turned
from tests.support.uploads import enroll, verify

# for a version of tests: what config/ensembles has was fitted
TURNED = {"threshold": 2.0, "same_picture": 0.98, "mirrored_picture": 0.95}


def ask(client: APIClient, subject_id: str, purpose: str = "verify", **more: Any) -> dict[str, Any]:
    response = client.post(
        "/api/v1/face/liveness/challenges", {"purpose": purpose, "subject_id": subject_id, **more}, format="json"
    )
    assert response.status_code == 201, response.json()
    return dict(response.json())


def steps(challenge: dict[str, Any]) -> list[str]:
    return [step["step"] for step in challenge["steps"]]


def shown(portrait: bytes, asked: list[str]) -> list[bytes]:
    """A picture for each step, no two alike."""
    pictures, counts = [], Counter[str]()
    for step in asked:
        counts[step] += 1
        if step == "front":
            pictures.append(another(portrait) if counts[step] == 1 else turned(portrait, 12 * (counts[step] - 1)))
        else:
            angle = 45 + 6 * (counts[step] - 1)
            pictures.append(turned(portrait, angle if step == "left" else -angle))
    return pictures


def answer(
    client: APIClient, subject_id: str, challenge: dict[str, Any], pictures: list[bytes], purpose: str = "verify"
) -> Any:
    of_the_challenge = {"challenge_id": challenge["challenge_id"], "nonce": challenge["nonce"]}
    if purpose == "verify":
        return verify(client, subject_id, *pictures, **of_the_challenge)
    return enroll(client, subject_id, *pictures, **of_the_challenge)
