"""A face's colour follows the light's colour, and its size the distance."""

import numpy as np
import pytest

from ml_models.engine.continuity import breaks, colour, size_ratio
from ml_models.engine.quality import VERIFY_LIMITS, measure
from ml_models.engine.types import Chip, DetectedFace, Extraction

LANDMARKS = np.array([[95, 105], [161, 105], [128, 140], [100, 175], [156, 175]], np.float32)


def extraction(face_px: float = 100.0, rgb: tuple[int, int, int] = (180, 140, 120)) -> Extraction:
    chip = Chip(np.full((256, 256, 3), rgb, np.uint8), LANDMARKS)
    face = DetectedFace((0.0, 0.0, face_px, 1.2 * face_px), LANDMARKS, 0.9)
    quality = measure(chip.image[:112, :112], face, VERIFY_LIMITS)
    return Extraction(chip, quality, {}, {}, {})


def test_each_unlike_frame_is_named_once() -> None:
    alike = [extraction(100), extraction(149), extraction(120, (200, 160, 140))]
    assert breaks(alike) == ()
    found = [
        (reason.code, reason.frame) for reason in breaks([*alike, extraction(160), extraction(120, (180, 150, 60))])
    ]
    assert found == [("distance_changed", 3), ("colour_changed", 4)]
    assert breaks([extraction()]) == ()


def test_a_stronger_light_is_no_other_colour_and_grey_has_none() -> None:
    skin = np.full((112, 112, 3), (180, 140, 120), np.uint8)
    darker = (0.7 * skin).astype(np.uint8)
    assert np.linalg.norm(colour(skin) - colour(darker)) < 7
    grey = np.full((112, 112, 3), 128, np.uint8)
    assert np.abs(colour(grey)).max() < 0.1
    assert np.linalg.norm(colour(skin) - colour(grey)) > 14


def test_the_larger_face_is_over_the_smaller_one() -> None:
    one, other = extraction(50), extraction(80)
    assert size_ratio(one, other) == size_ratio(other, one) == pytest.approx(1.6)
