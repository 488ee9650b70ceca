"""What to do next names what is surely worse, not what few people make look worse."""

from __future__ import annotations

from typing import Any

from ml_models.evaluation.report.advice import ENOUGH, advice


def rate(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


OVERALL = rate(0.02, 0.01, 0.03)


def row(name: str, fnmr: dict[str, float], mated: int = ENOUGH) -> dict[str, Any]:
    return {"by": "yaw", "slice": name, "mated": mated, "fused": {"fnmr": fnmr}}


def advised(**changes: Any) -> str:
    data: dict[str, Any] = {
        "evidence": [],
        "fta": rate(0, 0, 0.01),
        "failures": {},
        "fnmr": OVERALL,
        "frr": OVERALL,
        "slices": [],
        "stress": [{"stress": "blur", "frr": OVERALL}],
        "reliability": [],
        "groups": {"tests": [{}], "untested": []},
    }
    return " ".join(advice(data | changes))


def test_the_hardest_slice_is_hard_by_its_interval_and_not_by_its_value() -> None:
    few, many = row("from 50°", rate(0.3, 0.001, 0.9)), row("30–50°", rate(0.15, 0.1, 0.2))
    said = advised(slices=[few, many, row("under 15°", rate(0.001, 0, 0.01))])
    assert "The hardest slice is yaw: 30–50°, with an FNMR of 15.0 % (10.0–20.0)." in said
    assert "slice" not in advised(slices=[few])
    # above the whole by its value, and as likely not
    assert "slice" not in advised(slices=[row("near", rate(0.05, 0.029, 0.08))])
    assert "slice" not in advised(slices=[row("three people", rate(0.9, 0.7, 1), mated=ENOUGH - 1)])


def test_the_hardest_stress_is_harder_than_clean_pictures_are() -> None:
    stresses = [{"stress": "low_light", "frr": rate(0.5, 0.02, 0.9)}, {"stress": "mask", "frr": rate(0.3, 0.25, 0.35)}]
    assert "The hardest stress is mask, with an FRR of 30.0 % (25.0–35.0)." in advised(stress=stresses)
    assert "stress" not in advised(stress=stresses[:1])
    assert "Run evaluate --stress all" in advised(stress=[])


def test_groups_that_nobody_named_are_advised() -> None:
    assert "whether groups differ was not measured" in advised(groups={"tests": [], "untested": []})
    assert "groups differ" not in advised()
