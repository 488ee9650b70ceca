"""Races, lost on purpose: real threads, real transactions, real locks."""

from concurrent.futures import Future
from concurrent.futures import TimeoutError as Unfinished
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

from ml_models import rollouts, runtime, selectors, services
from ml_models.engine.errors import UndecodableImage
from ml_models.exceptions import DuplicateReference, NotEnrolled, NotFound, ReferenceMismatch
from ml_models.models import Embedding, EnsembleConfig, Erasure, Reference, Subject, Verification
from ml_models.rollouts import backfill
from ml_models.services import audit, enrolment
from ml_models.services.attempts import Attempt
from ml_models.versions import locks
from tests.conftest import Portraits
from tests.support import uploads
from tests.support.pictures import another
from tests.support.races import LONG_S, Parking
from tests.support.served import ensemble, write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mirrored(served: EnsembleConfig, tmp_path: Path) -> EnsembleConfig:
    """A validated version over the same networks in other spaces: it averages with the mirror image."""
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, flip=True))))
    call_command("validate_config", "3")
    return rollouts.get_config(3)


def spaces(config: EnsembleConfig) -> set[str]:
    return {member.space for member in rollouts.get_config(config.version).members.all()}


def enroll(picture: bytes, subject_id: str = "child-1") -> Reference:
    return services.enroll(services.NOBODY, subject_id, picture).reference


def unfinished(future: Future[Any]) -> bool:
    try:
        future.result(timeout=0.5)
    except Unfinished:
        return True
    return False


def nothing_left() -> bool:
    return not (Subject.objects.exists() or Reference.objects.exists() or Embedding.objects.exists())


def test_an_enrolment_parked_across_open_gets_the_new_versions_embeddings(
    served: EnsembleConfig, mirrored: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    parking, enrolling = _enrolment_at_the_lock(portraits, monkeypatch, background)
    rollouts.open_rollout(mirrored)
    parking.let_go()

    reference = enrolling.result(LONG_S)

    assert set(reference.embeddings.values_list("space", flat=True)) == spaces(served) | spaces(mirrored)
    assert backfill.count_missing(mirrored) == 0


def test_an_enrolment_parked_across_a_cut_over_gets_every_embedding(
    served: EnsembleConfig, mirrored: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    parking, enrolling = _enrolment_at_the_lock(portraits, monkeypatch, background)
    runtime.report()
    rollouts.cut_over(rollouts.open_rollout(mirrored))
    parking.let_go()

    reference = enrolling.result(LONG_S)

    assert set(reference.embeddings.values_list("space", flat=True)) == spaces(served) | spaces(mirrored)
    assert services.verify(services.NOBODY, "child-1", [portraits.eileen_collins]).config.version == 3


def test_a_change_of_version_waits_for_an_enrolment_that_is_being_written(
    served: EnsembleConfig, mirrored: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    parking = Parking(monkeypatch, locks, "share_versions", after=True)
    enrolling = background(enroll, portraits.eileen_collins)
    parking.arrive()
    opening = background(rollouts.open_rollout, mirrored)
    assert unfinished(opening)
    parking.let_go()
    opening.result(LONG_S)
    enrolling.result(LONG_S)
    assert backfill.count_missing(mirrored) == 3  # written for the old version alone, and counted by the new one


def _enrolment_at_the_lock(portraits: Portraits, monkeypatch: Any, background: Any) -> tuple[Parking, Any]:
    """An enrolment that has its vectors and is about to write."""
    parking = Parking(monkeypatch, locks, "share_versions")
    enrolling = background(enroll, portraits.eileen_collins)
    parking.arrive()
    return parking, enrolling


def test_an_erasure_in_the_middle_of_an_enrolment_leaves_nothing(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    enroll(another(portraits.eileen_collins))
    parking, enrolling = _enrolment_at_the_lock(portraits, monkeypatch, background)
    assert services.erase_subject(services.NOBODY, "child-1") == 1
    parking.let_go()
    with pytest.raises(NotFound):
        enrolling.result(LONG_S)
    assert nothing_left()
    assert Erasure.objects.count() == 1


def test_an_erasure_of_a_subject_that_came_and_went_meanwhile_leaves_nothing(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    parking, enrolling = _enrolment_at_the_lock(portraits, monkeypatch, background)
    enroll(portraits.eileen_collins)
    services.erase_subject(services.NOBODY, "child-1")
    parking.let_go()
    with pytest.raises(NotFound):
        enrolling.result(LONG_S)
    assert nothing_left()


def test_another_subject_under_the_same_id_does_not_get_the_picture_of_the_one_that_went(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    enroll(another(portraits.eileen_collins))
    parking, enrolling = _enrolment_at_the_lock(portraits, monkeypatch, background)
    # by the host's own hand, or by a process whose new key this one does not have yet: there is no tombstone to see
    Subject.objects.all().delete()
    Subject.objects.create(subject_id="child-1")
    parking.let_go()
    with pytest.raises(NotFound):
        enrolling.result(LONG_S)
    assert not Reference.objects.exists()


def test_an_erasure_waits_for_an_enrolment_that_is_being_written_and_takes_it_along(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    enroll(portraits.eileen_collins)
    parking = Parking(monkeypatch, enrolment, "write", after=True)
    enrolling = background(enroll, another(portraits.eileen_collins))
    parking.arrive()
    erasure = background(services.erase_subject, services.NOBODY, "child-1")
    assert unfinished(erasure)
    parking.let_go()
    enrolling.result(LONG_S)
    assert erasure.result(LONG_S) == 2
    assert nothing_left()


@pytest.mark.parametrize("whole", [True, False], ids=["subject", "reference"])
def test_an_erasure_in_the_middle_of_an_embedding_task_leaves_nothing(
    served: EnsembleConfig,
    mirrored: EnsembleConfig,
    portraits: Portraits,
    monkeypatch: Any,
    background: Any,
    whole: bool,
) -> None:
    reference = enroll(portraits.eileen_collins)
    rollouts.open_rollout(mirrored)
    [chunk] = rollouts.advance()
    parking = Parking(monkeypatch, backfill, "hold")
    task = background(backfill.embed_chunk, chunk)
    parking.arrive()
    if whole:
        services.erase_subject(services.NOBODY, "child-1")
    else:
        services.erase_reference(services.NOBODY, reference.pk)
    parking.let_go()
    task.result(LONG_S)
    assert not Reference.objects.exists()
    assert not Embedding.objects.exists()
    assert backfill.count_missing(mirrored) == 0


@pytest.mark.parametrize("whole", [True, False], ids=["subject", "reference"])
def test_an_erasure_waits_for_an_embedding_task_that_is_writing(
    served: EnsembleConfig,
    mirrored: EnsembleConfig,
    portraits: Portraits,
    monkeypatch: Any,
    background: Any,
    whole: bool,
) -> None:
    reference = enroll(portraits.eileen_collins)
    rollouts.open_rollout(mirrored)
    [chunk] = rollouts.advance()
    parking = Parking(monkeypatch, backfill, "hold", after=True)
    task = background(backfill.embed_chunk, chunk)
    parking.arrive()
    erasure = (
        background(services.erase_subject, services.NOBODY, "child-1")
        if whole
        else background(services.erase_reference, services.NOBODY, reference.pk)
    )
    assert unfinished(erasure)
    parking.let_go()
    task.result(LONG_S)
    erasure.result(LONG_S)
    assert not Reference.objects.exists()
    assert not Embedding.objects.exists()


@pytest.mark.parametrize("picture", ["eileen_collins", "grace_hopper", ""], ids=["match", "no_match", "no picture"])
def test_an_erasure_in_the_middle_of_a_verify_leaves_nothing_that_says_who(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any, picture: str
) -> None:
    data = getattr(portraits, picture) if picture else b"no picture"
    enroll(portraits.eileen_collins)
    parking = Parking(monkeypatch, Attempt, "extract")
    attempt = background(services.verify, services.NOBODY, "child-1", [data])
    parking.arrive()
    services.erase_subject(services.NOBODY, "child-1")
    parking.let_go()
    with pytest.raises(NotEnrolled if picture else UndecodableImage):
        attempt.result(LONG_S)
    assert nothing_left()
    assert not Verification.objects.exclude(subject=None).exists()


def test_an_erasure_between_a_decision_and_its_audit_row_leaves_the_row_without_a_name(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any, user: Any
) -> None:
    enroll(portraits.eileen_collins)
    parking = Parking(monkeypatch, audit, "record_decision")
    attempt = background(services.verify, services.Caller(user), "child-1", [portraits.eileen_collins])
    parking.arrive()
    services.erase_subject(services.NOBODY, "child-1")
    parking.let_go()
    assert attempt.result(LONG_S).decision.decision == "match"
    assert nothing_left()
    # nor who asked: that may have been the subject
    row = Verification.objects.get()
    assert (row.subject_id, row.caller_id, row.decision) == (None, None, "match")


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        pytest.param(locks, "share_versions", False, id="about to write"),
        # it found no template, and is still to ask whether there was one that was erased
        pytest.param(selectors, "template", True, id="template read"),
    ],
)
def test_two_first_enrolments_of_one_person_at_once_both_succeed(
    served: EnsembleConfig,
    portraits: Portraits,
    monkeypatch: Any,
    background: Any,
    module: Any,
    name: str,
    after: bool,
) -> None:
    parking = Parking(monkeypatch, module, name, after=after)
    first = background(enroll, portraits.eileen_collins)
    parking.arrive()
    enroll(another(portraits.eileen_collins))
    parking.let_go()
    first.result(LONG_S)
    assert Subject.objects.get().references.count() == 2


def test_of_two_enrolments_of_one_picture_at_once_the_later_is_told_which_reference_is_there(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    parking = Parking(monkeypatch, enrolment, "write")
    first = background(enroll, portraits.eileen_collins)
    parking.arrive()
    there = enroll(portraits.eileen_collins)
    parking.let_go()
    with pytest.raises(DuplicateReference) as refused:
        first.result(LONG_S)
    assert refused.value.reference_id == there.pk
    assert list(Reference.objects.all()) == [there]


def test_of_two_first_enrolments_of_different_people_the_later_is_refused(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any
) -> None:
    parking = Parking(monkeypatch, enrolment, "write")
    first = background(enroll, portraits.eileen_collins)
    parking.arrive()
    enroll(portraits.grace_hopper)
    parking.let_go()
    with pytest.raises(ReferenceMismatch):
        first.result(LONG_S)
    assert Subject.objects.get().references.count() == 1


def test_an_enrolment_that_always_comes_second_is_told_so(
    served: EnsembleConfig, portraits: Portraits, monkeypatch: Any, background: Any, service: APIClient
) -> None:
    monkeypatch.setattr(enrolment, "MAX_TRIES", 1)
    parking = Parking(monkeypatch, enrolment, "write")
    first = background(uploads.enroll, service, "child-1", portraits.eileen_collins)
    parking.arrive()
    enroll(portraits.eileen_collins)
    parking.let_go()
    response = first.result(LONG_S)
    assert (response.status_code, response.json()["code"]) == (409, "config_changed")
    assert Reference.objects.count() == 1


def test_enrolments_side_by_side_do_not_pass_the_limit_of_references(
    served: EnsembleConfig, portraits: Portraits, settings: Any, background: Any
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_REFERENCES": 2}
    attempts = [background(enroll, another(portraits.eileen_collins, number)) for number in range(4)]
    failures = [error for error in (attempt.exception(LONG_S) for attempt in attempts) if error]
    assert Reference.objects.count() == 4 - len(failures) == 2
    assert all(getattr(error, "code", "") in ("reference_limit", "config_changed") for error in failures), failures
