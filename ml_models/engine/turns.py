"""Which way a head is turned, told by five landmarks, and whether frames show the steps of a challenge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from .errors import Reason
from .types import Landmarks

Step = Literal["front", "left", "right"]
"""`left` and `right` are the subject's own, in a picture that is not mirrored: who turns to the left shows the nose
further to the right in the picture."""
STEPS: tuple[Step, ...] = get_args(Step)

# In units of `turn`, from the development pictures (docs/presentation.md): frontal ones lie within ±0.41, three-quarter
# views have 0.59 to 1.42. Beyond the last limit the far eye is hidden, and landmarks and sign are not to be relied on.
_FRONT_MOST, _TURNED_LEAST, _TURNED_MOST = 0.42, 0.45, 1.8

_TEXTS = {
    "front": ("not_straight", "look straight into the camera"),
    "left": ("not_turned_left", "turn the head further to your left"),
    "right": ("not_turned_right", "turn the head further to your right"),
}


def turn(landmarks: Landmarks) -> float:
    """How far a head is turned: where the nose tip lies along the line of the eyes, from their middle, plus the same
    for the corners of the mouth, in eye distances.

    Args:
        landmarks: shape (5, 2), in pixels, in any turn and scale of the picture.

    Returns: about 0 from the front; positive to the subject's left in a picture that is not mirrored.
    """
    left, right, nose, mouth_l, mouth_r = landmarks.astype(np.float64)
    eye_distance = max(float(np.hypot(*(right - left))), 1e-6)

    def along(a: np.ndarray, b: np.ndarray) -> float:
        length = max(float(np.hypot(*(b - a))), 1e-6)
        return float((nose - (a + b) / 2) @ (b - a)) / length / eye_distance

    return along(left, right) + along(mouth_l, mouth_r)


def unlike_steps(turns: Sequence[float], steps: Sequence[Step]) -> tuple[Reason, ...]:
    """What the frames do not show of the steps, a reason for each frame; empty when they show all.

    Args:
        turns: from `turn`, one of each frame.
        steps: what each was asked for.
    """
    sides = [(value, step) for value, step in zip(turns, steps, strict=True) if step != "front"]
    if sides and all(_shown(-value) == step for value, step in sides):
        text = "the camera's picture is mirrored: send the one that is not"
        return (Reason("mirrored_camera", text),)
    return tuple(
        _reason(value, step, frame)
        for frame, (value, step) in enumerate(zip(turns, steps, strict=True))
        if _shown(value) != step
    )


def _shown(value: float) -> Step | None:
    if abs(value) <= _FRONT_MOST:
        return "front"
    if not (math.isfinite(value) and _TURNED_LEAST < abs(value) <= _TURNED_MOST):
        return None
    return "left" if value > 0 else "right"


def _reason(value: float, step: Step, frame: int) -> Reason:
    if step != "front" and abs(value) > _TURNED_MOST:
        return Reason("turned_too_far", "turn the head less far: both eyes must be seen", frame=frame)
    code, text = _TEXTS[step]
    return Reason(code, text, frame=frame)
