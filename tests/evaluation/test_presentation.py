"""Error rates of presentation attack detection, by hand."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from ml_models.evaluation.calibration.presentation import fit
from ml_models.evaluation.calibration.rules import CannotCalibrate
from ml_models.evaluation.rates.intervals import clopper_pearson
from ml_models.evaluation.rates.presentation import Presented, Verdict, changes, rates


def shown(kind: str, verdicts: Sequence[tuple[str, float | None]], camera: str = "", first: int = 0) -> list[Presented]:
    """Each presentation by somebody else."""
    return [
        Presented(f"{kind}{first + i}", camera, kind, cast(Verdict, verdict), score)
        for i, (verdict, score) in enumerate(verdicts)
    ]


PEOPLE = shown("bona_fide", [*[("yes", 3.0)] * 15, *[("no", -3.0)] * 3, ("uncertain", None), ("no_response", None)])
PRINTS = shown("print", [*[("no", -4.0)] * 18, ("yes", 1.0), ("no_response", None)])
SCREENS = shown("screen", [*[("no", -4.0)] * 5, *[("yes", 2.0)] * 5])


def test_each_error_is_of_its_own_kind_and_no_verdict_is_neither() -> None:
    found = rates([*PEOPLE, *PRINTS, *SCREENS])
    assert found["bona_fide"]["error"]["value"] == pytest.approx(3 / 20)
    assert found["bona_fide"]["non_response"]["value"] == pytest.approx(2 / 20)
    assert {name: item["error"]["value"] for name, item in found["species"].items()} == {"print": 0.05, "screen": 0.5}
    assert found["species"]["print"]["non_response"]["value"] == pytest.approx(1 / 20)
    assert (found["species"]["print"]["count"], found["species"]["print"]["subjects"]) == (20, 20)


def test_bpcer_at_an_apcer_takes_the_worst_species() -> None:
    found = rates([*PEOPLE, *PRINTS, *SCREENS])
    # under 1 % no screen may pass: the threshold lies above 2, and everybody over it scores 3
    assert found["bpcer_at_apcer"]["0.01"]["value"] == pytest.approx(3 / 20)
    harder = shown("screen", [("yes", 4.0)] * 10)
    assert rates([*PEOPLE, *harder])["bpcer_at_apcer"]["0.05"]["value"] == pytest.approx(18 / 20)
    unseen = shown("mask", [("uncertain", None)] * 3)
    assert rates([*PEOPLE, *unseen])["bpcer_at_apcer"]["0.05"] is None
    assert rates(PEOPLE)["bpcer_at_apcer"]["0.05"] is None


def test_one_in_twenty_attacks_may_pass_at_five_percent() -> None:
    found = rates([*PEOPLE, *shown("print", [*[("no", -4.0)] * 19, ("yes", 9.0)])])
    assert found["bpcer_at_apcer"]["0.05"]["value"] == pytest.approx(0.0)
    assert found["bpcer_at_apcer"]["0.01"]["value"] == pytest.approx(18 / 20)


def test_two_versions_are_compared_on_the_same_people() -> None:
    def answers(prints: str, people: str) -> list[Presented]:
        return [*shown("bona_fide", [(people, 0.0)] * 4 + [("yes", 0.0)] * 56), *shown("print", [(prints, 0.0)] * 60)]

    bpcer, apcer = changes(answers("yes", "yes"), answers("no", "no"))
    assert (apcer["what"], apcer["first"], apcer["second"], apcer["verdict"]) == ("APCER of print", 1.0, 0.0, "better")
    assert (apcer["low"], apcer["high"]) == (-1.0, -1.0)
    # four people judged otherwise say nothing
    assert (bpcer["what"], bpcer["second"], bpcer["low"], bpcer["verdict"]) == (
        "BPCER",
        pytest.approx(4 / 60),
        None,
        "cannot tell",
    )
    _, back = changes(answers("no", "yes"), answers("yes", "yes"))
    assert back["verdict"] == "worse"
    mixed = shown("bona_fide", [("no", 0.0), ("yes", 0.0)] * 30)
    other = shown("bona_fide", [("yes", 0.0), ("no", 0.0)] * 30)
    (even,) = changes(mixed, other)
    assert even["low"] < 0 < even["high"]
    assert even["verdict"] == "cannot tell"


def test_intervals_are_over_people_not_pictures() -> None:
    none_of_ten = rates([*PEOPLE, *shown("print", [("no", -4.0)] * 10)])["species"]["print"]["error"]
    assert (none_of_ten["value"], none_of_ten["high"]) == (0.0, pytest.approx(clopper_pearson(0, 10)[1]))
    of_one = [Presented("one", "", "print", "no", -4.0)] * 500
    assert rates([*PEOPLE, *of_one])["species"]["print"]["error"]["high"] == pytest.approx(clopper_pearson(0, 1)[1])
    wide = rates([Presented(f"p{i // 50}", "", "bona_fide", "no" if i < 500 else "yes", 0.0) for i in range(1000)])[
        "bona_fide"
    ]["error"]
    assert wide["low"] < 0.35
    assert wide["high"] > 0.65


def test_cameras_are_told_apart() -> None:
    mixed = [
        *shown("bona_fide", [("yes", 3.0)] * 5, "door"),
        *shown("bona_fide", [("no", -3.0)] * 5, "bus", 5),
        *shown("print", [("no", -4.0)] * 5, "door"),
    ]
    found = rates(mixed)
    assert found["cameras"]["bus"]["bona_fide"]["error"]["value"] == 1.0
    assert found["cameras"]["door"]["bona_fide"]["error"]["value"] == 0.0
    assert found["cameras"]["bus"]["species"] == {}
    assert found["bona_fide"]["error"]["value"] == 0.5


def test_a_fitted_logit_is_a_likelihood_ratio_and_the_threshold_refuses_no_more_people_than_asked() -> None:
    rng = np.random.default_rng(1)
    logits = np.concatenate([rng.normal(2.0, 2.0, 4000), rng.normal(-1.0, 2.0, 12_000)])
    bona_fide = np.arange(16_000) < 4000
    calibration, threshold = fit(logits, bona_fide, 0.05)
    # of two normal distributions: the means' difference over the variance, and none between them
    assert calibration.a == pytest.approx(3 / 4, rel=0.05)
    assert calibration(0.5) == pytest.approx(0.0, abs=0.05)
    refused = float(np.mean(np.asarray(calibration(logits[bona_fide])) < threshold))
    assert 0.045 < refused <= 0.05
    assert np.all(np.asarray(calibration(logits[bona_fide])) >= fit(logits, bona_fide, 0.0)[1])
    with pytest.raises(CannotCalibrate, match="no higher"):
        fit(-logits, bona_fide, 0.05)
    with pytest.raises(CannotCalibrate, match="bring both"):
        fit(logits, np.ones(16_000, np.bool_), 0.05)
