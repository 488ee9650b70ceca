"""A face cut out and shown to the network as its contract says, and what is made of the answer."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml_models.engine.calibrate import Affine
from ml_models.engine.errors import ContractMismatch, GoldenMismatch, InferenceFailed
from ml_models.engine.log_odds import check_golden
from ml_models.engine.presentation import PassiveRule, PresentationDetector, cut, together
from ml_models.engine.types import DetectedFace, Presentation
from tests.support.networks import presentation_contract, tiny_presentation


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return tiny_presentation(tmp_path / "tiny.onnx")


def face(*box: float) -> DetectedFace:
    return DetectedFace((box[0], box[1], box[2], box[3]), np.zeros((5, 2), np.float32), 0.9)


def picture(height: int = 300, width: int = 400) -> np.ndarray:
    """Each pixel says where it is: red its row, green its column, halved."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows // 2, columns // 2, np.zeros_like(rows)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "top", "left", "shape"),
    [
        ((180, 130, 40, 40), 96, 146, (108, 108)),  # 2.7 times the box, about its middle
        ((0, 130, 40, 40), 96, 0, (108, 108)),  # at the left edge: shifted into the picture
        ((380, 280, 40, 40), 191, 291, (108, 108)),  # at the lower right one, and beyond it
        ((100, 50, 160, 200), 0, 60, (299, 239)),  # too large for 2.7: as much as fits, in the box's proportions
    ],
)
def test_the_box_is_enlarged_and_clamped_into_the_picture(
    box: tuple[float, float, float, float], top: int, left: int, shape: tuple[int, int]
) -> None:
    crop = cut(picture(), box, 2.7)
    assert crop.shape[:2] == shape
    assert (crop[0, 0, 0], crop[0, 0, 1]) == (top // 2, left // 2)


def test_the_logit_is_the_log_odds_of_the_live_class_fed_in_the_contracts_colours(network: Path) -> None:
    red = np.zeros((100, 100, 3), np.uint8)
    red[..., 0] = 200
    middle = face(40, 40, 20, 20)

    blue_first = PresentationDetector(network, presentation_contract()).examine(red, middle)
    red_first = PresentationDetector(network, presentation_contract(color_order="RGB")).examine(red, middle)

    # the classes are the channels in hundredths: (0, 0, 2) in BGR, (2, 0, 0) in RGB
    assert blue_first.logit == pytest.approx(-math.log(1 + math.exp(2)), abs=1e-5)
    assert red_first.logit == pytest.approx(2 - math.log(2), abs=1e-5)
    other_class = PresentationDetector(network, presentation_contract(live_index=2)).examine(red, middle)
    assert other_class.logit == pytest.approx(2 - math.log(2), abs=1e-5)


def test_mean_and_deviation_are_the_contracts(network: Path) -> None:
    grey = np.full((100, 100, 3), 100, np.uint8)
    logits = PresentationDetector(network, presentation_contract(mean=50.0, std=5.0)).logits(grey)
    assert logits == pytest.approx([0.1] * 3, abs=1e-6)


def test_a_large_crop_is_reduced_by_pixel_areas(network: Path) -> None:
    stripes = np.zeros((160, 160, 3), np.uint8)
    stripes[:, ::2] = 200  # sampling by points would see stripes or none; by areas all is grey
    assert PresentationDetector(network, presentation_contract()).logits(stripes) == pytest.approx([1.0] * 3, abs=0.02)


@pytest.mark.parametrize(("width", "enough"), [(5, False), (6, True)])
def test_a_crop_with_fewer_pixels_than_the_network_takes_is_not_enough(network: Path, width: int, enough: bool) -> None:
    seen = PresentationDetector(network, presentation_contract()).examine(picture(), face(100, 100, width, width))
    assert seen.crop_px == int(2.7 * width)
    assert seen.enough == enough


def test_small_crops_are_uncertain_and_never_live() -> None:
    rule = PassiveRule(Affine(1.0, 0.0), threshold=0.0)
    small, live, attack = (
        Presentation(logit, 50, enough) for logit, enough in ((9.0, False), (2.0, True), (-4.0, True))
    )
    assert rule.judge([small]) == ("uncertain", None)
    assert rule.judge([]) == ("uncertain", None)
    # a live face among the frames lends its look to no other one
    assert rule.judge([small, live]) == ("uncertain", None)
    assert rule.judge([live, live, attack]) == ("no", -4.0)
    assert rule.judge([live, replace(live, logit=3.0)]) == ("yes", 2.0)


def test_the_calibration_comes_before_the_threshold() -> None:
    rule = PassiveRule(Affine(0.5, 1.0), threshold=2.0)
    assert rule.judge([Presentation(2.0, 200, True)]) == ("yes", 2.0)
    assert rule.judge([Presentation(1.9, 200, True)])[0] == "no"
    with pytest.raises(ValueError, match="finite"):
        PassiveRule(Affine(1.0, 0.0), math.nan)


def test_several_networks_are_averaged_and_the_smallest_crop_counts() -> None:
    looks = [Presentation(4.0, 90, True), Presentation(-1.0, 200, True)]
    assert together(looks) == Presentation(1.5, 90, True)
    assert together(looks[:1]) == looks[0]
    assert together([*looks, Presentation(0.0, 60, False)]) == Presentation(1.0, 60, False)
    with pytest.raises(ValueError, match="No network"):
        together([])


def test_what_is_not_a_number_is_a_failure(tmp_path: Path) -> None:
    detector = PresentationDetector(tiny_presentation(tmp_path / "p.onnx", poison=True), presentation_contract())
    with pytest.raises(InferenceFailed):
        detector.examine(picture(), face(100, 100, 50, 50))


def test_golden_logits_tell_the_colour_order(network: Path) -> None:
    detector = PresentationDetector(network, presentation_contract())
    assert detector.golden.shape == (2, 3)
    check_golden(detector, detector.golden)
    with pytest.raises(GoldenMismatch):
        check_golden(PresentationDetector(network, presentation_contract(color_order="RGB")), detector.golden)
    with pytest.raises(GoldenMismatch):
        check_golden(detector, detector.golden[:, :2])


@pytest.mark.parametrize(
    "changes",
    [
        {"input": "data"},
        {"output": "none"},
        {"size": [8, 8]},
        {"classes": 2},
        {"live_index": 3},
        {"scale": 0},
        {"std": 0.0},
        {"border": "padded"},
        {"kind": "embedder"},
        {"color_order": "GRB"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_contract_that_does_not_fit_is_refused(network: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ContractMismatch):
        PresentationDetector(network, presentation_contract(**changes))
