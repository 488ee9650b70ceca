"""Operators and workers at the same moment: real threads, real transactions, real locks."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from ml_models import artifacts, rollouts, runtime
from ml_models.exceptions import NotReady, RolloutRefused
from ml_models.models import ConfigStep, Embedding, EnsembleConfig, Rollout, RolloutChunk, Subject
from ml_models.rollouts import backfill, leasing, transitions
from ml_models.services import audit
from ml_models.versions import locks
from tests.conftest import Portraits
from tests.support.races import LONG_S, Parking, wait_for_a_lock
from tests.support.served import ensemble, write
from tests.support.uploads import enroll
from tests.support.work import work_off

pytestmark = pytest.mark.django_db(transaction=True)


def both(background: Any, *calls: tuple[Any, ...]) -> list[Any]:
    """Do all at once; each one's result, or the refusal that it met."""
    barrier = threading.Barrier(len(calls))

    def run(function: Callable[..., Any], *args: Any) -> Any:
        barrier.wait(LONG_S)
        try:
            return function(*args)
        except RolloutRefused as refusal:
            return refusal

    return [future.result(LONG_S) for future in [background(run, *call) for call in calls]]


def refusals(outcomes: list[Any]) -> list[str]:
    return [str(outcome) for outcome in outcomes if isinstance(outcome, RolloutRefused)]


@pytest.fixture
def rivals(people: list[str], tmp_path: Path) -> tuple[EnsembleConfig, EnsembleConfig]:
    """Two validated versions."""
    for version in (3, 4):
        call_command("load_ensemble", str(write(tmp_path, ensemble(version, flip=True, name=f"number {version}"))))
        rollouts.validate(rollouts.get_config(version))
    return rollouts.get_config(3), rollouts.get_config(4)


def not_loaded(config: EnsembleConfig) -> Callable[[int], runtime.ServedVersion]:
    """`runtime.served` of a process that has all networks but the ones of this version."""
    served = runtime.served

    def lookup(pk: int) -> runtime.ServedVersion:
        if pk == config.pk:
            raise NotReady("not loaded here")
        return served(pk)

    return lookup


def test_of_two_operators_who_activate_two_versions_at_once_one_wins(
    rivals: tuple[EnsembleConfig, EnsembleConfig], background: Any
) -> None:
    outcomes = both(background, *((rollouts.open_rollout, config) for config in rivals))
    [refusal] = refusals(outcomes)
    assert "is rolling out. Wait for it, or abort it first." in refusal
    assert Rollout.objects.count() == 2  # the fixture's of version 2, and one of these
    assert EnsembleConfig.objects.filter(state="rolling_out").count() == 1


def test_activating_a_version_twice_at_once_opens_one_rollout(mirrored: EnsembleConfig, background: Any) -> None:
    def activate() -> Rollout:
        # each operator's own row: Django's reverse relations are not safe to share between threads
        return rollouts.open_rollout(rollouts.get_config(3))

    outcomes = both(background, *[(activate,)] * 3)
    assert len(refusals(outcomes)) == 2
    assert mirrored.rollouts.count() == 1
    assert ConfigStep.objects.filter(config=mirrored, to_state="rolling_out").count() == 1


def test_every_change_of_version_waits_for_the_writes_under_way(
    served: EnsembleConfig, tmp_path: Path, background: Any
) -> None:
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, target_fmr=0.002))))
    rollouts.validate(rollouts.get_config(3))
    runtime.refresh()
    runtime.report()

    def waits(change: Callable[..., Any], *about: Any) -> Any:
        before = set(EnsembleConfig.objects.values_list("version", "state", "warm_until"))
        with transaction.atomic():
            locks.share_versions()  # as an enrolment does until it commits
            changing = background(change, *about)
            wait_for_a_lock()
            assert set(EnsembleConfig.objects.values_list("version", "state", "warm_until")) == before
        result = changing.result(LONG_S)
        assert set(EnsembleConfig.objects.values_list("version", "state", "warm_until")) != before
        return result

    waits(rollouts.abort, waits(rollouts.open_rollout, rollouts.get_config(3)))
    waits(rollouts.discard, rollouts.get_config(3))
    waits(rollouts.cut_over, waits(rollouts.open_rollout, rollouts.get_config(3)))
    waits(rollouts.roll_back)
    waits(rollouts.end_warmth, rollouts.get_config(3))


def test_two_workers_who_find_everything_done_cut_over_once(mirrored: EnsembleConfig, background: Any) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    runtime.report()
    for chunk in rollouts.advance():
        backfill.embed_chunk(chunk)
    outcomes = both(background, *[(rollouts.cut_over, rollout)] * 3)
    assert refusals(outcomes) == ["The rollout is complete."] * 2
    assert ConfigStep.objects.filter(config=mirrored, to_state="active").count() == 1


def test_the_cut_over_counts_again_inside_the_lock(
    mirrored: EnsembleConfig, background: Any, monkeypatch: pytest.MonkeyPatch, service: Any, portraits: Portraits
) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    for chunk in rollouts.advance():
        backfill.embed_chunk(chunk)
    monkeypatch.setattr(runtime, "served", not_loaded(mirrored))  # a process that has not loaded it yet
    parking = Parking(monkeypatch, audit, "record")
    enrolling = background(enroll, service, "child-3", portraits.eileen_collins)
    parking.arrive()  # its reference is dated and not committed
    cutting = background(rollouts.cut_over, rollout)
    wait_for_a_lock()  # it has counted, and everything was there
    parking.let_go()
    assert enrolling.result(LONG_S).status_code == 201
    with pytest.raises(RolloutRefused, match="3 embeddings are missing"):
        cutting.result(LONG_S)
    monkeypatch.undo()
    work_off()
    assert EnsembleConfig.objects.get(state="active").version == 3


def test_a_cut_over_that_counts_or_waits_for_a_tick_holds_up_no_enrolment(
    mirrored: EnsembleConfig,
    background: Any,
    monkeypatch: pytest.MonkeyPatch,
    service: Any,
    portraits: Portraits,
    settings: Settings,
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "HEARTBEAT_S": 60}  # this process lives, however slow the machine
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    runtime.report()
    for chunk in rollouts.advance():
        backfill.embed_chunk(chunk)
    parking = Parking(monkeypatch, transitions, "count_missing")
    cutting = background(rollouts.cut_over, rollout)
    parking.arrive()
    assert background(enroll, service, "child-3", portraits.eileen_collins).result(LONG_S).status_code == 201
    with transaction.atomic():
        Rollout.objects.select_for_update().get(pk=rollout.pk)  # as a tick does, while it looks for chunks
        parking.let_go()
        wait_for_a_lock()
        assert background(enroll, service, "child-4", portraits.eileen_collins).result(LONG_S).status_code == 201
    cutting.result(LONG_S)
    assert EnsembleConfig.objects.get(state="active").version == 3


def test_inside_the_lock_a_cut_over_counts_no_whole_table(mirrored: EnsembleConfig) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    runtime.report()
    for chunk in rollouts.advance():
        backfill.embed_chunk(chunk)
    RolloutChunk.objects.create(rollout=rollout, references=[], leased_until=timezone.now())  # a frozen worker's
    with CaptureQueriesContext(connection) as queries:
        rollouts.cut_over(rollout)
    assert not RolloutChunk.objects.exists()
    asked = [query["sql"].lower() for query in queries]
    lock = next(at for at, sql in enumerate(asked) if "pg_advisory_xact_lock(" in sql)
    counts = ["count(" in sql and 'from "ml_models_reference"' in sql for sql in asked]
    assert any(counts[:lock])
    assert not any(counts[lock:])


def test_a_count_is_of_one_moment(
    mirrored: EnsembleConfig, background: Any, service: Any, portraits: Portraits
) -> None:
    """What is enrolled between two counts would hide what is missing: one statement sees one moment."""
    with CaptureQueriesContext(connection) as queries:
        assert backfill.count_missing(mirrored) == 6
    assert len([query for query in queries if "count(" in query["sql"].lower()]) == 1


def test_an_abort_in_the_middle_of_a_chunk_keeps_what_it_stores_and_stops_it(
    mirrored: EnsembleConfig, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    monkeypatch.setattr(backfill, "BATCH", 1)
    [chunk] = rollouts.advance()
    parking = Parking(monkeypatch, backfill, "embed_batch", after=True)
    worker = background(backfill.embed_chunk, chunk)
    parking.arrive()
    rollouts.abort(rollout)
    parking.let_go()
    assert worker.result(LONG_S)
    assert backfill.count_missing(mirrored) == 3
    assert not RolloutChunk.objects.exists()

    done = set(Embedding.objects.values_list("pk", flat=True))
    assert rollouts.open_rollout(rollouts.get_config(3)).pairs == 3
    work_off()
    assert done < set(Embedding.objects.values_list("pk", flat=True))
    assert Embedding.objects.count() == 12


def test_a_worker_frozen_past_its_lease_stores_nothing_twice(
    mirrored: EnsembleConfig, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts.open_rollout(mirrored)
    runtime.refresh()
    [chunk] = rollouts.advance()
    parking = Parking(monkeypatch, backfill, "missing_vectors", after=True)
    frozen = background(backfill.embed_chunk, chunk)
    parking.arrive()
    RolloutChunk.objects.update(leased_until="2000-01-01T00:00Z")
    work_off()  # another worker does the chunk, and the version goes live
    done = set(Embedding.objects.values_list("pk", flat=True))
    parking.let_go()
    assert frozen.result(LONG_S)
    assert EnsembleConfig.objects.get(state="active").version == 3
    assert set(Embedding.objects.values_list("pk", flat=True)) == done


def test_two_ticks_at_once_hand_a_reference_out_once(
    mirrored: EnsembleConfig, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "FIRST_CHUNK", 1)
    rollouts.open_rollout(mirrored)
    both(background, *[(rollouts.advance,)] * 4)
    handed_out = [pk for references in RolloutChunk.objects.values_list("references", flat=True) for pk in references]
    assert len(handed_out) == len(set(handed_out)) == 2


def test_a_draft_that_is_changed_while_it_is_validated_stays_a_draft(
    people: list[str], tmp_path: Path, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("load_ensemble", str(write(tmp_path, ensemble(3))))
    parking = Parking(monkeypatch, artifacts, "load")
    validating = background(rollouts.validate, rollouts.get_config(3))
    parking.arrive()
    changed = ensemble(3)
    changed["voter_sets"] = {}
    call_command("load_ensemble", str(write(tmp_path, changed)))
    parking.let_go()
    with pytest.raises(RolloutRefused, match="changed while it was being validated"):
        validating.result(LONG_S)
    assert EnsembleConfig.objects.get(version=3).state == "draft"


def test_somebody_enrolled_where_the_new_networks_are_not_loaded_yet_is_embedded_by_a_worker(
    mirrored: EnsembleConfig, service: Any, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts.open_rollout(mirrored)
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "served", not_loaded(mirrored))
        assert enroll(service, "child-3", portraits.eileen_collins).status_code == 201
    assert Subject.objects.get(subject_id="child-3").references.get().embeddings.count() == 3
    assert backfill.count_missing(mirrored) == 9
    runtime.refresh()
    work_off()
    assert EnsembleConfig.objects.get(state="active").version == 3
    assert Subject.objects.get(subject_id="child-3").references.get().embeddings.count() == 6


def test_two_rollbacks_at_once_go_back_one_version(mirrored: EnsembleConfig, background: Any) -> None:
    rollouts.open_rollout(mirrored)
    runtime.refresh()
    work_off()
    outcomes = both(background, *[(rollouts.roll_back, None, 3)] * 3)
    assert refusals(outcomes) == ["Version 2 is active, not 3. Look again."] * 2
    assert EnsembleConfig.objects.get(state="active").version == 2


def test_the_active_version_can_be_rolled_back_while_another_one_rolls_out(
    rivals: tuple[EnsembleConfig, EnsembleConfig],
) -> None:
    for config in rivals:
        rollout = rollouts.open_rollout(config)
        runtime.refresh()
        if config.version == 3:
            work_off()
    assert rollouts.roll_back(leaving=3).version == 2
    assert rollouts.get_rollout(rollout.pk).state == "embedding"
    work_off()
    assert EnsembleConfig.objects.get(state="active").version == 4
