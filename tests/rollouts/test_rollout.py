"""Rollouts over REST and commands: chunks, leases, failures, pause, abort, approval."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from rest_framework.test import APIClient

from ml_models import rollouts, runtime, signals
from ml_models.exceptions import RolloutRefused
from ml_models.models import Artifact, Embedding, EnsembleConfig, Reference, Rollout, RolloutChunk, ServingProcess
from ml_models.rollouts import backfill, leasing
from ml_models.rollouts.progress import progress
from tests.conftest import Portraits
from tests.support.served import ensemble, write
from tests.support.uploads import enroll, verify
from tests.support.work import work_off

pytestmark = pytest.mark.django_db


def post(client: APIClient, path: str, **data: Any) -> Any:
    return client.post(f"/api/v1/face/{path}", data, format="json")


def state_of(version: int) -> str:
    return EnsembleConfig.objects.get(version=version).state


def test_an_operator_activates_watches_and_rolls_back(
    operator: APIClient, mirrored: EnsembleConfig, service: APIClient, portraits: Portraits
) -> None:
    answer = post(operator, "configs/3/activate")
    assert answer.status_code == 202
    path = f"/api/v1/face/rollouts/{answer.json()['rollout_id']}"
    before = operator.get(path).json()
    assert (before["state"], before["pairs"], before["missing"], before["percent"]) == ("embedding", 6, 6, 0)
    assert verify(service, "child-1", portraits.eileen_collins).json()["config_version"] == 2

    work_off_handed_out()

    after = operator.get(path).json()
    assert (after["state"], after["missing"], after["percent"]) == ("complete", 0, 100)
    body = verify(service, "child-1", portraits.eileen_collins).json()
    assert (body["config_version"], body["decision"]) == (3, "match")
    states = {row["version"]: row["state"] for row in operator.get("/api/v1/face/configs").json()}
    assert (states[2], states[3]) == ("retired", "active")

    assert post(operator, "configs/2/rollback").json()["code"] == "rollout_refused"
    assert post(operator, "configs/3/rollback").json() == {"version": 2, "state": "active"}
    assert verify(service, "child-1", portraits.eileen_collins).json()["config_version"] == 2


def work_off_handed_out() -> None:
    """The chunks that are handed out already, then the rest."""
    runtime.refresh()
    for chunk in RolloutChunk.objects.values_list("pk", flat=True):
        backfill.embed_chunk(chunk)
    work_off()


def test_doing_a_chunk_twice_stores_nothing_twice(mirrored: EnsembleConfig) -> None:
    rollouts.open_rollout(mirrored)
    runtime.refresh()
    [chunk] = rollouts.advance()
    handed_out = RolloutChunk.objects.get(pk=chunk)
    assert backfill.embed_chunk(chunk)
    count = Embedding.objects.count()

    assert backfill.embed_chunk(chunk)  # the message came again
    handed_out.save(force_insert=True)  # and here a frozen worker's chunk is done by two
    assert backfill.embed_chunk(chunk)
    assert Embedding.objects.count() == count == 12


def test_a_chunk_in_hand_is_not_handed_out_again_until_its_lease_expires(mirrored: EnsembleConfig) -> None:
    rollouts.open_rollout(mirrored)
    [chunk] = rollouts.advance()
    assert rollouts.advance() == []
    RolloutChunk.objects.update(leased_until=Now() - timedelta(seconds=1))
    assert rollouts.advance() == [chunk]
    assert rollouts.advance() == []


def test_more_workers_are_handed_more_chunks(
    mirrored: EnsembleConfig, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(leasing, "FIRST_CHUNK", 1)
    settings.ML_MODELS = {**settings.ML_MODELS, "CHUNKS_IN_FLIGHT": 1}
    rollouts.open_rollout(mirrored)
    assert len(rollouts.advance()) == 1
    ServingProcess.objects.create(host="w", pid=1, kind="worker", heartbeat_at=Now(), started_at=Now())
    assert len(rollouts.advance()) == 1
    assert RolloutChunk.objects.count() == 2


def test_a_vanished_chunk_is_found_again_from_the_missing_rows(mirrored: EnsembleConfig) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    rollouts.advance()
    RolloutChunk.objects.all().delete()
    work_off()
    rollout.refresh_from_db()
    assert rollout.state == "complete"


def test_pausing_hands_out_nothing_and_resuming_goes_on(operator: APIClient, mirrored: EnsembleConfig) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    [chunk] = rollouts.advance()
    assert post(operator, f"rollouts/{rollout.pk}/pause").json()["state"] == "paused"
    assert rollouts.advance() == []
    assert backfill.embed_chunk(chunk)
    assert backfill.count_missing(mirrored) == 6
    assert post(operator, f"rollouts/{rollout.pk}/pause").json()["code"] == "rollout_refused"

    assert post(operator, f"rollouts/{rollout.pk}/resume").json()["state"] == "embedding"
    work_off_handed_out()
    assert state_of(3) == "active"


def test_abort_keeps_what_is_done_and_activating_again_does_the_rest(
    operator: APIClient, mirrored: EnsembleConfig, service: APIClient, portraits: Portraits
) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    [chunk] = rollouts.advance()
    backfill.embed_chunk(chunk)
    assert post(operator, f"rollouts/{rollout.pk}/abort").json()["state"] == "aborted"
    assert (state_of(2), state_of(3)) == ("active", "validated")
    assert not RolloutChunk.objects.exists()
    enroll(service, "child-3", portraits.eileen_collins)
    done = set(Embedding.objects.values_list("pk", flat=True))

    again = rollouts.open_rollout(rollouts.get_config(3))
    assert again.pairs == 3
    # one that is over ends no other of the same version
    assert post(operator, f"rollouts/{rollout.pk}/abort").json()["code"] == "rollout_refused"
    work_off()
    assert state_of(3) == "active"
    assert done < set(Embedding.objects.values_list("pk", flat=True))


def test_a_held_rollout_waits_for_go(operator: APIClient, mirrored: EnsembleConfig) -> None:
    rollout_id = post(operator, "configs/3/activate", hold_for_approval=True).json()["rollout_id"]
    work_off_handed_out()
    assert operator.get(f"/api/v1/face/rollouts/{rollout_id}").json()["state"] == "awaiting_approval"
    assert state_of(3) == "rolling_out"
    assert post(operator, f"rollouts/{rollout_id}/go").json()["state"] == "complete"
    assert state_of(3) == "active"


def test_go_before_everything_is_embedded_is_refused(operator: APIClient, mirrored: EnsembleConfig) -> None:
    rollout = rollouts.open_rollout(mirrored)
    answer = post(operator, f"rollouts/{rollout.pk}/go")
    assert (answer.status_code, answer.json()["code"]) == (409, "rollout_refused")
    assert state_of(3) == "rolling_out"


def test_the_cut_over_waits_for_live_processes_and_not_for_dead_ones(mirrored: EnsembleConfig) -> None:
    facts = {"host": "web-1", "pid": 1, "started_at": Now()}
    dead = ServingProcess.objects.create(heartbeat_at=Now() - timedelta(minutes=5), **facts)
    live = ServingProcess.objects.create(heartbeat_at=Now(), **facts)
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    work_off()
    rollout.refresh_from_db()
    assert (rollout.state, "web-1:1" in rollout.reason) == ("embedding", True)

    ServingProcess.objects.filter(pk=live.pk).update(artifacts=[a.sha256 for a in mirrored.artifacts])
    work_off()
    assert state_of(3) == "active"
    assert not ServingProcess.objects.get(pk=dead.pk).artifacts


def test_a_reference_that_cannot_be_embedded_is_kept_with_its_code_and_stops_the_rollout_beyond_the_limit(
    mirrored: EnsembleConfig,
) -> None:
    Reference.objects.update(chip=b"damaged")
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    work_off()
    rollout.refresh_from_db()
    assert (rollout.state, state_of(2), state_of(3)) == ("failed", "active", "validated")
    assert "decryption_failed: 2" in rollout.reason


def test_a_rollout_may_leave_behind_what_the_limit_allows_and_who_was_left_enrols_again(
    mirrored: EnsembleConfig,
    settings: Any,
    service: APIClient,
    portraits: Portraits,
    grant: Any,
    django_user_model: Any,
) -> None:
    allowing, none = ({**settings.ML_MODELS, "FAILURES_ALLOWED": share} for share in (0.5, 0))
    settings.ML_MODELS = allowing
    Reference.objects.filter(subject__subject_id="child-1").update(chip=b"damaged")
    rollout = rollouts.open_rollout(mirrored, hold_for_approval=True)
    runtime.refresh()
    work_off()
    settings.ML_MODELS = none
    with pytest.raises(RolloutRefused, match="1 references could not be embedded; 0 are allowed"):
        rollouts.cut_over(rollouts.get_rollout(rollout.pk))
    settings.ML_MODELS = allowing
    rollouts.cut_over(rollouts.get_rollout(rollout.pk))
    assert state_of(3) == "active"
    assert progress(rollouts.get_rollout(rollout.pk)).failures == {"decryption_failed": 1}

    left = verify(service, "child-1", portraits.eileen_collins)
    assert (left.status_code, left.json()["code"]) == (404, "not_enrolled")
    assert "Enroll it again" in left.json()["detail"]
    refused = enroll(service, "child-1", portraits.eileen_collins)
    assert (refused.status_code, refused.json()["code"]) == (409, "reference_mismatch")
    assert Reference.objects.filter(subject__subject_id="child-1").count() == 1

    grant(django_user_model.objects.get(username="kiosk"), "override_reference")
    again = enroll(service, "child-1", portraits.eileen_collins, override="true")
    assert (again.status_code, len(again.json()["warnings"])) == (201, 1)
    assert verify(service, "child-1", portraits.eileen_collins).json()["decision"] == "match"


def test_a_reference_that_is_only_not_embedded_yet_is_worth_another_try(
    people: list[str], service: APIClient, portraits: Portraits
) -> None:
    Embedding.objects.filter(reference__subject__subject_id="child-1").delete()
    answer = verify(service, "child-1", portraits.eileen_collins)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


def test_a_network_that_is_not_what_it_should_be_stops_the_rollout_with_its_reason(
    mirrored: EnsembleConfig, service: APIClient, portraits: Portraits
) -> None:
    rollout = rollouts.open_rollout(mirrored)
    Artifact.objects.filter(name="sface_2021dec").update(golden_min_cosine=1.5)
    with runtime.current.renewed():
        runtime.refresh()
        assert rollouts.advance() == []
    rollout.refresh_from_db()
    assert (rollout.state, state_of(2), state_of(3)) == ("failed", "active", "validated")
    assert "sface_2021dec cannot be used: golden_mismatch" in rollout.reason


def test_validation_over_REST_gives_every_reason(operator: APIClient, people: list[str], tmp_path: Path) -> None:
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, voter_sets={}))))
    Artifact.objects.filter(name="sface_2021dec").update(golden_min_cosine=1.5)
    answer = post(operator, "configs/3/validate")
    assert (answer.status_code, answer.json()["code"]) == (409, "rollout_refused")
    assert [reason.split(" ")[0] for reason in answer.json()["reasons"]] == ["No", "sface_2021dec"]
    assert post(operator, "configs/99/validate").json()["code"] == "not_found"


def test_the_command_steers_too(mirrored: EnsembleConfig, capsys: Any) -> None:
    rollouts.open_rollout(mirrored)
    for action, state in (("pause", "paused"), ("resume", "embedding"), ("abort", "aborted")):
        call_command("rollout", action, "--json")
        assert json.loads(capsys.readouterr().out)["state"] == state
    with pytest.raises(CommandError, match="rollout_refused"):
        call_command("rollout", "go")
    call_command("rollout", "status")
    assert "aborted" in capsys.readouterr().out


def test_the_host_is_told_when_a_rollout_is_over(
    mirrored: EnsembleConfig, django_capture_on_commit_callbacks: Any
) -> None:
    outcomes: list[dict[str, Any]] = []

    def listen(**facts: Any) -> None:
        outcomes.append({key: facts[key] for key in ("version", "state")})

    signals.rollout_finished.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            rollouts.open_rollout(mirrored)
            runtime.refresh()
            work_off()
    finally:
        signals.rollout_finished.disconnect(listen)
    assert outcomes == [{"version": 3, "state": "complete"}]


def test_purging_deletes_what_no_version_needs_and_nothing_warm(mirrored: EnsembleConfig, capsys: Any) -> None:
    rollouts.open_rollout(mirrored)
    runtime.refresh()
    work_off()
    call_command("purge_retired")
    assert "0 of 0" in capsys.readouterr().out

    EnsembleConfig.objects.filter(version=2).update(warm_until=Now() - timedelta(seconds=1))
    call_command("purge_retired", "--json")
    assert json.loads(capsys.readouterr().out) == {"embeddings": 6, "deleted": 6}
    assert set(Embedding.objects.values_list("space", flat=True)) == backfill.spaces_of(mirrored)
    assert Rollout.objects.filter(state=Rollout.State.COMPLETE).exists()
