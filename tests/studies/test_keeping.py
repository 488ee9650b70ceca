"""A version's cross-validated report ships beside its file: shown wherever the version is, counted by no gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from devstack.welcome import evidence_in_words
from ml_models import rollouts
from ml_models.exceptions import ConfigInvalid
from ml_models.models import EnsembleConfig, EvaluationReport
from ml_models.studies import keeping
from ml_models.versions import evidence
from ml_models.versions.known import known
from tests.conftest import Portraits
from tests.support.panel import page
from tests.support.served import FULL_SET, RULE, ensemble, write
from tests.support.studies import two_people

LACKS = ["Children: nobody measured is one."]
CALIBRATED = {"lists": ["people/pairs"], "subjects": "aaaaaaaaaaaaaaaa"}

Load = Callable[..., dict[str, Any]]


@pytest.fixture
def load(served: EnsembleConfig, capsys: pytest.CaptureFixture[str]) -> Load:
    def run(file: Path, *options: str) -> dict[str, Any]:
        capsys.readouterr()
        call_command("load_ensemble", str(file), "--json", *options)
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def shipped(load: Load, tmp_path: Path, portraits: Portraits, capsys: pytest.CaptureFixture[str]) -> Path:
    """The file of version 3 with a report beside it that was measured on it, by a deployment that is not ours."""
    file = write(tmp_path, ensemble(3, calibrated_on=CALIBRATED))
    load(file)
    options = [*two_people(tmp_path, portraits), "--about", "Adults: two women.", "--json"]
    options[1] = "3"
    call_command("evaluate", *options)
    # two people are too few to fit on; what is told apart is that a report says so of itself
    data = {**json.loads(capsys.readouterr().out), "cross_validated": "5"}
    keeping.ship(data, LACKS, file)
    EnsembleConfig.objects.filter(version=3).update(evaluation=None)
    EvaluationReport.objects.all().delete()
    return file


def changed(file: Path, **changes: Any) -> None:
    path = keeping.shipped_beside(file)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def draft() -> EnsembleConfig:
    return rollouts.get_config(3)


def test_it_is_loaded_with_the_version_once(load: Load, shipped: Path) -> None:
    assert load(shipped)["report"] == "created"
    report = EvaluationReport.objects.get()
    assert (report.config.version, report.digest) == (3, evidence.config_digest(draft()))
    assert draft().evaluation == report
    again = load(shipped)
    assert (again["result"], again["report"]) == ("unchanged", "unchanged")
    assert EvaluationReport.objects.get().created_at == report.created_at
    # a newer report on the same takes its place
    changed(shipped, lacks=["Children, still."])
    assert load(shipped)["report"] == "updated"
    assert EvaluationReport.objects.get().data["lacks"] == ["Children, still."]


def test_what_was_measured_here_is_not_replaced_by_what_ships(load: Load, shipped: Path) -> None:
    load(shipped)
    EvaluationReport.objects.update(draws={"tar": [0.9]})  # only who measures has these
    changed(shipped, lacks=[])
    assert load(shipped)["report"] == "unchanged"
    assert EvaluationReport.objects.get().data["lacks"] == LACKS


def test_it_names_nobody_and_is_small(shipped: Path) -> None:
    text = keeping.shipped_beside(shipped).read_text()
    assert len(text) < 200_000
    for word in ("eileen", "grace", ".jpg", "aaaaaaaaaaaaaaaa", "timing"):
        assert word not in text, word
    assert json.loads(text)["worst"] == {"false_matches": [], "false_non_matches": []}


def test_the_gate_does_not_count_it(load: Load, shipped: Path, settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "EVIDENCE_GATE": "enforce"}
    rate = {"value": 0.0001, "low": 0.0, "high": 0.0002}
    changed(shipped, subjects=5000, mated=90_000, non_mated=9_000_000, fmr=rate, fnmr=rate)
    load(shipped)
    EvaluationReport.objects.update(measured_on={"lists": ["others"], "subjects": ["cccccccccccccccc"]})
    assert evidence.best(draft()) is None
    (lacking,) = evidence.missing(draft())
    assert "only on people who helped to fit it (cross-validated), which does not count" in lacking
    with pytest.raises(ConfigInvalid, match="cross-validated"):
        rollouts.validate(draft())
    # the same figures of people who took no part suffice
    report = EvaluationReport.objects.get()
    report.data["cross_validated"] = None
    report.save()
    assert evidence.missing(draft()) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"digest": "0" * 64}, "is a report on other numbers or files (digest 000000000000) than version 3"),
        ({"cross_validated": None}, "is not cross-validated"),
        ({"det": None}, "has not the figures that this build shows"),
        ({"about": "adults"}, "has not the figures"),
        ({"lists": {"people/pairs": 5}}, "has not the figures"),
    ],
)
def test_a_report_that_is_not_on_the_version_is_refused_and_nothing_loaded(
    load: Load, shipped: Path, changes: dict[str, Any], says: str
) -> None:
    EnsembleConfig.objects.filter(version=3).delete()
    changed(shipped, **changes)
    with pytest.raises(CommandError) as refused:
        load(shipped)
    assert says in str(refused.value)
    assert "make accuracy" in str(refused.value)
    assert not EnsembleConfig.objects.filter(version=3).exists()
    assert not EvaluationReport.objects.exists()
    assert load(shipped, "--no-report")["report"] is None


def test_numbers_changed_under_their_report_are_refused(load: Load, shipped: Path, tmp_path: Path) -> None:
    load(shipped)
    rule = {**RULE, "threshold": 3.0}
    with pytest.raises(CommandError, match="other numbers"):
        load(write(tmp_path, ensemble(3, voter_sets={FULL_SET: rule}, calibrated_on=CALIBRATED)))
    assert draft().voter_sets == {FULL_SET: RULE}


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "cannot be read"), ("[]", "is not a report"), ("{}", "lacks about"), (" " * 1_000_001, "1,000,001 bytes")],
)
def test_a_file_that_is_no_report_is_refused(load: Load, tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, ensemble(3))
    keeping.shipped_beside(file).write_text(text)
    with pytest.raises(CommandError, match=says):
        load(file)
    assert not EnsembleConfig.objects.filter(version=3).exists()


def test_it_says_what_is_known_and_what_is_not(load: Load, shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert known(draft()) is None
    load(shipped)
    about = known(draft())
    assert about is not None
    assert about.about.startswith("Adults: two women. Cross-validated by subject: people in it took part in")
    assert about.figures[0].startswith("people/pairs: 2 people, FMR 0.000 % (0.000–")
    assert about.lacks == LACKS
    call_command("validate_config", "3")
    said = capsys.readouterr().err
    assert "· people/pairs: 2 people, FMR" in said
    assert "Not known: Children" in said


def test_make_run_says_what_is_known_and_what_is_not(load: Load, shipped: Path) -> None:
    from devstack import prepare

    load(shipped)
    EnsembleConfig.objects.filter(state="active").update(state="retired")
    EnsembleConfig.objects.filter(version=3).update(state="active")
    told = " ".join(evidence_in_words(prepare.evidence_of_active()).split())
    assert "Known of version 3, which is active: Adults: two women. Cross-validated by subject" in told
    assert "- people/pairs: 2 people, FMR 0.000 % (" in told
    assert "Not known: - Children: nobody measured is one." in told
    assert "only on people who helped to fit it (cross-validated), which does not count" in told
    EvaluationReport.objects.all().delete()
    assert "nothing: no report is kept with it" in evidence_in_words(prepare.evidence_of_active())


def test_the_panel_shows_it_and_opens_its_page(
    load: Load, shipped: Path, django_user_model: Any, grant: Any, client: Client
) -> None:
    load(shipped)
    report = EvaluationReport.objects.get()
    client.force_login(
        grant(
            django_user_model.objects.create_user("looker", is_staff=True),
            "view_ensembleconfig",
            "view_evaluationreport",
            "validate_config",
        )
    )
    shown = client.get(page("ensembleconfig", "change", draft().pk)).text
    for text in ("Known beforehand", "Adults: two women. Cross-validated", "people/pairs: 2 people", LACKS[0]):
        assert text in shown, text
    assert "2 subjects, cross-validated" in shown
    assert page("evaluationreport", "html", report.pk) in shown
    assert "DET curve" in client.get(page("evaluationreport", "html", report.pk)).text
    assert LACKS[0] in client.get(page("ensembleconfig", "validate", draft().pk)).text
    # one of people who took no part is the version's headline, however old
    apart = EvaluationReport.objects.create(
        config=draft(), digest=report.digest, data={**report.data, "cross_validated": None, "subjects": 7}
    )
    EvaluationReport.objects.filter(pk=apart.pk).update(created_at="2026-01-01T00:00Z")
    listed = client.get(page("ensembleconfig", "changelist")).text
    assert "7 subjects" in listed
    assert "subjects, cross-validated" not in listed
