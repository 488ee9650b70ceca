"""A measure that knows the errors wins all of the area, one that knows nothing none, one that is wrong loses."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command

from ml_models.engine.quality import ENROLL_LIMITS
from ml_models.evaluation.lists.pairs import Comparisons, Pool
from ml_models.evaluation.pictures.embedding import QUALITY_FIELDS, Embedded
from ml_models.evaluation.rates.intervals import Subjects
from ml_models.evaluation.report.page import discard_plot
from ml_models.evaluation.report.quality_curves import SHARES, curve, goodness, report
from ml_models.evaluation.study import Study
from ml_models.models import EnsembleConfig
from tests.support.served import ROOT

PEOPLE, EACH = 80, 25


@pytest.fixture
def mated() -> Comparisons:
    """25 comparisons of each of 80 people with themselves."""
    who = np.repeat(np.arange(PEOPLE), EACH).astype(np.int32)
    images = np.arange(len(who), dtype=np.int32)
    return Comparisons(images, images, who, who, np.zeros(len(who), np.int32))


@pytest.fixture
def missed(mated: Comparisons) -> np.ndarray:
    return np.random.default_rng(1).random(len(mated)) < 0.1


def test_a_measure_that_knows_the_errors_wins_everything(mated: Comparisons, missed: np.ndarray) -> None:
    measured = curve(mated, -missed.astype(float), missed, Subjects(PEOPLE))
    assert measured.at(0.0)["value"] == pytest.approx(missed.mean())
    assert measured.at(0.2)["value"] == 0
    assert measured.gain["value"] == pytest.approx(1, abs=0.02)


def test_a_measure_that_knows_nothing_wins_nothing(mated: Comparisons, missed: np.ndarray) -> None:
    measured = curve(mated, np.random.default_rng(2).random(len(mated)), missed, Subjects(PEOPLE))
    assert measured.gain["low"] < 0 < measured.gain["high"]
    assert abs(measured.gain["value"]) < 0.15


def test_a_measure_that_is_the_wrong_way_round_loses(mated: Comparisons, missed: np.ndarray) -> None:
    measured = curve(mated, missed.astype(float), missed, Subjects(PEOPLE))
    assert measured.gain["high"] < 0
    assert measured.at(0.2)["value"] > measured.at(0.0)["value"]


def test_the_intervals_hold_the_value_and_are_wider_for_fewer_people(mated: Comparisons, missed: np.ndarray) -> None:
    quality = np.random.default_rng(3).random(len(mated)) - 0.5 * missed
    all_of_them = curve(mated, quality, missed, Subjects(PEOPLE))
    few = mated.subject_a < 10
    ten = curve(mated.take(few), quality[few], missed[few], Subjects(PEOPLE))
    for measured in (all_of_them, ten):
        assert all(rate["low"] <= rate["value"] <= rate["high"] for rate in (*measured.fnmr, measured.gain))
    assert ten.gain["high"] - ten.gain["low"] > all_of_them.gain["high"] - all_of_them.gain["low"]


def test_of_some_measures_less_is_better() -> None:
    values = np.array([-40.0, 5.0, 60.0])
    for name in ("yaw_deg", "pitch_deg", "roll_deg"):
        assert np.argsort(goodness(name, values)).tolist() == [2, 0, 1]
    assert np.argsort(goodness("brightness", np.array([20.0, 130.0, 250.0]))).tolist() == [2, 0, 1]
    assert np.argsort(goodness("landmark_residual", values)).tolist() == [2, 1, 0]
    assert goodness("sharpness", values).tolist() == values.tolist()


def study(rng: np.random.Generator) -> tuple[Study, np.ndarray]:
    """40 people with four pictures each; a poor picture has low mated scores. The last picture was not acquired."""
    who = np.repeat(np.arange(40), 4).astype(np.int32)
    quality = {name: rng.random(160) for name in QUALITY_FIELDS}
    quality["face_px"] = np.full(160, 120.0)
    quality["brightness"] = quality["contrast"] = np.full(160, 100.0)
    quality["sharpness"] = np.full(160, 300.0)
    quality["eye_contrast"] = quality["eyes_visible"] = np.full(160, 1.0)
    quality["detector_score"] = np.full(160, 0.9)
    codes = ("",) * 159 + ("no_face_found",)
    embedded = Embedded({}, {"net": quality["score"] * 3}, quality, codes, np.zeros(160, bool), 0.0)
    a, b = (side.astype(np.int32) for side in np.triu_indices(160, k=1))
    comparisons = Comparisons(a, b, who[a], who[b], np.zeros(len(a), np.int32))
    pool = Pool(
        ("people",), tuple(Path(f"{i}.jpg") for i in range(160)), tuple(map(str, range(40))), who, (comparisons,), ()
    )
    worse = np.minimum(quality["score"][a], quality["score"][b])
    scores = np.where(comparisons.same, 10 * worse - 4, rng.normal(-6, 1, len(a)))
    scores[(a == 159) | (b == 159)] = -np.inf
    return Study(pool, pool, embedded), scores


def test_the_report_counts_ranks_and_says_who_is_refused() -> None:
    made, scores = study(np.random.default_rng(4))
    measured = report(made, [scores], 0.001, ENROLL_LIMITS)
    assert (measured["subjects"], measured["images"], measured["mated"]) == (40, 160, 40 * 6 - 3)
    assert measured["fta"]["value"] == pytest.approx(1 / 160)
    below = (made.embedded.quality["score"][:159] < ENROLL_LIMITS.min_score).sum() + 1
    assert measured["refused_at_enrolment"]["value"] == pytest.approx(below / 160)
    assert next(iter(measured["measures"])) in ("score", "feature_norm of net")
    assert measured["measures"]["score"]["gain"]["value"] > 0.9
    assert measured["measures"]["yaw_deg"]["gain"]["value"] < 0.5
    at = measured["measures"]["score"]["fnmr_at_discard"]
    assert at["0.2"]["value"] < at["0.05"]["value"] < measured["fnmr"]["value"]


def test_the_plot_has_a_panel_a_list_and_a_line_a_measure() -> None:
    curves = {"score": [0.1] * len(SHARES), "yaw_deg": [0.2] * len(SHARES), "unknown": [0.3] * len(SHARES)}
    drawn = discard_plot(SHARES.tolist(), {"a<b": curves, "other": curves})
    assert drawn.startswith("<svg")
    assert drawn.count("<polyline") == 4
    assert "a&lt;b" in drawn
    assert not re.search(r"<image|href", drawn)


DEV_EVAL = ROOT.parent / "shared" / "data" / "dev_eval"


@pytest.mark.skipif(not DEV_EVAL.is_dir(), reason="needs the evaluation data beside the project")
@pytest.mark.django_db
def test_the_score_predicts_errors_on_frontal_and_profile_pictures(served: EnsembleConfig, tmp_path: Path) -> None:
    lines = (DEV_EVAL / "cfp" / "pairs_FP.csv").read_text().splitlines()
    few = [line for line in lines[1:] if int(line.split(",")[2][:3]) < 5]
    (tmp_path / "pairs.csv").write_text("\n".join([lines[0], *few]))
    out = StringIO()
    options: dict[str, Any] = {"pairs": [tmp_path / "pairs.csv"], "images": [DEV_EVAL / "cfp" / "images"]}
    call_command("evaluate_quality", config=2, output=tmp_path, json=True, stdout=out, stderr=StringIO(), **options)
    measured = json.loads(out.getvalue())
    assert measured == json.loads((tmp_path / "quality.json").read_text())
    assert (tmp_path / "quality.svg").read_text().startswith("<svg")
    gains = {name: measure["gain"]["value"] for name, measure in measured["measures"].items()}
    assert gains["score"] > 0.3
    assert gains["score"] > gains["sharpness"]
