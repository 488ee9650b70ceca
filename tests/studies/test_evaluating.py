"""`evaluate` from photo to report: what is promised of its object, its page and what stays in the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from jinja2 import UndefinedError

from ml_models import selectors
from ml_models.evaluation.lists.pairs import subject_hashes
from ml_models.evaluation.pictures.stress import STRESSES
from ml_models.evaluation.rates import metrics
from ml_models.evaluation.report.page import page
from ml_models.models import EnsembleConfig, EvaluationReport
from ml_models.versions import evidence
from tests.conftest import Portraits
from tests.support.served import EMBEDDERS, FULL_SET, RULE, ensemble, write
from tests.support.studies import LIST, two_people


@pytest.fixture
def study(tmp_path: Path, portraits: Portraits) -> list[str]:
    return two_people(tmp_path, portraits)


@pytest.fixture
def evaluate(
    served: EnsembleConfig, study: list[str], capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    def run(*options: str) -> dict[str, Any]:
        capsys.readouterr()
        call_command("evaluate", *study, "--json", *options)
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def rates(data: Any) -> Iterator[dict[str, float]]:
    """Everything in the object that is a rate with its interval."""
    if isinstance(data, dict):
        if data.keys() == {"value", "low", "high"}:
            yield data
        for value in data.values():
            yield from rates(value)
    elif isinstance(data, list):
        for value in data:
            yield from rates(value)


# of so few pictures no two that are compared show the same design
STRESSED = ["sunglasses", "sunglasses, references"]


def test_the_object_is_as_promised_and_the_report_stays(
    evaluate: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    cache, out = str(tmp_path / "cache"), tmp_path / "out"
    result = evaluate(
        *("--stress", "sunglasses", "--cache", cache, "--output", str(out), "--about", "Two women of the last century")
    )
    assert result["config"] == 2
    assert (result["subjects"], result["mated"], result["non_mated"]) == (
        2,
        5,
        2,
    )  # one stranger pair stood there twice
    assert "1 duplicate pairs" in " ".join(result["warnings"])
    assert result["failures"] == {"no_face_found": 1}
    assert result["fta"]["value"] == pytest.approx(1 / 7)
    assert result["fmr"]["value"] == result["far"]["value"] == 0
    assert result["frr"]["value"] == pytest.approx(1 / 5)
    assert result["fnmr"]["value"] == 0
    assert set(result["members"]) == set(EMBEDDERS)
    for system in (*result["members"].values(), result["fused"]):
        assert {"eer", "tar_at_fmr", "accuracy"} <= system.keys()
        # two strangers say nothing of an FMR of 1 %
        assert system["tar_at_fmr"] == {"0.01": None, "0.001": None, "0.0001": None}
    assert "30000" in " ".join(result["warnings"])
    bits = result["fused"]["cllr"]
    everything = [rate for rate in rates(result) if rate != bits]
    assert len(everything) > 15
    assert all(0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1 for rate in everything)
    assert [row["stress"] for row in result["stress"]] == STRESSED

    report = EvaluationReport.objects.get()
    config = selectors.configs().get(version=2)
    assert report.digest == result["digest"] == evidence.config_digest(config)
    assert report.measured_on["subjects"] == subject_hashes(["people/eileen", "people/grace"])
    assert config.evaluation_id == report.pk
    assert json.loads((out / "report.json").read_text()) == result == report.data
    assert (out / "report.html").read_text() == report.html

    again = evaluate("--stress", "sunglasses", "--cache", cache)
    assert again["timing"]["engine"] == 0
    assert again["fnmr"] == result["fnmr"]
    assert EvaluationReport.objects.get().pk == report.pk


def test_the_page_stands_alone_and_names_nobody(evaluate: Callable[..., dict[str, Any]]) -> None:
    evaluate("--about", "Two women <of the last century>")
    html = EvaluationReport.objects.get().html
    assert "Two women &lt;of the last century&gt;" in html
    for word in ("<script", "http:", "https:", "url(", "<img", "<link", ".jpg", "eileen", "grace"):
        assert word not in html, word
    for section in ("What to do next", "DET curve", "Reliability", "Under stress", "The worst errors"):
        assert section in html


def test_a_figure_that_is_missing_is_no_blank_on_the_page(evaluate: Callable[..., dict[str, Any]]) -> None:
    data = evaluate()
    assert page(data) == EvaluationReport.objects.get().html
    del data["digest"]
    with pytest.raises(UndefinedError, match="digest"):
        page(data)


def test_a_rate_in_the_table_of_rates_is_measured_and_shown(
    evaluate: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(metrics.RATES, "at_zero", metrics.ReportedRate("FNMR at score 0", lambda s: s.fnmr(0.0)))
    data = evaluate()
    assert all(0 <= system["at_zero"]["low"] <= 1 for system in (*data["members"].values(), data["fused"]))
    assert "FNMR at score 0" in EvaluationReport.objects.get().html


def test_a_report_says_so_when_nobody_knows_whom_the_pictures_show(evaluate: Callable[..., dict[str, Any]]) -> None:
    result = evaluate()
    assert "Unknown" in result["about"]["people"]
    assert "do not hold for children" in EvaluationReport.objects.get().html


def test_a_picture_without_a_face_is_a_failure_under_every_stress(evaluate: Callable[..., dict[str, Any]]) -> None:
    result = evaluate("--all-pairs", "--stress", "jpeg,rotation")
    for row in result["stress"]:
        assert row["failures"]["no_face_found"] >= 1
        assert row["fta"]["value"] > 0
    assert result["non_mated"] == 3 * 4


def test_against_another_version_both_are_measured_on_the_same(
    evaluate: Callable[..., dict[str, Any]], study: list[str], tmp_path: Path
) -> None:
    rule = {**RULE, "threshold": 60.0}
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, voter_sets={FULL_SET: rule}))))
    study[1] = "3"
    result = evaluate("--against", "2", "--cache", str(tmp_path / "cache"))
    assert result["fnmr"]["value"] == 1
    one, other = EvaluationReport.objects.order_by("config__version")
    assert (one.config.version, other.config.version) == (2, 3)
    assert one.list_digest == other.list_digest
    changes = {change["what"]: change["verdict"] for change in result["against"]["changes"]}
    assert changes["FNMR at its own threshold"] == "worse"
    assert changes["TAR at FMR 0.1 %"] == "cannot tell"  # two strangers say nothing of it


def test_what_cannot_be_measured_is_refused_before_anything_is_embedded(
    served: EnsembleConfig, study: list[str], tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match=f"no stress fog; there are {', '.join(STRESSES)}"):
        call_command("evaluate", *study, "--stress", "fog")
    lines = LIST.splitlines()
    for kept, code in ((lines[:5], "one_class"), ([*lines, "0,eileen/0.jpg,grace/9.jpg,day,day"], "missing_files")):
        (tmp_path / "pairs.csv").write_text("\n".join(kept))
        with pytest.raises(CommandError, match=code):
            call_command("evaluate", *study)
    assert not EvaluationReport.objects.exists()
