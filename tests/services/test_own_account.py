"""What says who asked may say who was erased: the subject's own account goes from audit rows, a service's stays."""

import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from pytest_django import Settings
from rest_framework.test import APIClient

from ml_models import services
from ml_models.engine.errors import NoFaceFound
from ml_models.engine.types import Faces
from ml_models.models import AuditEvent, EnsembleConfig, Erasure, Subject, Verification
from ml_models.selectors import Template
from ml_models.services import Caller, audit
from tests.conftest import Portraits
from tests.support.pictures import encoded, faceless
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db


@pytest.fixture
def own(served: EnsembleConfig, user: Any, service: APIClient, portraits: Portraits) -> Any:
    """A subject whose id is the key of an account, which has verified it; so has a service."""
    subject_id = str(user.pk)
    assert enroll(service, subject_id, portraits.eileen_collins).status_code == 201
    assert verify(service, subject_id, portraits.eileen_collins).status_code == 200
    services.verify(Caller(user), subject_id, [portraits.eileen_collins])
    return user


def callers() -> list[Any]:
    return [row.caller and row.caller.username for row in Verification.objects.order_by("at")]


def test_an_erasure_takes_the_subjects_own_account_off_audit_rows_and_tombstone(own: Any) -> None:
    assert callers() == ["kiosk", "parent"]
    services.erase_subject(Caller(own), str(own.pk))
    assert callers() == ["kiosk", None]
    assert Erasure.objects.get().by is None


@pytest.mark.parametrize("in_use", [True, False])
def test_a_service_whose_key_is_the_id_by_chance_keeps_its_trail(own: Any, grant: Any, in_use: bool) -> None:
    grant(own, "verify_subject")
    type(own).objects.filter(pk=own.pk).update(is_active=in_use)
    services.erase_subject(Caller(own), str(own.pk))
    assert callers() == ["kiosk", "parent"]
    assert Erasure.objects.get().by == own


def test_an_id_that_only_reads_like_the_key_is_somebody_elses(own: Any) -> None:
    Subject.objects.create(subject_id=f"0{own.pk}")
    services.erase_subject(Caller(own), f"0{own.pk}")
    assert callers() == ["kiosk", "parent"]
    assert Erasure.objects.get().by == own


def test_a_host_says_itself_whose_account_a_subject_has(own: Any, settings: Settings, django_user_model: Any) -> None:
    kiosk = django_user_model.objects.get(username="kiosk")
    settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_ACCOUNT": f"{__name__}.the_kiosks"}
    services.erase_subject(Caller(kiosk), str(own.pk))
    assert callers() == [None, "parent"]


def the_kiosks(subject_id: str) -> Any:
    return Verification.objects.get(caller__username="kiosk").caller_id


@pytest.mark.parametrize("mapping", [None, "the_parents"])
def test_an_event_does_not_name_the_account_that_is_the_subjects_own(
    own: Any, service: APIClient, settings: Settings, portraits: Portraits, mapping: str | None
) -> None:
    subject_id = str(own.pk)
    if mapping:
        settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_ACCOUNT": f"{__name__}.{mapping}"}
        subject_id = "child-17"
        assert enroll(service, subject_id, portraits.grace_hopper).status_code == 201
    for caller in (own, None):
        with pytest.raises(NoFaceFound):
            services.verify(Caller(caller, "a key"), subject_id, [encoded(faceless())])
    events = AuditEvent.objects.filter(code="no_face_found").order_by("pk")
    assert [event.caller for event in events] == ["self", ""]
    assert events[0].credential_id.startswith("self:")


def the_parents(subject_id: str) -> Any:
    return get_user_model().objects.get(username="parent").pk


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("person", [True, False])
def test_an_attempt_that_an_erasure_overtook_does_not_say_which_person_made_it(
    served: EnsembleConfig, user: Any, grant: Any, person: bool
) -> None:
    caller = Caller(user if person else grant(user, "verify_subject"))
    gone = Template(uuid.uuid4(), (), Faces({}, []))
    audit.record_failure(caller, "child-1", served, gone, NoFaceFound("nobody"), [])
    row = Verification.objects.get()
    assert (row.subject, row.caller) == (None, None if person else user)
