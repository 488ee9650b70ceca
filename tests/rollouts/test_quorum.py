"""Which processes must speak for a version before it goes live."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now

from ml_models import rollouts, runtime
from ml_models.exceptions import RolloutRefused
from ml_models.models import EnsembleConfig, ServingProcess
from ml_models.rollouts import backfill
from tests.support.served import ensemble, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def reweighted(served: EnsembleConfig, tmp_path: Path) -> EnsembleConfig:
    """Version 3, validated: nobody is to be embedded for it, and version 2 is active."""
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, target_fmr=0.002))))
    rollouts.validate(rollouts.get_config(3))
    return rollouts.get_config(3)


def process(config: EnsembleConfig, kind: str = "web", age_s: float = 0.0, loaded: bool = True) -> ServingProcess:
    return ServingProcess.objects.create(
        host=kind,
        pid=1,
        kind=kind,
        heartbeat_at=Now() - timedelta(seconds=age_s),
        started_at=Now(),
        artifacts=[artifact.sha256 for artifact in config.artifacts] if loaded else [],
    )


def active() -> int:
    return EnsembleConfig.objects.get(state="active").version


def test_a_version_does_not_go_live_while_no_process_reports_itself_and_the_command_says_what_it_waits_for(
    reweighted: EnsembleConfig, capsys: Any
) -> None:
    call_command("activate_config", "3", "--json")
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["state"], outcome["reason"][:78]) == (
        "embedding",
        "Waiting for a web process: none has reported itself for 30 s. Start one; where",
    )
    with pytest.raises(RolloutRefused, match="Waiting for a web process"):
        rollouts.cut_over(rollouts.get_rollout())
    assert active() == 2

    runtime.refresh()
    runtime.report()  # a server was started
    rollouts.advance()
    assert (active(), rollouts.get_rollout().reason) == (3, "")


@pytest.mark.parametrize(
    ("facts", "quorum", "goes"),
    [
        ({}, "web", True),
        ({"age_s": 60}, "web", False),
        ({"loaded": False}, "web", False),
        ({"kind": "worker"}, "web", False),
        ({"kind": "worker"}, "worker", True),
        ({"kind": "worker", "loaded": False}, "worker", False),
    ],
    ids=["a server", "a dead one", "an unready one", "a worker", "a worker that verifies", "one that is unready"],
)
def test_it_takes_a_live_process_that_verifies_and_has_loaded_the_version(
    reweighted: EnsembleConfig, settings: Any, facts: dict[str, Any], quorum: str, goes: bool
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "QUORUM": quorum}
    process(reweighted, **facts)
    rollouts.open_rollout(reweighted)
    rollouts.advance()
    assert active() == (3 if goes else 2)


def test_go_is_refused_once_the_last_server_is_gone(reweighted: EnsembleConfig) -> None:
    server = process(reweighted)
    rollout = rollouts.open_rollout(reweighted, hold_for_approval=True)
    rollouts.advance()
    assert rollouts.get_rollout(rollout.pk).state == "awaiting_approval"
    server.delete()
    with pytest.raises(RolloutRefused, match="Waiting for a web process"):
        rollouts.cut_over(rollout)
    process(reweighted)
    rollouts.cut_over(rollout)
    assert active() == 3


def test_a_first_version_goes_live_before_any_server_runs_and_waits_for_those_that_do(
    reweighted: EnsembleConfig, capsys: Any
) -> None:
    EnsembleConfig.objects.filter(version=2).update(state="retired")
    slow = process(reweighted, loaded=False)
    call_command("activate_config", "3", "--json")
    assert json.loads(capsys.readouterr().out)["reason"] == "Waiting for web:1 to load the networks."
    slow.delete()
    rollouts.advance()
    assert active() == 3
    assert backfill.count_missing(reweighted) == 0
