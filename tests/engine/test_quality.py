"""The measures mean what their names say, and the score falls with the picture."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from rest_framework.test import APIClient

from ml_models import runtime
from ml_models.engine.align import TEMPLATE
from ml_models.engine.errors import LowQuality
from ml_models.engine.pipeline import Pipeline
from ml_models.engine.quality import ENROLL_LIMITS, VERIFY_LIMITS, QualityLimits, measure, pose, reasons, with_norms
from ml_models.engine.types import DetectedFace, Quality
from ml_models.models import EnsembleConfig, Reference
from tests.conftest import Portraits
from tests.support.pictures import another, encoded, opened
from tests.support.served import rewrite
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db

ANYTHING = replace(
    VERIFY_LIMITS,
    min_face_px=1,
    min_sharpness=0,
    min_brightness=0,
    max_brightness=256,
    min_contrast=0,
    max_roll_deg=180,
)
Change = Callable[[Image.Image], Image.Image]


@pytest.fixture
def pipeline(served: EnsembleConfig) -> Pipeline:
    return runtime.served(served.pk).pipeline


@pytest.fixture
def portrait(portraits: Portraits) -> Image.Image:
    return opened(portraits.eileen_collins)


def quality(pipeline: Pipeline, picture: Image.Image, limits: QualityLimits = ANYTHING) -> Quality:
    return pipeline.extract(encoded(picture, quality=95), limits).quality


def smaller(by: float) -> Change:
    return lambda picture: picture.resize((round(picture.width * by), round(picture.height * by)))


def darker(by: float) -> Change:
    return lambda picture: picture.point(lambda value: round(value * by))


def brighter(by: int) -> Change:
    return lambda picture: picture.point(lambda value: min(255, value + by))


def blurred(radius: float) -> Change:
    return lambda picture: picture.filter(ImageFilter.GaussianBlur(radius))


def flatter(by: float) -> Change:
    return lambda picture: ImageEnhance.Contrast(picture).enhance(by)


FAULTS: dict[str, tuple[Change, str, str, Callable[[float, float], bool]]] = {
    "far away": (smaller(0.5), "face_px", "come nearer", lambda was, now: abs(now - was / 2) < 3),
    "dark": (darker(0.12), "brightness", "too dark", lambda was, now: abs(now - 0.12 * was) < 3),
    "overexposed": (brighter(150), "brightness", "too bright", lambda was, now: now > was + 60),
    "blurred": (blurred(6), "sharpness", "blurred: hold still", lambda was, now: now < was / 10),
    "flat": (flatter(0.15), "contrast", "too little contrast", lambda was, now: abs(now - 0.15 * was) < 3),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_moves_its_measure_and_is_told_in_words(pipeline: Pipeline, portrait: Image.Image, fault: str) -> None:
    change, name, reason, moved = FAULTS[fault]
    good, bad = quality(pipeline, portrait), quality(pipeline, change(portrait))
    assert moved(getattr(good, name), getattr(bad, name)), (getattr(good, name), getattr(bad, name))
    assert reasons(good, ENROLL_LIMITS) == ()
    assert reason in reasons(bad, ENROLL_LIMITS)


@pytest.mark.parametrize(
    "worse",
    [
        [smaller(by) for by in (0.8, 0.55, 0.4, 0.3)],
        [darker(by) for by in (0.5, 0.25, 0.12, 0.06)],
        [blurred(by) for by in (1, 3, 6, 9)],
        [flatter(by) for by in (0.6, 0.3, 0.15, 0.08)],
    ],
    ids=["smaller", "darker", "blurred", "flatter"],
)
def test_the_score_falls_as_the_picture_gets_worse(
    pipeline: Pipeline, portrait: Image.Image, worse: list[Change]
) -> None:
    scores = [quality(pipeline, portrait).score, *(quality(pipeline, change(portrait)).score for change in worse)]
    # a step may be too small to see
    assert all(later < earlier + 0.02 for earlier, later in pairwise(scores)), scores
    assert 0 <= scores[-1] < 0.8 * scores[0] <= 1


def test_a_good_picture_has_a_feature_norm_of_about_one(pipeline: Pipeline, portraits: Portraits) -> None:
    for data in (portraits.eileen_collins, portraits.grace_hopper):
        measured = pipeline.extract(data).quality
        assert measured.feature_norm == pytest.approx(1.0, abs=0.2)
        assert measured.score > 0.7


PLAIN = Quality(0.9, (), 120.0, 300.0, 130.0, 40.0, 1.0, 2.0, 0.0, 0.93, 3.0)


def test_the_feature_norm_is_the_mean_over_the_networks_that_have_one() -> None:
    assert with_norms(PLAIN, [(3.0, 2.0), (0.5, 1.0), (1.0, None)], VERIFY_LIMITS).feature_norm == pytest.approx(1.0)
    poor, better = (with_norms(PLAIN, [(norm, 1.0)], VERIFY_LIMITS).score for norm in (0.5, 1.0))
    assert poor < better
    # of networks that normalise in their graph nothing is known: the physical measures are left
    without = with_norms(PLAIN, [(1.0, None)], VERIFY_LIMITS)
    assert without.feature_norm is None
    assert without.to_json()["feature_norm"] is None
    assert without.score > better


def test_a_score_under_the_limit_is_refused_with_something_to_do() -> None:
    limits = replace(VERIFY_LIMITS, min_score=0.5)
    assert with_norms(PLAIN, [(1.0, 1.0)], limits).reasons == ()
    assert with_norms(PLAIN, [(0.4, 1.0)], limits).reasons == ("better light, nearer, and look at the camera",)


def turned(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    """The five landmarks of a head that is turned, seen from afar; the nose tip stands out by 0.6 eye distances."""
    flat = TEMPLATE.astype(float) - TEMPLATE[:2].mean(0)
    eyes = float(np.hypot(*(flat[1] - flat[0])))
    points = np.column_stack([flat, [0, 0, 0.6 * eyes, 0, 0]])
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    turn_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    projected = (points @ turn_y.T @ turn_x.T)[:, :2]
    turn_z = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return (projected @ turn_z.T + 200).astype(np.float32)


@pytest.mark.parametrize("angle", [-45, -20, 0, 20, 45])
def test_the_pose_of_a_turned_head_is_found(angle: float) -> None:
    for axis, name in enumerate(("yaw_deg", "pitch_deg", "roll_deg")):
        straight, measured = pose(turned())[axis], pose(turned(**{name: angle}))[axis]
        assert measured - straight == pytest.approx(angle, abs=0.5 if name == "roll_deg" else 12), name


def test_a_turned_head_is_told_to_turn_back() -> None:
    face = DetectedFace((0, 0, 120, 120), turned(yaw_deg=50), 0.9)
    crop = np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8)
    assert "turn to the camera" in measure(crop, face, ENROLL_LIMITS).reasons
    assert "turn to the camera" not in measure(crop, face, VERIFY_LIMITS).reasons


def test_enrolment_asks_for_more_than_verification(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, portrait: Image.Image
) -> None:
    stricter = {name: (getattr(VERIFY_LIMITS, name), getattr(ENROLL_LIMITS, name)) for name in VERIFY_LIMITS.to_json()}
    assert all(enrol >= verifies for name, (verifies, enrol) in stricter.items() if name.startswith("min_"))
    assert all(enrol <= verifies for name, (verifies, enrol) in stricter.items() if name.startswith("max_"))

    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    poor = encoded(darker(0.15)(portrait))
    assert enroll(service, "child-1", poor).json()["code"] == "low_quality"
    assert verify(service, "child-1", poor).status_code == 200
    assert Reference.objects.count() == 1


@pytest.mark.parametrize("step", ["verify", "enroll"])
def test_a_version_sets_the_limits_of_both(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, step: str
) -> None:
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    rewrite(quality_limits={step: {"min_score": 1.0}})
    answers: dict[str, Any] = {
        "verify": verify(service, "child-1", portraits.eileen_collins),
        "enroll": enroll(service, "child-1", another(portraits.eileen_collins)),
    }
    refused = answers.pop(step)
    assert (refused.status_code, refused.json()["code"]) == (422, "low_quality")
    assert refused.json()["reasons"] == ["better light, nearer, and look at the camera"]
    assert all(answer.status_code < 300 for answer in answers.values())


def test_a_refusal_comes_before_the_networks_work(pipeline: Pipeline, portrait: Image.Image) -> None:
    class Untouched:
        golden_norm = 1.0

        def embed(self, *_: Any) -> Any:
            raise AssertionError("a picture that is refused anyway was embedded")

    idle = replace(pipeline, members={"untouched": Untouched()})
    with pytest.raises(LowQuality):
        idle.extract(encoded(darker(0.05)(portrait)))
