"""A large picture is halved as far as its face allows, and no further."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml_models.engine import first_look
from ml_models.engine.align import TEMPLATE, make_chip
from ml_models.engine.decode import Decoded
from ml_models.engine.detect import Detector
from ml_models.engine.errors import NoFaceFound
from ml_models.engine.types import DetectedFace, Image

WIDTH, HEIGHT = 2701, 1800
SMALL = DetectedFace((5, 5, 112, 112), TEMPLATE + 5, 0.9)


class Finds(Detector):
    """Finds the same faces of a picture of WIDTH by HEIGHT, however much of it is left."""

    def __init__(self, *faces: DetectedFace) -> None:
        self._faces, self._side, self.looked_at = faces, 640, (0, 0)

    def detect(self, image: Image, *of: Any, **options: Any) -> list[DetectedFace]:
        height, width = self.looked_at = image.shape[:2]
        return [first_look.scaled(face, width / WIDTH, height / HEIGHT) for face in self._faces]


def face(times: float) -> DetectedFace:
    """So many times as large as in the crop of 112 pixels; the chip is twice as fine as that crop."""
    side = 112 * times
    return DetectedFace((900, 300, side, side), (TEMPLATE * times + (900, 300)).astype(np.float32), 0.9)


@pytest.fixture(scope="module")
def scene() -> Image:
    """Smooth, and everywhere another."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    levels = [x * 255 / WIDTH, y * 255 / HEIGHT, 127 + 90 * np.sin(x / 90 + y / 70)]
    return np.stack(levels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize(("times", "halvings"), [(1.0, 0), (3.9, 0), (4.1, 1), (7.9, 1), (8.2, 2), (13.0, 2)])
def test_the_chip_is_never_cut_from_fewer_pixels_than_it_has(scene: Image, times: float, halvings: int) -> None:
    detector, there = Finds(SMALL, face(times)), face(times)
    seen = first_look.take(detector, Decoded(scene), working_side=1600)
    assert seen.halvings == halvings
    assert seen.image.shape == (HEIGHT >> halvings, WIDTH >> halvings, 3)
    assert detector.looked_at == (450, 675)  # its 640 pixels at least
    found = seen.faces[1]
    assert min(found.box[2:]) == pytest.approx(112 * times / 2**halvings, rel=0.01)
    whole, chip = make_chip(scene, there.landmarks), make_chip(seen.image, found.landmarks)
    assert np.abs(whole.landmarks - chip.landmarks).max() < 0.2
    # a shift of one pixel of the chip would be five times as much
    assert np.abs(whole.image.astype(int) - chip.image).mean() < 0.2 * max(1.0, times / 4)
    back = first_look.scaled(found, WIDTH / seen.image.shape[1], HEIGHT / seen.image.shape[0])
    assert np.abs(back.landmarks - there.landmarks).max() < 0.01


def test_a_picture_under_the_working_side_stays_as_it_is(scene: Image) -> None:
    detector = Finds(face(13.0))
    seen = first_look.take(detector, Decoded(scene), working_side=2702)
    assert seen.image is scene
    assert detector.looked_at == (HEIGHT, WIDTH)
    assert first_look.take(detector, Decoded(scene), working_side=2701).halvings == 2


def test_a_picture_without_faces_is_as_coarse_as_the_detector_takes_it(scene: Image) -> None:
    assert first_look.take(Finds(), Decoded(scene), working_side=1600).halvings == 2


def test_landmarks_that_coincide_are_no_face(scene: Image) -> None:
    nowhere = replace(face(5.0), landmarks=np.ones((5, 2), np.float32))
    with pytest.raises(NoFaceFound):
        first_look.take(Finds(nowhere), Decoded(scene), working_side=1600)
