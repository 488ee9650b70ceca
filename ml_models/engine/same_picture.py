"""Are two faces one picture, saved or cut anew? Told by their pixels, after one is laid onto the other."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .align import CROP_SIDE
from .types import Image

# One picture in another file (JPEG 40 to 95, half the size, mirrored) reaches this in 834 of 840 cases; two pictures of
# people who sat still before a fixed camera, and smiled in the second, reach 0.982 (docs/presentation.md).
SAME_PICTURE = 0.99
# between these scales, in pixels, lies what a face consists of, and neither a file's noise nor the light
_FINE_PX, _COARSE_PX = 1.0, 6.0
# the middle: what is moved in at the edges does not count
_MIDDLE = slice(20, CROP_SIDE - 20)
_TERMINATION = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
_SMOOTHING_PX = 5


def correlation(first: Image, second: Image) -> float:
    """How alike two aligned faces are, after the second is laid onto the first by an affine transform (ECC; Evangelidis
    and Psarakis, 2008): the alignment by landmarks differs by a pixel from file to file of one picture.

    Args:
        first, second: RGB crops, shape (112, 112, 3), 0–255.

    Returns: Pearson's correlation of the band-passed middles, -1 to 1; -1 where no transform is found.
    """
    one, other = _band(first), _band(second)
    try:
        _, onto = cv2.findTransformECC(
            one, other, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, _TERMINATION, None, _SMOOTHING_PX
        )
    except cv2.error:  # it does not converge: they are not alike
        return -1.0
    laid = cv2.warpAffine(other, onto, (CROP_SIDE, CROP_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    middles = np.stack([side[_MIDDLE, _MIDDLE].ravel() for side in (one, laid)])
    if not middles.std(axis=1).all():  # nothing to be seen in one of them
        return -1.0
    return float(np.corrcoef(middles)[0, 1])


def is_same_picture(first: Image, second: Image) -> bool:
    """Whether two crops come of one picture; arguments as in `correlation`."""
    return correlation(first, second) >= SAME_PICTURE


def mirrored(crop: Image) -> Image:
    return np.ascontiguousarray(crop[:, ::-1])


def _band(crop: Image) -> NDArray[np.float32]:
    gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(gray, (0, 0), sigma) for sigma in (_FINE_PX, _COARSE_PX))
    return np.asarray(fine - coarse, np.float32)
