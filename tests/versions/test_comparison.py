"""Two versions on the same people: better, worse, or it cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from ml_models import rollouts
from ml_models.evaluation.lists.pairs import Comparisons
from ml_models.evaluation.rates.intervals import Subjects
from ml_models.evaluation.rates.metrics import System
from ml_models.models import EnsembleConfig, EvaluationReport
from ml_models.versions import comparison, evidence
from tests.support.panel import page
from tests.support.served import ensemble, write

PEOPLE = 60


def comparisons() -> Comparisons:
    who = np.repeat(np.arange(PEOPLE, dtype=np.int32), 3)
    a, b = (side.astype(np.int32) for side in np.triu_indices(len(who), 1))
    return Comparisons(a, b, who[a], who[b], np.zeros(len(a), np.int32))


def scores(gap: float, noise: float, seed: int) -> Any:
    """Two unit Gaussians `gap` apart, the same for every seed but for a part `noise`."""
    same = comparisons().same
    shared = np.random.default_rng(0).normal(size=len(same))
    own = np.random.default_rng(seed).normal(size=len(same))
    return np.sqrt(1 - noise) * shared + np.sqrt(noise) * own + gap * same


def report(values: Any, list_digest: str = "a" * 64, **fields: Any) -> EvaluationReport:
    """As `evaluate` would keep it."""
    system = System(comparisons(), values - 2.5, Subjects(PEOPLE, 300))
    data = {
        "fused": {"tar_at_fmr": {"0.001": system.tar_at_fmr(0.001)}, "eer": system.eer()},
        "fnmr": system.fnmr(0.0),
        "fmr": system.fmr(0.0),
    }
    draws = {name: list(map(float, values)) for name, values in system.draws(0.001, 0.0).items()}
    return EvaluationReport(data=data, draws=draws, list_digest=list_digest, **fields)


def verdicts(first: EvaluationReport, second: EvaluationReport) -> dict[str, str]:
    return {change.what.split(" ")[0]: change.verdict for change in comparison.compare(first, second)}


def test_a_clear_change_is_better_one_way_and_worse_the_other() -> None:
    good, poor = report(scores(4.5, 0.1, 1)), report(scores(3.5, 0.1, 2))
    assert verdicts(poor, good) == {"TAR": "better", "EER": "better", "FNMR": "better", "FMR": "cannot tell"}
    assert verdicts(good, poor) == {"TAR": "worse", "EER": "worse", "FNMR": "worse", "FMR": "cannot tell"}


def test_a_higher_threshold_trades_one_error_for_the_other() -> None:
    values = scores(3.5, 0.0, 1)
    verdict_of = verdicts(report(values), report(values - 1.0))
    assert (verdict_of["FNMR"], verdict_of["FMR"]) == ("worse", "better")
    assert (verdict_of["TAR"], verdict_of["EER"]) == ("cannot tell", "cannot tell")


def test_the_same_version_is_neither() -> None:
    values = scores(3.5, 0.0, 1)
    assert set(verdicts(report(values), report(values)).values()) == {"cannot tell"}


def test_luck_is_not_taken_for_progress() -> None:
    """Equally good systems that err on other comparisons: at 95 % about one in twenty is called better or worse."""
    all_verdicts = [
        verdicts(report(scores(3.0, 0.5, seed)), report(scores(3.0, 0.5, 100 + seed)))["EER"] for seed in range(12)
    ]
    assert all_verdicts.count("cannot tell") >= 10


def test_the_same_people_on_both_sides_tell_more_than_two_intervals() -> None:
    one, other = report(scores(3.5, 0.02, 1)), report(scores(3.7, 0.02, 2))
    eer = comparison.compare(one, other)[1]
    assert eer.verdict == "better"
    assert other.data["fused"]["eer"]["high"] > one.data["fused"]["eer"]["low"]  # the intervals overlap


def test_reports_on_other_pairs_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same comparisons"):
        comparison.compare(report(scores(3.5, 0.1, 1)), report(scores(3.5, 0.1, 1), list_digest="b" * 64))


def test_the_command_and_the_panel_say_it(
    served: EnsembleConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    client: Client,
    django_user_model: Any,
) -> None:
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, name="mirrored", flip=True))))
    with pytest.raises(CommandError, match="evaluate --config 3 --against 2"):
        call_command("compare_versions", "2", "3")
    for version, gap in ((2, 3.5), (3, 4.5)):
        config = rollouts.get_config(version)
        where = {"lists": ["people/pairs"], "subjects": ["a" * 16]}
        stored = report(scores(gap, 0.1, version), config=config, measured_on=where)
        stored.digest = evidence.config_digest(config)
        stored.save()
    capsys.readouterr()
    call_command("compare_versions", "2", "3", "--json")
    (compared,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert compared["lists"] == ["people/pairs"]
    assert [change["verdict"] for change in compared["changes"]] == ["better", "better", "better", "cannot tell"]

    client.force_login(django_user_model.objects.create_superuser("operator"))
    shown = client.get(page("ensembleconfig", "change", rollouts.get_config(3).pk)).content.decode()
    assert "on people/pairs" in shown
    assert shown.count(">better<") == 3
    # changed since: what was measured is not what it decides with now
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, name="mirrored"))))
    with pytest.raises(CommandError, match="as they are now"):
        call_command("compare_versions", "2", "3")
