"""A version goes live on evidence: a report on just what it decides with, on enough other people, within the limits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from ml_models import checks, rollouts
from ml_models.exceptions import ConfigInvalid, RolloutRefused
from ml_models.models import EnsembleConfig, EvaluationReport
from ml_models.versions import evidence, files
from tests.support.panel import page, told
from tests.support.served import CALIBRATION, FULL_SET, RULE, ensemble, write

CALIBRATED = {"lists": ["people/pairs"], "subjects": ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"]}
MEASURED = {"lists": ["others/pairs"], "subjects": ["cccccccccccccccc"]}
DATA: dict[str, Any] = {
    "subjects": 200,
    "mated": 1000,
    "non_mated": 30_000,
    "fmr": {"value": 0.0005, "low": 0.0003, "high": 0.001},
    "fnmr": {"value": 0.01, "low": 0.006, "high": 0.014},
    "cross_validated": None,
}


@pytest.fixture
def production(settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "EVIDENCE_GATE": "enforce"}


@pytest.fixture
def load(served: EnsembleConfig, tmp_path: Path) -> Callable[..., EnsembleConfig]:
    """A draft on the real networks, calibrated on two people."""

    def loaded(version: int = 3, **changes: Any) -> EnsembleConfig:
        call_command("load_ensemble", str(write(tmp_path, ensemble(version, **changes))))
        EnsembleConfig.objects.filter(version=version).update(calibrated_on=CALIBRATED)
        return rollouts.get_config(version)

    return loaded


@pytest.fixture
def draft(load: Callable[..., EnsembleConfig]) -> EnsembleConfig:
    return load()


def report(config: EnsembleConfig, **changes: Any) -> EvaluationReport:
    return EvaluationReport.objects.create(
        config=config,
        digest=changes.pop("digest", None) or evidence.config_digest(config),
        measured_on=changes.pop("measured_on", MEASURED),
        data={**DATA, **changes},
    )


def state(config: EnsembleConfig) -> str:
    return EnsembleConfig.objects.get(pk=config.pk).state


def test_a_version_with_evidence_is_valid(production: None, draft: EnsembleConfig) -> None:
    report(draft)
    assert evidence.missing(draft) == []
    rollouts.validate(draft)
    assert state(draft) == "validated"
    rollouts.open_rollout(rollouts.get_config(draft.version))


def test_a_version_that_nobody_measured_is_refused(production: None, draft: EnsembleConfig) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        rollouts.validate(draft)
    assert "never measured" in refused.value.reasons[0]
    assert state(draft) == "draft"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"subjects": 199}, "199 subjects of at least 200"),
        ({"mated": 999}, "999 mated"),
        ({"non_mated": 29_999}, "29,999 non-mated"),
        ({"fmr": {"value": 0.0005, "low": 0.0003, "high": 0.00101}}, "FMR is 0.101%"),
        ({"fnmr": {"value": 0.0101, "low": 0.006, "high": 0.014}}, "FNMR is 1.010%"),
        ({"fmr": None}, "was not measured"),
        ({"measured_on": {**MEASURED, "subjects": ["cccccccccccccccc", "aaaaaaaaaaaaaaaa"]}}, "1 of the people"),
        ({"measured_on": {}}, "on whom the version was measured"),
        ({"cross_validated": "5"}, "measured only on people who helped to fit it"),
        ({"digest": "0" * 64}, "was changed since"),
    ],
)
def test_every_line_is_asked_for(production: None, draft: EnsembleConfig, changes: Any, says: str) -> None:
    report(draft, **changes)
    with pytest.raises(ConfigInvalid) as refused:
        rollouts.validate(draft)
    assert len(refused.value.reasons) == 1
    assert says in refused.value.reasons[0]


def test_whom_it_was_calibrated_on_must_be_known(production: None, draft: EnsembleConfig) -> None:
    EnsembleConfig.objects.filter(pk=draft.pk).update(calibrated_on={})
    report(draft)
    assert "on whom the version was calibrated" in evidence.missing(rollouts.get_config(3))[0]


def test_the_limits_are_the_deployment_s(production: None, draft: EnsembleConfig, settings: Any) -> None:
    report(draft, fmr={"value": 0.005, "low": 0.004, "high": 0.006})
    assert evidence.missing(draft)
    settings.ML_MODELS = {**settings.ML_MODELS, "FMR_LIMIT": 0.006}
    assert evidence.missing(draft) == []


def test_one_report_that_suffices_is_enough(draft: EnsembleConfig) -> None:
    report(draft)
    report(draft, subjects=20)
    assert evidence.missing(draft) == []


def test_the_digest_follows_what_decides_and_nothing_else(load: Callable[..., EnsembleConfig]) -> None:
    first = evidence.config_digest(load(3))
    assert evidence.config_digest(load(3, name="renamed", notes="said otherwise")) == first
    assert evidence.config_digest(files.clone(rollouts.get_config(3))) == first
    member = {"artifact": "sface_2021dec", "weight": 1.0, "calibration": CALIBRATION}
    changed: list[dict[str, Any]] = [
        {"flip": True},
        {"target_fmr": 0.0005},
        {"quality_limits": {"verify": {"min_face_px": 80.0}}},
        {"voter_sets": {FULL_SET: {**RULE, "threshold": 2.1}}},
        {"voter_sets": {"sface_2021dec": RULE}, "members": [member]},
        {"voter_sets": {"sface_2021dec": RULE}, "members": [{**member, "calibration": {"a": 21.0, "b": -6.0}}]},
    ]
    digests = {evidence.config_digest(load(3, **changes)) for changes in changed}
    assert len(digests | {first}) == len(changed) + 1


def test_a_deployment_that_only_warns_goes_on(
    draft: EnsembleConfig, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings.ML_MODELS["EVIDENCE_GATE"] == "warn"
    rollouts.validate(draft)
    assert state(draft) == "validated"
    assert "without evidence" in caplog.text


def test_what_was_validated_where_nobody_asked_is_asked_before_it_goes_live(
    draft: EnsembleConfig, settings: Any
) -> None:
    rollouts.validate(draft)
    settings.ML_MODELS = {**settings.ML_MODELS, "EVIDENCE_GATE": "enforce"}
    with pytest.raises(ConfigInvalid):
        rollouts.open_rollout(rollouts.get_config(3))
    assert state(draft) == "validated"


def test_nothing_said_is_production(draft: EnsembleConfig, settings: Any) -> None:
    settings.ML_MODELS = {key: value for key, value in settings.ML_MODELS.items() if key != "EVIDENCE_GATE"}
    assert evidence.enforced()
    assert checks.check_evidence_gate() == []
    for mode, check_id in (("warn", "ml_models.W002"), ("off", "ml_models.E004")):
        settings.ML_MODELS = {**settings.ML_MODELS, "EVIDENCE_GATE": mode}
        assert [message.id for message in checks.check_evidence_gate()] == [check_id]
    assert evidence.enforced()  # a word nobody knows does not open the gate


def test_a_superuser_answers_for_missing_evidence_with_a_reason(
    production: None, draft: EnsembleConfig, django_user_model: Any
) -> None:
    chief = django_user_model.objects.create_superuser("chief")
    rollouts.validate(draft, chief, "a pilot with twenty adults")
    step = draft.steps.get(to_state="validated")
    assert (step.by, step.overrides_evidence) == (chief, True)
    assert "a pilot with twenty adults" in step.reason
    assert "never measured" in step.reason
    rollouts.open_rollout(rollouts.get_config(3))


def test_nobody_else_can(production: None, draft: EnsembleConfig, django_user_model: Any, grant: Any) -> None:
    operator = grant(django_user_model.objects.create_user("operator", is_staff=True), "validate_config")
    gone = django_user_model.objects.create_superuser("gone", is_active=False)
    for by in (None, operator, gone):
        with pytest.raises(RolloutRefused, match="superuser"):
            rollouts.validate(draft, by, "because")
    assert state(draft) == "draft"


def test_nothing_else_can_be_overridden(
    production: None, load: Callable[..., EnsembleConfig], django_user_model: Any
) -> None:
    broken = load(3, voter_sets={})
    chief = django_user_model.objects.create_superuser("chief")
    with pytest.raises(ConfigInvalid) as refused:
        rollouts.validate(broken, chief, "because")
    assert "No threshold is set" in refused.value.reasons[0]
    assert state(broken) == "draft"


def test_the_panel_shows_the_lines_and_takes_a_superuser_s_reason(
    production: None, draft: EnsembleConfig, django_user_model: Any, grant: Any, client: Client
) -> None:
    report(draft, subjects=20)
    rights = ("view_ensembleconfig", "view_evaluationreport", "validate_config")
    operator = grant(django_user_model.objects.create_user("operator", is_staff=True), *rights)
    url = page("ensembleconfig", "validate", draft.pk)
    for user, answered, after in (
        (operator, "20 subjects of at least 200", "draft"),
        (django_user_model.objects.create_superuser("chief"), "can be activated", "validated"),
    ):
        client.force_login(user)
        asked = client.get(url).content.decode()
        assert "20 subjects of at least 200" in asked
        assert 'name="override_evidence"' in asked
        reason = {"override_evidence": "a pilot"} if user.is_superuser else {}
        assert answered in told(client.post(url, reason, follow=True))
        assert state(draft) == after
    shown = client.get(page("ensembleconfig", "change", draft.pk)).content.decode()
    assert "overridden" in shown
    assert "a pilot" in shown


def test_the_command_prints_every_line_and_takes_a_superuser(
    production: None, draft: EnsembleConfig, django_user_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    report(draft, subjects=20)
    with pytest.raises(CommandError, match="20 subjects of at least 200"):
        call_command("validate_config", "3")
    stderr = capsys.readouterr().err
    assert "✗ 20 subjects" in stderr
    assert "✓ 30,000 non-mated" in stderr
    with pytest.raises(CommandError, match="--as USER"):
        call_command("validate_config", "3", "--override-evidence", "because", "--as", "nobody")
    django_user_model.objects.create_superuser("chief")
    call_command("validate_config", "3", "--override-evidence", "because", "--as", "chief")
    assert state(draft) == "validated"


BLOCK: dict[str, Any] = {
    "target_fpir": 0.001,
    "offsets": [{"candidates": n, "match": 1.0, "review": 0.0} for n in (1, 2000)],
}


def rosters(value: float, low: float, *sizes: int, extrapolated: bool = False) -> list[dict[str, Any]]:
    rate = {"value": value, "low": low, "high": 2 * value}
    return [{"candidates": size, "extrapolated": extrapolated, "fpir": rate} for size in sizes]


@pytest.mark.parametrize(
    ("rows", "met"),
    [
        (rosters(0.0015, 0.001, 50, 200), True),
        (rosters(0.0016, 0.0005, 50, 200), False),
        (rosters(0.0014, 0.0011, 50, 200), False),  # wholly above the target
        ([*rosters(0.0005, 0.0001, 50), *rosters(0.002, 0.0005, 200)], False),
        (rosters(0.0005, 0.0001, 50), False),
        (rosters(0.0005, 0.0001, 50, 200, extrapolated=True), False),
        ([], False),
    ],
)
def test_a_version_that_identifies_was_measured_on_rosters(
    load: Callable[..., EnsembleConfig], rows: list[dict[str, Any]], met: bool
) -> None:
    config = load(identification=BLOCK)
    report(config, identification=rows, identification_digest=evidence.identification_digest(config))
    assert [line.met for line in evidence.lines(config)[-1:]] == [met]
    assert len(evidence.missing(config)) == (0 if met else 1)


def test_a_report_on_other_thresholds_for_rosters_counts_for_verify_alone(
    load: Callable[..., EnsembleConfig], draft: EnsembleConfig
) -> None:
    """A version that only gains the block decides as before where nobody is searched."""
    report(draft, identification=rosters(0.0005, 0.0001, 50, 200), identification_digest="0" * 64)
    other = load(4, identification=BLOCK)
    assert evidence.config_digest(other) == evidence.config_digest(draft)
    assert evidence.identification_digest(other) != evidence.identification_digest(draft)
    assert [missing.split(".")[0] for missing in evidence.missing(other)] == [
        "Nobody was identified on rosters of 50 200"
    ]


@pytest.mark.parametrize("block", [{"target_fpir": 0.001}, {**BLOCK, "offsets": BLOCK["offsets"][:1]}, {"offsets": 3}])
def test_a_block_that_calibrate_did_not_write_is_no_valid_version(
    load: Callable[..., EnsembleConfig], block: dict[str, Any]
) -> None:
    config = load(identification=block)
    report(config)
    with pytest.raises(ConfigInvalid, match="identification"):
        rollouts.validate(config)


def test_a_block_cannot_change_once_the_version_was_validated(load: Callable[..., EnsembleConfig]) -> None:
    config = load(identification=BLOCK)
    rollouts.validate(config)
    config.identification = {}
    with pytest.raises(ValidationError):
        config.save()
    assert files.export(rollouts.get_config(config.version))["identification"] == BLOCK
