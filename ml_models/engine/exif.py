"""The one EXIF tag that is read: which way up the camera held the picture (CIPA DC-008, tag 0x0112)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np

from .types import Image

_ORIENTATION = 0x0112
# TIFF's types that cameras write the number in, and how many bytes it has: BYTE, SHORT, LONG
_WIDTHS = {1: 1, 3: 2, 4: 4}
# What brings the stored pixels upright, by orientation; numpy takes ten times as long to copy pixels in another order.
_TURNS: dict[int, Callable[[Image], Any]] = {
    2: partial(cv2.flip, flipCode=1),
    3: partial(cv2.rotate, rotateCode=cv2.ROTATE_180),
    4: partial(cv2.flip, flipCode=0),
    5: cv2.transpose,
    6: partial(cv2.rotate, rotateCode=cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: partial(cv2.rotate, rotateCode=cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def orientation(exif: bytes) -> int:
    """The orientation that an EXIF block gives, 1–8; 1 where it gives none. Whatever the bytes are, nothing is raised.

    Only the first directory is looked through, and no offset in it is followed.

    Args:
        exif: a TIFF structure, with or without `Exif\\0\\0` before it.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"]
    match tiff[:2]:
        case b"II":
            order = "little"
        case b"MM":
            order = "big"
        case _:
            return 1

    def number(at: int, width: int) -> int:
        return int.from_bytes(tiff[at : at + width], order)

    directory = number(4, 4)
    entries = directory + 2
    for entry in range(entries, min(entries + 12 * number(directory, 2), len(tiff) - 11), 12):
        if number(entry, 2) == _ORIENTATION:
            value = number(entry + 8, _WIDTHS.get(number(entry + 2, 2), 0))
            return value if 1 <= value <= 8 else 1
    return 1


def turned(image: Image, orientation: int) -> Image:
    """The picture as it is to be looked at.

    Args:
        image: as it is stored, uint8, (H, W, 3).
        orientation: 1–8, as in EXIF.

    Returns: the same pixels, contiguous; (W, H, 3) for 5–8.
    """
    turn = _TURNS.get(orientation)
    return np.ascontiguousarray(turn(image) if turn else image)
