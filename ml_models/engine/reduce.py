"""Pictures made smaller: by whole steps, which average, and the rest by bilinear interpolation. The rest is less than a
half, for which that is good enough, and takes a fifth of an area filter's time."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def fit(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) where the longest side is to have at most `side` pixels; a smaller picture keeps its own."""
    scale = min(1.0, side / max(width, height))
    return max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))


def whole_steps(size: tuple[int, ...], target: tuple[int, int]) -> int:
    """By how much a picture can be reduced in whole pixels without going below the target; (width, height)."""
    return min(size[0] // target[0], size[1] // target[1])


def reduced(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """
    Args:
        pixels: uint8, (H, W) or (H, W, C).
        size: (width, height), not above the picture's own.

    Returns: uint8, of that size; the very same array where it has it.
    """
    if pixels.shape[1::-1] == size:
        return pixels
    by = whole_steps(pixels.shape[1::-1], size)
    if by > 1:
        finer = pixels.shape[1] // by, pixels.shape[0] // by
        pixels = _resized(pixels, finer, cv2.INTER_AREA)
    return _resized(pixels, size, cv2.INTER_LINEAR)


def _resized(pixels: Any, size: tuple[int, int], how: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
