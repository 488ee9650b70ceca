"""The same picture twice: refused with the reference that is there; what hardly differs is taken with a warning."""

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from rest_framework.test import APIClient

from ml_models.models import EnsembleConfig, Reference, Subject
from ml_models.services import repeated_pictures
from tests.conftest import Portraits
from tests.support.pictures import another, encoded, opened, with_orientation
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db


def renamed(data: bytes) -> bytes:
    """The same pixels behind another header."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", "an editor")
    return encoded(opened(data), "PNG", pnginfo=notes)


SAME: dict[str, Callable[[bytes], bytes]] = {
    "the same file": lambda data: data,
    "as PNG, with a note": renamed,
    "turned, with the tag that turns it back": lambda data: with_orientation(opened(data), 6, "PNG"),
    "lying on its side": lambda data: encoded(opened(data).transpose(Image.Transpose.ROTATE_90), "PNG"),
}


@pytest.fixture
def enrolled(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> str:
    """The reference of `child-1`."""
    answer = enroll(service, "child-1", portraits.eileen_collins)
    assert answer.status_code == 201
    return str(answer.json()["reference_id"])


@pytest.mark.parametrize("file", SAME)
def test_the_same_picture_in_any_file_is_refused_with_the_reference_that_is_there(
    service: APIClient, enrolled: str, portraits: Portraits, file: str
) -> None:
    answer = enroll(service, "child-1", SAME[file](portraits.eileen_collins))
    assert (answer.status_code, answer.json()["code"]) == (409, "duplicate_reference")
    assert answer.json()["reference_id"] == enrolled
    assert Reference.objects.count() == 1
    assert Subject.objects.get().failures == 0


def test_of_several_references_the_one_that_is_the_picture_is_named(
    service: APIClient, enrolled: str, portraits: Portraits
) -> None:
    further = another(portraits.eileen_collins, 2)
    second = enroll(service, "child-1", further).json()["reference_id"]
    assert enroll(service, "child-1", further).json()["reference_id"] == second
    assert enroll(service, "child-1", portraits.eileen_collins).json()["reference_id"] == enrolled


def test_the_right_to_override_overrides_no_duplicate(
    service: APIClient, enrolled: str, portraits: Portraits, grant: Any, django_user_model: Any
) -> None:
    grant(django_user_model.objects.get(username="kiosk"), "override_reference")
    refused = enroll(service, "child-1", portraits.eileen_collins, override="true")
    assert (refused.status_code, refused.json()["code"]) == (409, "duplicate_reference")
    # a picture that was enrolled as an exception is not a stranger's when it is sent again
    exception = enroll(service, "child-1", portraits.grace_hopper, override="true").json()["reference_id"]
    again = enroll(service, "child-1", portraits.grace_hopper).json()
    assert (again["code"], again["reference_id"]) == ("duplicate_reference", exception)
    assert Reference.objects.count() == 2


def test_another_picture_of_the_person_and_another_person_are_no_duplicates(
    service: APIClient, enrolled: str, portraits: Portraits
) -> None:
    assert enroll(service, "child-1", another(portraits.eileen_collins)).status_code == 201
    # the references of one subject say nothing of another's
    assert enroll(service, "child-2", portraits.eileen_collins).status_code == 201


def test_a_picture_whose_reference_was_erased_can_be_enrolled_again(
    service: APIClient, enrolled: str, portraits: Portraits
) -> None:
    enroll(service, "child-1", another(portraits.eileen_collins))
    assert service.delete(f"/api/v1/face/references/{enrolled}").status_code == 204
    again = enroll(service, "child-1", portraits.eileen_collins)
    assert again.status_code == 201
    assert again.json()["reference_id"] != enrolled
    assert verify(service, "child-1", portraits.eileen_collins).json()["decision"] == "match"


def test_a_picture_that_hardly_differs_is_taken_with_a_warning(
    service: APIClient, enrolled: str, portraits: Portraits
) -> None:
    picture = opened(portraits.eileen_collins)
    answer = enroll(service, "child-1", encoded(picture, quality=90))
    assert (answer.status_code, answer.json()["warnings"]) == (201, [repeated_pictures.WARNING])
    narrower = picture.resize((picture.width * 8 // 10, picture.height))  # another face, nearly
    further = enroll(service, "child-1", encoded(narrower, quality=90))
    assert (further.status_code, further.json()["warnings"]) == (201, [])
