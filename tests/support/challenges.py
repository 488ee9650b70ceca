"""Challenges asked for and answered over HTTP, with portraits turned by software."""

from typing import Any

from rest_framework.test import APIClient

from tests.support.uploads import enroll, verify

# for a version of tests: what config/ensembles has was fitted
TURNED = {"threshold": 2.0}


def ask(client: APIClient, subject_id: str, purpose: str = "verify", **more: Any) -> dict[str, Any]:
    response = client.post(
        "/api/v1/face/liveness/challenges", {"purpose": purpose, "subject_id": subject_id, **more}, format="json"
    )
    assert response.status_code == 201, response.json()
    return dict(response.json())


def steps(challenge: dict[str, Any]) -> list[str]:
    return [step["step"] for step in challenge["steps"]]


def answer(
    client: APIClient, subject_id: str, challenge: dict[str, Any], pictures: list[bytes], purpose: str = "verify"
) -> Any:
    of_the_challenge = {"challenge_id": challenge["challenge_id"], "nonce": challenge["nonce"]}
    if purpose == "verify":
        return verify(client, subject_id, *pictures, **of_the_challenge)
    return enroll(client, subject_id, *pictures, **of_the_challenge)
