"""Which way a head is turned, and which steps frames show."""

import math

import numpy as np
import pytest

from ml_models.engine.align import TEMPLATE
from ml_models.engine.turns import STEPS, turn, unlike_steps


def nose_moved(eye_distances: float) -> np.ndarray:
    landmarks = TEMPLATE.copy()
    landmarks[2, 0] += eye_distances * np.hypot(*(TEMPLATE[1] - TEMPLATE[0]))
    return landmarks


def test_a_nose_to_the_right_of_the_picture_is_a_turn_to_the_own_left_in_any_roll_and_scale() -> None:
    assert abs(turn(TEMPLATE)) < 0.05
    left = nose_moved(0.5)
    assert turn(left) == pytest.approx(1.0, abs=0.05)  # along the eyes, and along the mouth
    assert turn(nose_moved(-0.5)) == pytest.approx(-1.0, abs=0.05)
    rolled = 3 * left @ np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32)
    assert turn(rolled) == pytest.approx(turn(left), abs=1e-4)


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        ((0.42, 0.46, -0.46), []),
        ((0.43, 0.45, -0.44), [("not_straight", 0), ("not_turned_left", 1), ("not_turned_right", 2)]),
        ((0.0, 1.8, -1.8), []),
        # the far eye is hidden: landmarks and sign are not to be relied on
        ((0.0, 1.81, -1.81), [("turned_too_far", 1), ("turned_too_far", 2)]),
        ((0.0, 1.0, 1.0), [("not_turned_right", 2)]),
        ((0.0, -1.0, 1.0), [("mirrored_camera", None)]),
        ((math.nan, math.nan, -1.0), [("not_straight", 0), ("not_turned_left", 1)]),
    ],
)
def test_each_frame_that_does_not_show_its_step_is_named(
    turns: tuple[float, ...], found: list[tuple[str, int | None]]
) -> None:
    assert [(reason.code, reason.frame) for reason in unlike_steps(turns, STEPS)] == found
