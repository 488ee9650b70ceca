"""Erasing and enrolling again is no way around the right to override a mismatch."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from rest_framework.test import APIClient

from ml_models import services, signals
from ml_models.exceptions import ReferenceMismatch
from ml_models.models import EnsembleConfig, Erasure, Reference, Subject
from ml_models.services import NOBODY
from ml_models.versions import locks
from tests.conftest import Portraits
from tests.support.pictures import another
from tests.support.races import LONG_S, Parking
from tests.support.uploads import enroll

pytestmark = pytest.mark.django_db


@pytest.fixture
def enrolled(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> str:
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    return "child-1"


def erase_subject(service: APIClient) -> None:
    assert service.delete("/api/v1/face/subjects/child-1").status_code == 200


def erase_references(service: APIClient) -> None:
    for pk in Reference.objects.values_list("pk", flat=True):
        assert service.delete(f"/api/v1/face/references/{pk}").status_code == 204


WAYS = [erase_subject, erase_references]


@pytest.mark.parametrize("erase", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("whose", ["eileen_collins", "grace_hopper"])
def test_an_erased_subject_is_enrolled_again_only_by_who_may_override(
    enrolled: str,
    service: APIClient,
    portraits: Portraits,
    grant: Any,
    django_user_model: Any,
    erase: Callable[[APIClient], None],
    whose: str,
) -> None:
    picture = getattr(portraits, whose)
    enroll(service, enrolled, portraits.eileen_collins)  # two references, and both go
    erase(service)
    answer = enroll(service, enrolled, picture)
    assert (answer.status_code, answer.json()["code"]) == (409, "reference_mismatch")
    assert "override=true" in answer.json()["detail"]
    assert enroll(service, enrolled, picture, override="true").json()["code"] == "forbidden"
    assert not Reference.objects.exists()

    grant(django_user_model.objects.get(username="kiosk"), "override_reference")
    done = enroll(service, enrolled, picture, override="true")
    assert done.status_code == 201
    assert done.json()["warnings"] == ["This face was not matched to the subject's earlier references."]
    assert Reference.objects.get().overridden


@pytest.mark.parametrize("erase", WAYS, ids=lambda way: way.__name__)
def test_the_host_hears_of_it(
    enrolled: str,
    service: APIClient,
    portraits: Portraits,
    erase: Callable[[APIClient], None],
    django_capture_on_commit_callbacks: Any,
) -> None:
    erase(service)
    heard: list[tuple[Any, ...]] = []

    def hear(**facts: Any) -> None:
        heard.append((facts["subject_id"], facts["reason"], facts["reference_id"]))

    signals.reference_overridden.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        first = services.enroll(NOBODY, enrolled, portraits.grace_hopper, override=True)
        second = services.enroll(NOBODY, enrolled, portraits.eileen_collins, override=True)
        services.enroll(NOBODY, "child-2", portraits.eileen_collins, override=True)  # there was nothing to override
    signals.reference_overridden.disconnect(hear)
    assert heard == [(enrolled, "erased", first.reference.pk), (enrolled, "mismatch", second.reference.pk)]


def test_who_was_erased_long_ago_is_enrolled_like_anybody(
    enrolled: str, service: APIClient, portraits: Portraits, settings: Any
) -> None:
    erase_subject(service)
    Erasure.objects.update(at=F("at") - timedelta(days=29))
    assert enroll(service, enrolled, portraits.grace_hopper).status_code == 409
    Erasure.objects.update(at=F("at") - timedelta(days=2))
    assert enroll(service, enrolled, portraits.grace_hopper).status_code == 201
    assert not Reference.objects.get().overridden


def test_a_host_may_have_no_such_time_for_whole_subjects(
    enrolled: str, service: APIClient, portraits: Portraits, settings: Any
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "REENROL_WINDOW_DAYS": 0}
    erase_subject(service)
    assert enroll(service, enrolled, portraits.grace_hopper).status_code == 201


def test_one_of_two_references_may_go_and_the_rest_still_speaks(
    enrolled: str, service: APIClient, portraits: Portraits
) -> None:
    first = Reference.objects.get()
    enroll(service, enrolled, another(portraits.eileen_collins))
    assert service.delete(f"/api/v1/face/references/{first.pk}").status_code == 204
    assert enroll(service, enrolled, portraits.grace_hopper).json()["code"] == "reference_mismatch"
    assert enroll(service, enrolled, portraits.eileen_collins).status_code == 201


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", [True, False], ids=["a further one", "the first one"])
def test_references_erased_while_a_picture_is_processed_are_not_replaced_by_it(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any, known: bool
) -> None:
    if known:
        services.enroll(NOBODY, "child-1", portraits.eileen_collins)
    parking = Parking(monkeypatch, locks, "share_versions")
    picture = another(portraits.eileen_collins) if known else portraits.grace_hopper
    enrolling = background(services.enroll, NOBODY, "child-1", picture)
    parking.arrive()
    if not known:
        services.enroll(NOBODY, "child-1", portraits.eileen_collins)
    services.erase_reference(NOBODY, Reference.objects.get().pk)
    parking.let_go()
    with pytest.raises(ReferenceMismatch):
        enrolling.result(LONG_S)
    assert Subject.objects.get().references.count() == 0
