"""The one EXIF tag that is read: which way up the camera held the picture (CIPA DC-008, tag 0x0112)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .types import Image

_ORIENTATION = 0x0112
# TIFF's types that cameras write the number in, and how many bytes it has: BYTE, SHORT, LONG
_WIDTHS = {1: 1, 3: 2, 4: 4}


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
    if orientation >= 5:  # stored with rows and columns exchanged
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
