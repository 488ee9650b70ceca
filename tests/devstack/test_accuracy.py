"""docs/accuracy.md is written from the reports that ship, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devstack import accuracy, dev_eval
from devstack.prepare import FIRST_ACTIVE
from ml_models.studies import keeping

RATE = {"value": 0.0123, "low": 0.01, "high": 0.02}
SYSTEM = {"tar_at_fmr": {"0.01": RATE, "0.001": None}, "eer": RATE, "accuracy": RATE}


def report(version: int, stress: list[Any]) -> dict[str, Any]:
    of_list = {
        **dict.fromkeys(("fta", "fmr", "fnmr", "far", "frr"), RATE),
        "subjects": 7,
        "images": 9,
        "mated": 5,
        "non_mated": 3,
        "advantage": None,
        "members": {"net": SYSTEM},
        "fused": SYSTEM,
    }
    lists = [f"set{i}/pairs" for i in range(len(dev_eval.LISTS))]
    cell = {"list": lists[0], "under": "", "references": 1, "frames": 3, "mated": 5, "non_mated": 3}
    return {
        "config": version,
        "about": {"name": f"of {version}"},
        "members": {"net": SYSTEM},
        "groups": {"says": [f"Groups of version {version}."]},
        "lists": dict.fromkeys(lists, of_list),
        "cells": [{**cell, "fmr": RATE, "fnmr": None}],
        "stress": stress,
        "worst": {"false_matches": [{"pair": "abcdef012345–abcdef012345"}], "false_non_matches": []},
        "timing": {"engine": 1.0},
        "evidence": [],
        "exact": 0.123456789,
    }


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, list[Any]], Path]:
    monkeypatch.setattr(accuracy, "ENSEMBLES", tmp_path)

    def shipped(version: int, stress: list[Any]) -> Path:
        return keeping.ship(report(version, stress), accuracy.LACKS, tmp_path / f"v{version}.yaml")

    return shipped


def test_the_page_has_every_report_the_newest_first_and_stress_where_it_was_measured(
    ship: Callable[[int, list[Any]], Path],
) -> None:
    line = {"mated": 5, "fta": RATE, "advantage": None, "members": {"net": {"tar": RATE}}}
    fused = {"fnmr": RATE, "fmr": RATE, "tar": RATE}
    under = {**line, "fused": fused, "stress": "low_light"}
    under["lists"] = {f"set{i}/pairs": {**line, "fused": fused} for i in range(len(dev_eval.LISTS))}
    ship(1, [])
    ship(4, [under])
    page = "\n".join(accuracy.pages(accuracy.shipped()))
    assert page.index("## Version 4: of 4") < page.index("Groups of version 4.") < page.index("## Version 1: of 1")
    assert "## Version 4 under stress, all sets together" in page
    assert "## Version 1 under stress" not in page
    assert "| low light | 5 | 1.2 % (1.0 – 2.0) |" in page
    assert "**LFW**: 7 subjects" in page
    assert page == "\n".join(accuracy.pages(accuracy.shipped()))


def test_what_ships_is_rounded_and_has_no_hash_of_a_picture(ship: Callable[[int, list[Any]], Path]) -> None:
    path = ship(2, [])
    assert path.name == "v2.report.json"
    text, data = path.read_text(), json.loads(path.read_text())
    assert "abcdef012345" not in text
    assert "timing" not in data
    assert data["exact"] == 0.12346
    assert data["lacks"] == accuracy.LACKS


def test_without_being_told_the_version_that_starts_is_measured() -> None:
    assert all(path.is_file() for path in accuracy.FITTED)
    assert f"v{FIRST_ACTIVE}.yaml" in {path.name for path in accuracy.FITTED}


def test_subjects_of_london_are_known_by_a_table_of_their_own() -> None:
    tables = [attributes for *_, attributes in dev_eval.LISTS.values()]
    assert tables == [None, None, None, "london/london_info.csv"]
