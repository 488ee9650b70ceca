"""Could the frames of one attempt be of one camera, place and moment? Told by the size and the colour of the face."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import Reason
from .pipeline import chip_crop
from .types import Extraction, Image

# 320 attempts of 40 people before a studio's cameras reach 1.21 and 5.3; a phone's hand and white balance have room.
# Of 280 attempts with pictures from different days 254 are refused (docs/decisions/continuity.md).
_SIZES_MOST = 1.5
_COLOURS_MOST = 14.0
# of an aligned face: from the eyes to the mouth, of the front as of three quarters
_SKIN = (slice(44, 92), slice(36, 76))


def breaks(frames: Sequence[Extraction]) -> tuple[Reason, ...]:
    """The frames that are unlike an earlier one, a reason for each; empty where none is."""
    colours = [colour(chip_crop(frame.chip)) for frame in frames]
    reasons = []
    for first, second in combinations(range(len(frames)), 2):
        if size_ratio(frames[first], frames[second]) > _SIZES_MOST:
            text = "keep the same distance to the camera in every picture"
            reasons.append(Reason("distance_changed", text, frame=second))
        if np.linalg.norm(colours[first] - colours[second]) > _COLOURS_MOST:
            reasons.append(Reason("colour_changed", "stay in the same light in every picture", frame=second))
    return tuple(dict.fromkeys(reasons))


def size_ratio(first: Extraction, second: Extraction) -> float:
    """The larger face's side in its picture over the smaller one's, in pixels; from 1 on."""
    sides = first.quality.face_px, second.quality.face_px
    return max(sides) / max(min(sides), 1.0)


def colour(crop: Image) -> NDArray[np.float32]:
    """The skin's mean chromaticity, a* and b* of CIELAB, which follow the light's colour and not its strength.

    Args:
        crop: an aligned face, RGB, uint8, shape (112, 112, 3).

    Returns: shape (2,).
    """
    lab = cv2.cvtColor(crop[_SKIN].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab[..., 1:].reshape(-1, 2).mean(axis=0), np.float32)
