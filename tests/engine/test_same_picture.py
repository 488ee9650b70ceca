"""One picture in two files is recognised, and two pictures are not taken for one."""

import cv2
import numpy as np
import pytest
from PIL import Image

from devstack.turned import turned
from ml_models.engine.align import CROP_SIDE, align
from ml_models.engine.same_picture import SAME_PICTURE, correlation, is_same_picture, mirrored
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened

# about where the eyes, the nose and the corners of the mouth are in the portrait of 512×512 pixels
LANDMARKS = np.array([[197, 109], [249, 108], [224, 143], [206, 166], [247, 165]], np.float32)


def crop(data: bytes, off_px: float = 0.0) -> np.ndarray:
    """Aligned as a detector would that is off by so many pixels of the picture, each point to another side."""
    errors = np.array([[1, 0], [-1, 1], [0, -1], [1, 1], [-1, -1]], np.float32)
    return align(np.asarray(opened(data)), LANDMARKS + off_px * errors)


@pytest.fixture(scope="module")
def portrait(portraits: Portraits) -> bytes:
    return portraits.eileen_collins


@pytest.mark.parametrize("quality", [95, 70, 40])
@pytest.mark.parametrize("off_px", [0.0, 1.5])
def test_a_picture_saved_again_is_the_same(portrait: bytes, quality: int, off_px: float) -> None:
    again = encoded(opened(portrait), quality=quality)
    assert is_same_picture(crop(portrait), crop(again, off_px))


def test_in_another_light_it_is_the_same_too(portrait: bytes) -> None:
    brighter = np.clip(crop(portrait).astype(np.float32) * 0.8 + 20, 0, 255).astype(np.uint8)
    assert is_same_picture(crop(portrait), brighter)


def test_its_mirror_image_is_the_same_only_when_mirrored_back(portrait: bytes) -> None:
    flipped = encoded(opened(portrait).transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=80)
    width = opened(portrait).width
    points = LANDMARKS[[1, 0, 2, 4, 3]] * [-1, 1] + [width - 1, 0]
    other = align(np.asarray(opened(flipped)), points.astype(np.float32))
    assert not is_same_picture(crop(portrait), other)
    assert is_same_picture(crop(portrait), mirrored(other))


@pytest.mark.parametrize("degrees", [12, 45])
def test_a_head_that_has_moved_is_another_picture(portrait: bytes, degrees: float) -> None:
    assert correlation(crop(portrait), crop(turned(portrait, degrees))) < SAME_PICTURE - 0.02


def test_a_crop_with_nothing_in_it_is_like_none(portrait: bytes) -> None:
    empty = np.full((CROP_SIDE, CROP_SIDE, 3), 128, np.uint8)
    assert correlation(crop(portrait), empty) == -1
    assert correlation(empty, empty) == -1


def test_without_the_laying_onto_one_another_a_pixel_would_hide_it(portrait: bytes) -> None:
    moved = cv2.warpAffine(crop(portrait), np.array([[1.02, 0, 1.5], [0, 0.98, -1.5]]), (CROP_SIDE, CROP_SIDE))
    middle = slice(20, -20)
    plain = np.corrcoef(crop(portrait)[middle, middle].ravel(), np.asarray(moved)[middle, middle].ravel())[0, 1]
    assert plain < SAME_PICTURE <= correlation(crop(portrait), np.asarray(moved, np.uint8))
