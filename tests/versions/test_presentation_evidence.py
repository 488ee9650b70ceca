"""Where a policy enforces the attack detector, a version goes live on a report on just its network and numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_models import rollouts
from ml_models.exceptions import ConfigInvalid
from ml_models.models import EnsembleConfig, EvaluationReport, PresentationReport
from ml_models.versions import evidence, files
from tests.support.served import ensemble, write

pytestmark = pytest.mark.django_db

PASSIVE = {"a": 1.0, "b": 0.0, "threshold": -2.0, "subjects": f"{'a' * 16} {'c' * 16}"}
WITH = {"presentation": "fr_liveness", "liveness": {"passive": PASSIVE}}
GOOD = {"value": 0.01, "low": 0.0, "high": 0.05}
PEOPLE = {"count": 80, "subjects": 40, "error": {**GOOD, "value": 0.05}, "non_response": {**GOOD, "value": 0.05}}
FIGURES: dict[str, Any] = {
    "bona_fide": PEOPLE,
    "species": {name: {"count": 80, "subjects": 40, "error": GOOD, "non_response": GOOD} for name in ("print", "mask")},
    "people": ["b" * 16],
}


@pytest.fixture
def policy(settings: Any) -> Callable[..., None]:
    def change(**purposes: str) -> None:
        asked = {purpose: {"passive": mode} for purpose, mode in purposes.items()}
        settings.ML_MODELS = {**settings.ML_MODELS, "EVIDENCE_GATE": "enforce", "LIVENESS": asked}

    return change


@pytest.fixture
def load(served: EnsembleConfig, tmp_path: Path) -> Callable[..., EnsembleConfig]:
    """A draft whose comparisons are measured as the gate asks."""

    def loaded(**changes: Any) -> EnsembleConfig:
        config = files.load(write(tmp_path, ensemble(3, **{**WITH, **changes})))[0]
        EnsembleConfig.objects.filter(pk=config.pk).update(calibrated_on={"subjects": ["a" * 16]})
        rate = {"value": 0.0, "low": 0.0, "high": 0.0005}
        EvaluationReport.objects.update_or_create(
            config=config,
            digest=evidence.config_digest(config),
            measured_on={"subjects": ["b" * 16]},
            data={"subjects": 200, "mated": 1000, "non_mated": 30_000, "fmr": rate, "fnmr": rate},
        )
        return rollouts.get_config(3)

    return loaded


def store(config: EnsembleConfig, manifest: str = "m" * 64, **changes: Any) -> list[evidence.Line]:
    return evidence.store_presentation(
        config, {**FIGURES, "digest": evidence.liveness_digest(config), **changes}, manifest
    )


def test_only_an_enforced_look_asks_for_it(load: Callable[..., EnsembleConfig], policy: Callable[..., None]) -> None:
    draft = load()
    policy(verify="monitor", enroll="off")
    rollouts.validate(draft)
    assert EnsembleConfig.objects.get(pk=draft.pk).state == "validated"
    # what was validated before the policy enforced is asked before it goes live
    for asked in ({"identify": "enforce"}, {"verify": "monitor", "enroll": "a word nobody knows"}):
        policy(**asked)
        with pytest.raises(ConfigInvalid, match="evaluate_presentation"):
            rollouts.open_rollout(rollouts.get_config(3))
    store(draft)
    rollouts.open_rollout(rollouts.get_config(3))


def test_a_report_on_other_numbers_or_another_network_is_none(
    load: Callable[..., EnsembleConfig], policy: Callable[..., None]
) -> None:
    policy(verify="enforce")
    draft = load()
    with pytest.raises(ConfigInvalid) as refused:
        rollouts.validate(draft)
    assert ["has none" in says for says in refused.value.reasons] == [True]
    store(draft)
    assert evidence.missing(draft) == []
    changed = load(liveness={"passive": {**PASSIVE, "threshold": -1.9}})
    assert ["was changed since" in says for says in evidence.refusals(changed)] == [True]
    without = load(presentation=None, liveness={})
    assert ["has no network" in says for says in evidence.refusals(without)] == [True]
    assert evidence.refusals(load()) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bona_fide": {**PEOPLE, "subjects": 39}}, "39 people shown"),
        ({"bona_fide": {**PEOPLE, "error": {**GOOD, "value": 0.051}}}, "BPCER is 5.100%"),
        ({"bona_fide": {**PEOPLE, "non_response": {**GOOD, "value": 0.051}}}, "BPNRR is 5.100%"),
        (
            {"species": {**FIGURES["species"], "mask": {**PEOPLE, "error": {**GOOD, "high": 0.0501}}}},
            "APCER of mask is 5.010%",
        ),
        ({"people": ["b" * 16, "c" * 16]}, "1 of the people measured were used to calibrate the attack detector"),
        ({"people": None}, "on whom the attack detector was measured"),
    ],
)
def test_figures_over_a_limit_are_refused_and_the_newest_report_counts(
    load: Callable[..., EnsembleConfig], policy: Callable[..., None], settings: Any, changes: Any, says: str
) -> None:
    policy(verify="enforce")
    draft = load()
    store(draft, "1" * 64)
    assert [line.met for line in store(draft, "2" * 64, **changes)].count(False) == 1
    (refused,) = evidence.refusals(draft)
    assert says in refused
    settings.ML_MODELS = {**settings.ML_MODELS, "APCER_LIMIT": 0.06, "BPCER_LIMIT": 0.06}
    assert bool(evidence.missing(draft)) == ("%" not in says)
    store(draft, "1" * 64)  # shown the same again: replaced, and the newest
    assert PresentationReport.objects.count() == 2
    assert evidence.missing(draft) == []


def test_on_whom_the_numbers_were_fitted_must_be_known_and_decides_nothing(
    load: Callable[..., EnsembleConfig], policy: Callable[..., None]
) -> None:
    policy(verify="enforce")
    digest = evidence.liveness_digest(load())
    nobody = load(liveness={"passive": {**PASSIVE, "subjects": ""}})
    assert evidence.liveness_digest(nobody) == digest
    store(nobody)
    (refused,) = evidence.missing(nobody)
    assert "on whom the attack detector was calibrated. Run calibrate_presentation" in refused
