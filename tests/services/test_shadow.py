"""Live verifies in the shadow of a version on its way."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

from ml_models import rollouts, runtime, services
from ml_models.engine.errors import InferenceFailed
from ml_models.engine.pipeline import Pipeline
from ml_models.models import EnsembleConfig, Rollout, ShadowScore, Verification
from ml_models.rollouts import backfill
from ml_models.services import admission, shadow
from tests.conftest import Portraits
from tests.support.pictures import encoded, faceless
from tests.support.races import LONG_S, Parking
from tests.support.uploads import verify
from tests.support.work import work_off

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def always(settings: Any) -> Iterator[None]:
    """Every live verify is sampled, in a process whose shadow is fresh."""
    settings.ML_MODELS = {**settings.ML_MODELS, "SHADOW_SHARE": 1.0}
    with shadow.current.renewed():
        yield


@pytest.fixture
def awaiting(mirrored: EnsembleConfig, always: None) -> Rollout:
    """Everything embedded for version 3, which waits for an operator's Go."""
    rollout = rollouts.open_rollout(mirrored, hold_for_approval=True)
    runtime.refresh()
    work_off()
    return rollouts.get_rollout(rollout.pk)


def scored(count: int) -> list[ShadowScore]:
    """The rows, once so many are there."""
    until = time.monotonic() + LONG_S
    while ShadowScore.objects.count() < count:
        assert time.monotonic() < until
        time.sleep(0.02)
    return list(ShadowScore.objects.select_related("verification").order_by("at"))


def idle() -> None:
    """Until nothing waits and nothing is being scored."""
    until = time.monotonic() + LONG_S
    while shadow.current().bytes:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_live_verify_gets_the_score_that_the_new_version_will_give(
    awaiting: Rollout, operator: APIClient, service: APIClient, portraits: Portraits, capsys: Any
) -> None:
    assert awaiting.state == "awaiting_approval"
    live = [
        verify(service, "child-1", portraits.eileen_collins).json(),
        verify(service, "child-1", portraits.grace_hopper).json(),
    ]
    assert [body["config_version"] for body in live] == [2, 2]
    rows = {str(row.verification_id): row for row in scored(2)}

    summary = operator.get(f"/api/v1/face/rollouts/{awaiting.pk}").json()["shadow"]
    assert (summary["scored"], summary["agreement"], summary["changes"]) == (2, 1.0, {})
    call_command("rollout", "status", "--json")
    assert json.loads(capsys.readouterr().out)["shadow"] == summary
    call_command("rollout", "status")
    assert "shadow: 2 live verifies, 100.0% decided alike" in capsys.readouterr().out

    assert operator.post(f"/api/v1/face/rollouts/{awaiting.pk}/go").json()["state"] == "complete"
    for body, picture in zip(live, (portraits.eileen_collins, portraits.grace_hopper), strict=True):
        now = services.verify(services.NOBODY, "child-1", [picture])
        assert now.config.version == 3
        row = rows[body["verification_id"]]
        assert (row.decision, row.code) == (now.decision.decision, "")
        assert row.score == pytest.approx(now.decision.score, abs=1e-4)
        assert row.score is not None
        assert row.verification.score is not None
        shift = summary["score_shift"][body["decision"]]
        assert shift == pytest.approx(row.score - row.verification.score, abs=1e-4)
    assert ShadowScore.objects.count() == 2  # the rollout is over


def test_a_frame_without_a_face_is_dropped_there_as_it_was_live(
    awaiting: Rollout, service: APIClient, portraits: Portraits
) -> None:
    answer = verify(service, "child-1", encoded(faceless()), portraits.eileen_collins).json()
    assert (answer["decision"], [frame["frame"] for frame in answer["frames_dropped"]]) == ("match", [0])
    [row] = scored(1)
    assert (row.decision, row.code) == ("match", "")


def test_decisions_that_would_change_are_counted(
    awaiting: Rollout, service: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = runtime.rolling_out()
    assert version is not None
    rules = {key: replace(rule, threshold=99.0) for key, rule in version.rule.voter_sets.items()}
    monkeypatch.setattr(version, "rule", replace(version.rule, voter_sets=rules))
    verify(service, "child-1", portraits.eileen_collins)
    scored(1)
    monkeypatch.setattr(Pipeline, "extract", _failing(Pipeline.extract))
    verify(service, "child-2", portraits.grace_hopper)
    scored(2)
    summary = shadow.summary(awaiting)
    assert (summary.scored, summary.agreement) == (2, 0.0)
    assert summary.changes == {"match → review": 1, "match → inference_failed": 1}


def _failing(extract: Any) -> Any:
    """A network that fails in the shadow only."""

    def extracted(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name == "ml_models-shadow":
            raise InferenceFailed("A network failed on a face.")
        return extract(*args, **kwargs)

    return extracted


def test_the_answer_does_not_wait_and_what_finds_no_room_is_dropped(
    awaiting: Rollout, service: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    parking = Parking(monkeypatch, shadow, "score")
    for _ in range(shadow.MAX_WAITING + 3):
        assert verify(service, "child-1", portraits.eileen_collins).json()["decision"] == "match"
    parking.arrive()
    assert not ShadowScore.objects.exists()
    assert shadow.dropped() == 2  # one in hand, eight waiting
    parking.let_go()
    scored(shadow.MAX_WAITING + 1)
    idle()

    monkeypatch.setattr(shadow, "MAX_BYTES", len(portraits.eileen_collins) - 1)
    verify(service, "child-1", portraits.eileen_collins)
    assert shadow.dropped() == 3


def test_under_load_the_shadow_goes_last(
    awaiting: Rollout,
    service: APIClient,
    portraits: Portraits,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    tmp_path: Any,
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "SLOTS_DIR": str(tmp_path), "SLOTS": 1}
    monkeypatch.setattr(admission, "SHADOW", replace(admission.SHADOW, patience_s=0.05))
    with admission.current.renewed():
        verify(service, "child-1", portraits.eileen_collins)
        scored(1)
        idle()
        verification = Verification.objects.latest("at")
        with admission.admitted(admission.VERIFY):
            shadow.offer(verification, "child-1", [portraits.eileen_collins])
            idle()
    assert shadow.dropped() == 1
    assert ShadowScore.objects.count() == 1


def test_nothing_is_scored_without_a_rollout_before_all_is_embedded_or_beyond_the_share(
    mirrored: EnsembleConfig, always: None, service: APIClient, portraits: Portraits, settings: Any
) -> None:
    verify(service, "child-1", portraits.eileen_collins)
    assert shadow.current().thread is None
    rollouts.open_rollout(mirrored)
    verify(service, "child-1", portraits.eileen_collins)
    assert shadow.current().thread is None  # this process has not looked yet
    runtime.refresh()
    verify(service, "child-1", portraits.eileen_collins)
    idle()
    for chunk in rollouts.advance():
        backfill.embed_chunk(chunk)
    settings.ML_MODELS = {**settings.ML_MODELS, "SHADOW_SHARE": 0.0}
    verify(service, "child-1", portraits.eileen_collins)
    idle()
    assert not ShadowScore.objects.exists()


def test_only_scores_are_kept() -> None:
    fields = {field.name for field in ShadowScore._meta.get_fields()}
    assert fields == {"id", "rollout", "verification", "decision", "code", "score", "at"}
