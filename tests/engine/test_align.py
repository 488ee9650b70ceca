from collections.abc import Callable

import cv2
import numpy as np
import pytest

from ml_models.engine.align import (
    TEMPLATE,
    align,
    decode_chip,
    encode_chip,
    landmark_residual,
    make_chip,
    similarity_transform,
    warp,
    warp_roughly,
)
from ml_models.engine.embed import golden_crops
from ml_models.engine.errors import NoFaceFound
from ml_models.engine.pipeline import chip_crop
from tests.support.processor_time import seconds


def moved(points: np.ndarray, angle_deg: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.radians(angle_deg)
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points @ rotation.T + shift).astype(np.float32)


@pytest.mark.parametrize("angle", [0, 30, -90, 180])
@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_the_transform_undoes_any_rotation_scale_and_shift(angle: float, scale: float) -> None:
    source = moved(TEMPLATE, angle, scale, (40, -7))
    matrix = similarity_transform(source, TEMPLATE)
    np.testing.assert_allclose(source @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-3)
    assert landmark_residual(source) < 1e-3


def test_it_never_mirrors_a_face() -> None:
    mirrored = TEMPLATE * np.array([-1, 1], np.float32)
    matrix = similarity_transform(mirrored, TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("bad", [np.zeros((5, 2)), np.full((5, 2), 7.0), np.full((5, 2), np.nan)])
def test_degenerate_landmarks_are_no_face(bad: np.ndarray) -> None:
    with pytest.raises(NoFaceFound):
        align(np.zeros((50, 50, 3), np.uint8), bad.astype(np.float32))


@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0, 9.0])
def test_a_face_at_any_size_comes_out_the_same(scale: float) -> None:
    crop = golden_crops()[0]
    size = round(112 * scale)
    large = cv2.resize(crop, (size, size), interpolation=cv2.INTER_CUBIC)
    landmarks = ((TEMPLATE + 0.5) * scale - 0.5).astype(np.float32)
    difference = align(large, landmarks).astype(int) - crop
    assert np.abs(difference).mean() < 3


def test_resizing_the_box_instead_of_aligning_gives_another_crop() -> None:
    crop = golden_crops()[0]
    turned = cv2.warpAffine(crop, cv2.getRotationMatrix2D((56, 56), 25, 1.0), (112, 112))
    matrix = cv2.getRotationMatrix2D((56, 56), 25, 1.0)
    landmarks = (TEMPLATE @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    middle = np.s_[30:100, 25:90]
    aligned_error = np.abs(align(turned, landmarks)[middle].astype(int) - crop[middle]).mean()
    resized_error = np.abs(turned[middle].astype(int) - crop[middle]).mean()
    assert aligned_error < 6 < resized_error


def test_a_chip_survives_storage_to_the_bit() -> None:
    image = cv2.resize(golden_crops()[1], (400, 400))
    chip = make_chip(image, (TEMPLATE * 400 / 112).astype(np.float32))
    stored = decode_chip(encode_chip(chip))
    again = decode_chip(encode_chip(stored))

    assert chip.image.shape == (256, 256, 3)
    assert encode_chip(stored) == encode_chip(again)
    np.testing.assert_array_equal(chip_crop(stored), chip_crop(again))
    assert np.abs(chip_crop(stored).astype(int) - chip_crop(chip)).mean() < 2


@pytest.mark.parametrize("data", [b"", b"x" * 40, b"\0" * 200])
def test_bytes_that_are_no_chip_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a face chip"):
        decode_chip(data)


def test_a_much_finer_picture_does_not_alias() -> None:
    stripes = np.zeros((1120, 1120, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = align(stripes, (TEMPLATE * 10).astype(np.float32))[8:-8, 8:-8]
    assert crop.std() < 3
    assert crop.mean() == pytest.approx(127.5, abs=3)


@pytest.mark.parametrize("finer", [0.7, 1.5, 2.0, 3.9, 5.1, 11.0])
def test_the_rough_way_has_everything_in_the_same_place(finer: float) -> None:
    side = round(112 * finer) + 1  # odd or even
    picture = cv2.resize(cv2.GaussianBlur(golden_crops()[0], (9, 9), 3), (side, side)).astype(np.uint8)
    matrix = similarity_transform((TEMPLATE * finer + 3).astype(np.float32), TEMPLATE)
    exact, rough = (way(picture, matrix, 112).astype(int) for way in (warp, warp_roughly))
    assert np.abs(exact - rough)[8:-8, 8:-8].mean() < 1.0
    shifted = np.roll(rough, 1, axis=1)
    assert np.abs(exact - shifted)[8:-8, 8:-8].mean() > 8 * np.abs(exact - rough)[8:-8, 8:-8].mean()


@pytest.mark.parametrize("way", [warp, warp_roughly])
def test_what_no_warp_reads_changes_nothing_and_costs_nothing(
    way: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (700, 901, 3), np.uint8)
    for scale, angle, across, down in rng.uniform((0.1, -3.2, -0.1, -0.1), (0.6, 3.2, 1.1, 1.1), (40, 4)):
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.column_stack([turn, 56 - turn @ (across * 901, down * 700)])
        # the smaller square is the larger one's corner
        np.testing.assert_array_equal(way(picture, matrix, 112), way(picture, matrix, 1000)[:112, :112])

    large = np.zeros((4000, 4000, 3), np.uint8)
    beginning = np.array([[0.3, 0, 0], [0, 0.3, 0]])
    assert seconds(lambda: way(large, beginning, 112)) < seconds(lambda: way(large, beginning, 1200)) / 4
