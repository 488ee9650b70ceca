"""What is missing after a version's rollout, or while it waits: no enrolment is refused, and workers embed it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from rest_framework.test import APIClient

from ml_models import rollouts, runtime
from ml_models.engine.errors import InferenceFailed
from ml_models.exceptions import NotReady, RolloutRefused
from ml_models.models import ConfigStep, Embedding, EnsembleConfig, Reference, RolloutChunk, RolloutFailure
from ml_models.rollouts import backfill, leasing
from tests.conftest import Portraits
from tests.support.pictures import another
from tests.support.uploads import enroll, verify
from tests.support.work import work_off

pytestmark = pytest.mark.django_db


@pytest.fixture
def warm(mirrored: EnsembleConfig) -> EnsembleConfig:
    """Version 3 is active; version 2, of other spaces, is warm."""
    rollouts.open_rollout(mirrored)
    runtime.refresh()
    work_off()
    return rollouts.get_config(2)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this process one that has not loaded a version; gives back what loads it."""
    served = runtime.served

    def forget(config: EnsembleConfig) -> Any:
        def lookup(pk: int) -> runtime.ServedVersion:
            if pk == config.pk:
                raise NotReady("not loaded here")
            return served(pk)

        monkeypatch.setattr(runtime, "served", lookup)
        return lambda: monkeypatch.setattr(runtime, "served", served)

    return forget


def spaces(subject_id: str) -> int:
    return Embedding.objects.filter(reference__subject__subject_id=subject_id).count()


def test_an_enrolment_is_not_refused_for_a_warm_versions_missing_network_and_workers_embed_it(
    warm: EnsembleConfig, without: Any, service: APIClient, portraits: Portraits
) -> None:
    without(warm)
    assert enroll(service, "child-3", portraits.eileen_collins).status_code == 201
    assert (spaces("child-3"), backfill.count_missing(warm)) == (3, 3)

    work_off()
    assert (spaces("child-3"), backfill.count_missing(warm)) == (6, 0)
    assert not RolloutChunk.objects.exists()
    assert rollouts.advance() == []  # and once more does nothing


@pytest.mark.parametrize("failure", [NotReady("let go"), InferenceFailed("broke")])
def test_nor_for_one_that_fails_in_the_middle_of_it_while_the_active_versions_failure_refuses(
    warm: EnsembleConfig,
    service: APIClient,
    portraits: Portraits,
    monkeypatch: pytest.MonkeyPatch,
    failure: NotReady | InferenceFailed,
) -> None:
    def broken(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr("ml_models.services.enrolment.embed_chip", broken)
        assert enroll(service, "child-3", portraits.eileen_collins).status_code == 201
    assert (spaces("child-3"), backfill.count_missing(warm)) == (3, 3)
    work_off()
    assert backfill.count_missing(warm) == 0

    with monkeypatch.context() as patch:
        patch.setattr(runtime, "active", broken)
        assert enroll(service, "child-4", portraits.eileen_collins).json()["code"] == failure.code


def test_a_rollback_says_whom_it_cannot_verify_yet_and_they_are_embedded(
    warm: EnsembleConfig, without: Any, service: APIClient, portraits: Portraits, capsys: Any
) -> None:
    load = without(warm)
    further = another(portraits.eileen_collins)
    for subject_id, picture in (("child-3", portraits.eileen_collins), ("child-3", further)):
        enroll(service, subject_id, picture)
    enroll(service, "child-1", further)  # who has another reference that is embedded
    load()
    assert backfill.count_missing(warm) == 9
    call_command("rollback_config", "--json")
    assert json.loads(capsys.readouterr().out) == {"version": 2, "state": "active", "not_ready": 1}
    assert verify(service, "child-1", portraits.eileen_collins).json()["decision"] == "match"
    assert verify(service, "child-3", portraits.eileen_collins).json()["code"] == "not_ready"
    work_off()
    assert rollouts.people_without_template(warm) == 0
    assert verify(service, "child-3", portraits.eileen_collins).json()["decision"] == "match"


def test_a_version_that_was_reactivated_aborted_and_discarded_is_not_warm(
    warm: EnsembleConfig, service: APIClient, portraits: Portraits
) -> None:
    rollouts.abort(rollouts.open_rollout(warm))
    enroll(service, "child-3", portraits.eileen_collins)  # nobody embeds for version 2 now
    rollouts.discard(rollouts.get_config(2))
    with pytest.raises(RolloutRefused, match="No earlier version is warm"):
        rollouts.roll_back()
    assert verify(service, "child-3", portraits.eileen_collins).json()["decision"] == "match"


def test_what_is_owed_is_swept_for_a_part_of_all_references_a_tick(
    warm: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "SWEEP", 1)
    last = Reference.objects.latest("pk")
    Embedding.objects.filter(reference=last, space__in=backfill.spaces_of(warm)).delete()
    handed_out = [rollouts.advance() for _ in range(3)]
    assert sum(bool(chunks) for chunks in handed_out) == 1
    assert RolloutChunk.objects.get().references == [last.pk]


def test_a_reference_that_cannot_be_embedded_is_owed_no_more_and_stops_nobody_else(warm: EnsembleConfig) -> None:
    Embedding.objects.filter(space__in=backfill.spaces_of(warm)).delete()
    Reference.objects.filter(subject__subject_id="child-1").update(chip=b"damaged")
    work_off()
    assert [f.reference.subject.subject_id for f in RolloutFailure.objects.all()] == ["child-1"]
    assert backfill.count_missing(warm) == 3
    assert rollouts.advance() == []


def test_a_chunk_that_kills_workers_is_given_up_and_the_others_are_embedded(
    warm: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "FIRST_CHUNK", 1)
    warm.rollouts.update(seconds_per_reference=None)
    Embedding.objects.filter(space__in=backfill.spaces_of(warm)).delete()
    rollouts.advance()
    deadly = RolloutChunk.objects.earliest("pk")
    RolloutChunk.objects.filter(pk=deadly.pk).update(attempts=leasing.MAX_ATTEMPTS)
    RolloutChunk.objects.update(leased_until=Now() - timedelta(seconds=1))
    work_off()
    assert [(f.reference_id, f.code) for f in RolloutFailure.objects.all()] == [(deadly.references[0], "worker_lost")]
    assert backfill.count_missing(warm) == 3


def test_after_its_warmth_was_ended_a_version_is_owed_nothing_and_can_be_purged(
    warm: EnsembleConfig, service: APIClient, portraits: Portraits, capsys: Any
) -> None:
    call_command("end_warmth", "2", "--json")
    assert json.loads(capsys.readouterr().out) == {"version": 2, "warm": False}
    step = ConfigStep.objects.filter(config=warm).latest("pk")
    assert (step.from_state, step.to_state, step.reason) == ("retired", "retired", "warmth ended early")
    for version in ("2", "3"):
        with pytest.raises(CommandError, match=f"Version {version} is not warm"):
            call_command("end_warmth", version)
    with pytest.raises(RolloutRefused, match="No earlier version is warm"):
        rollouts.roll_back()
    assert enroll(service, "child-3", portraits.eileen_collins).status_code == 201
    assert spaces("child-3") == 3
    assert rollouts.advance() == []
    call_command("purge_retired", "--json")
    assert json.loads(capsys.readouterr().out) == {"embeddings": 6, "deleted": 6}


def test_a_chunk_that_is_owed_fetches_nothing_while_an_open_rollouts_does(
    warm: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[bool] = []
    Embedding.objects.filter(space__in=backfill.spaces_of(warm)).delete()
    [owed] = rollouts.advance()
    with runtime.current.renewed():
        monkeypatch.setattr(runtime, "refresh", lambda: fetched.append(True))
        for expected in ([], [True]):
            with pytest.raises(NotReady):
                backfill.embed_chunk(owed)
            assert fetched == expected
            warm.rollouts.update(state="embedding")


def test_chunks_of_a_version_whose_warmth_ended_are_left_alone(warm: EnsembleConfig) -> None:
    Embedding.objects.filter(space__in=backfill.spaces_of(warm)).delete()
    [chunk] = rollouts.advance()
    assert [rollouts.advance() for _ in range(3)] == [[]] * 3  # it is in a worker's hands
    rollouts.end_warmth(warm)
    assert backfill.embed_chunk(chunk)
    assert backfill.count_missing(warm) == 6
    rollouts.advance()
    assert not RolloutChunk.objects.exists()


def test_what_goes_missing_while_a_rollout_waits_for_go_is_embedded_and_told(
    mirrored: EnsembleConfig, without: Any, operator: APIClient, service: APIClient, portraits: Portraits
) -> None:
    rollout = rollouts.open_rollout(mirrored, hold_for_approval=True)
    runtime.refresh()
    work_off()
    path = f"/api/v1/face/rollouts/{rollout.pk}"
    assert operator.get(path).json()["reason"] == "Everything is embedded; waiting for an operator's Go."
    load = without(mirrored)  # a process restarted, and enrols before it has loaded the version
    enroll(service, "child-3", portraits.eileen_collins)
    load()

    refused = operator.post(f"{path}/go").json()
    assert (refused["code"], refused["detail"][:24]) == ("rollout_refused", "3 embeddings are missing")
    waits = operator.get(path).json()
    assert (waits["state"], waits["missing"], waits["reason"][:24]) == ("awaiting_approval", 3, refused["detail"][:24])

    work_off()
    outcome = operator.get(path).json()
    assert (outcome["missing"], outcome["reason"]) == (0, "Everything is embedded; waiting for an operator's Go.")
    assert operator.post(f"{path}/go").json()["state"] == "complete"


def test_a_paused_rollout_stays_paused_and_says_what_is_missing(
    mirrored: EnsembleConfig, operator: APIClient, capsys: Any
) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    rollouts.pause(rollout)
    work_off()
    outcome = operator.get(f"/api/v1/face/rollouts/{rollout.pk}").json()
    assert (outcome["state"], outcome["missing"]) == ("paused", 6)
    assert outcome["reason"] == "Paused by an operator. 6 embeddings are missing; none is made until somebody resumes."
    call_command("rollout", "status")
    assert outcome["reason"] in capsys.readouterr().out
    rollouts.resume(rollout)
    work_off()
    assert EnsembleConfig.objects.get(state="active").version == 3
