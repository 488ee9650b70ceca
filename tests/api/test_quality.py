"""What a picture is like, before anybody is enrolled or compared."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from ml_models.engine.embed import Embedder
from ml_models.models import AuditEvent, EnsembleConfig, Subject, Verification
from tests.conftest import Portraits
from tests.support.pictures import encoded, faceless, opened, side_by_side
from tests.support.uploads import upload

pytestmark = pytest.mark.django_db


@pytest.fixture
def phone(user: Any) -> APIClient:
    """Any account: there is no subject to have a right over."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    return client


def ask(client: APIClient, image: bytes, **more: Any) -> Any:
    files = upload("", image)["image"]
    return client.post("/api/v1/face/quality", {"image": files, **more}, format="multipart")


def darker(data: bytes, by: float) -> bytes:
    return encoded(Image.fromarray((np.asarray(opened(data)) * by).astype(np.uint8)))


def test_a_good_picture_is_acceptable_for_both_purposes(
    served: EnsembleConfig, phone: APIClient, portraits: Portraits
) -> None:
    for purpose in ("verify", "enroll"):
        answer = ask(phone, portraits.eileen_collins, purpose=purpose)
        assert answer.status_code == 200, answer.json()
        body = answer.json()
        assert (body["acceptable"], body["config_version"]) == (True, 2)
        assert body["quality"]["reasons"] == []
        assert body["quality"]["face_px"] > 50
        assert body["quality"]["feature_norm"] is None


def test_enrolment_asks_for_more_and_says_what(served: EnsembleConfig, phone: APIClient, portraits: Portraits) -> None:
    dim = darker(portraits.eileen_collins, 0.15)
    assert ask(phone, dim).json()["acceptable"]  # verify is what it is for, where nothing is said
    body = ask(phone, dim, purpose="enroll").json()
    assert not body["acceptable"]
    (reason,) = [reason for reason in body["quality"]["details"] if reason["code"] == "too_dark"]
    assert reason["value"] == pytest.approx(body["quality"]["brightness"])
    assert reason["at_least"] > reason["value"]
    assert "too dark" in body["quality"]["reasons"]


def test_a_picture_without_one_face_is_refused_as_at_verify(
    served: EnsembleConfig, phone: APIClient, portraits: Portraits
) -> None:
    two = side_by_side(opened(portraits.eileen_collins), opened(portraits.grace_hopper))
    for image, code in (
        (encoded(faceless()), "no_face_found"),
        (encoded(two), "multiple_faces"),
        (b"no picture", "undecodable_image"),
    ):
        answer = ask(phone, image)
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_nothing_is_embedded_and_nothing_is_kept(
    served: EnsembleConfig, phone: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embed(*_: object) -> None:
        raise AssertionError("embedded")

    monkeypatch.setattr(Embedder, "embed", embed)
    assert ask(phone, portraits.eileen_collins).status_code == 200
    assert ask(phone, encoded(faceless())).status_code == 422
    for table in (AuditEvent, Verification, Subject):
        assert not table._default_manager.exists()


def test_it_is_refused_to_nobody_and_for_no_known_purpose(
    served: EnsembleConfig, phone: APIClient, portraits: Portraits
) -> None:
    assert ask(APIClient(), portraits.eileen_collins).status_code == 401
    answer = ask(phone, portraits.eileen_collins, purpose="recognise")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_without_a_version_it_is_not_ready(phone: APIClient, portraits: Portraits) -> None:
    answer = ask(phone, portraits.eileen_collins)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "Retry-After" in answer
