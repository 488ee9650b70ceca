import numpy as np
import pytest

from ml_models.engine.detect import prominence, the_one_face
from ml_models.engine.errors import FaceTooSmall, MultipleFaces, NoFaceFound
from ml_models.engine.types import DetectedFace

SHAPE = (480, 640, 3)


def face(x: float, y: float, side: float) -> DetectedFace:
    """A square face around a point."""
    return DetectedFace((x - side / 2, y - side / 2, side, side), np.zeros((5, 2), np.float32), 0.9)


def test_a_face_alone_is_the_one_wherever_it_is() -> None:
    for only in (face(320, 240, 100), face(60, 60, 100), face(600, 450, 60)):
        assert the_one_face([only], SHAPE, 40, 0.07) is only


def test_two_people_side_by_side_are_refused() -> None:
    with pytest.raises(MultipleFaces, match="2 faces"):
        the_one_face([face(180, 240, 120), face(460, 240, 120)], SHAPE, 40, 0.07)
    with pytest.raises(MultipleFaces, match="2 faces"):
        the_one_face([face(200, 240, 160), face(430, 200, 80)], SHAPE, 40, 0.07)


def test_somebody_at_the_edge_is_a_bystander_even_when_nearer() -> None:
    child, adult = face(325, 245, 110), face(570, 150, 130)
    assert the_one_face([adult, child], SHAPE, 40, 0.07) is child
    with pytest.raises(MultipleFaces):
        the_one_face([adult, child], SHAPE, 40, 0.0)


def test_nobody_and_somebody_too_far_away_are_refused() -> None:
    with pytest.raises(NoFaceFound):
        the_one_face([], SHAPE, 40, 0.07)
    with pytest.raises(FaceTooSmall):
        the_one_face([face(320, 240, 39)], SHAPE, 40, 0.07)


def test_prominence_grows_with_size_and_towards_the_middle() -> None:
    assert prominence(face(320, 240, 120), SHAPE) > prominence(face(320, 240, 100), SHAPE)
    assert prominence(face(320, 240, 100), SHAPE) > prominence(face(380, 240, 100), SHAPE)
