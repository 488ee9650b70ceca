"""Pictures made smaller: by halves, which average, and the rest by bilinear interpolation. The rest is less than a
half, for which that is good enough; an area filter by other steps than halves takes five times as long."""

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


def halvings(size: tuple[int, ...], target: tuple[int, int]) -> int:
    """How many times a picture can be halved without going below the target; (width, height)."""
    return min(size[0] // target[0], size[1] // target[1]).bit_length() - 1


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture half as wide and high, each pixel the mean of four; uint8, (H, W) or (H, W, C), of two pixels at least.
    The last row or column of an odd number is averaged in."""
    return _resized(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), cv2.INTER_AREA)


def reduced(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """
    Args:
        pixels: uint8, (H, W) or (H, W, C).
        size: (width, height), not above the picture's own.

    Returns: uint8, of that size; the very same array where it has it.
    """
    for _ in range(halvings(pixels.shape[1::-1], size)):
        pixels = halved(pixels)
    return pixels if pixels.shape[1::-1] == size else _resized(pixels, size, cv2.INTER_LINEAR)


def _resized(pixels: Any, size: tuple[int, int], how: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
