"""The first look at a photo. A large one is made as coarse as its face allows: what follows reads fewer pixels, and
cuts out the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .align import chip_scale
from .decode import Decoded
from .detect import Detector, most_prominent
from .lanes import ONE_LANE, Lanes
from .reduce import halved
from .types import DetectedFace, Image


class Seen(NamedTuple):
    """A picture in sRGB, the faces that were found in it, in its pixels, and how many times it was halved."""

    image: Image
    faces: list[DetectedFace]
    halvings: int


def take(detector: Detector, decoded: Decoded, working_side: int, lanes: Lanes = ONE_LANE) -> Seen:
    """Find the faces in a photo, and halve it as often as the face it is most of keeps as many pixels as its chip has,
    and the photo as many as the detector looks at. One whose longest side is under `working_side` stays as it is: it
    has little to gain.

    Raises:
        InferenceFailed: see `Detector.detect`.
        NoFaceFound: degenerate landmarks.
    """
    halves = [decoded.pixels]
    if max(decoded.pixels.shape[:2]) >= working_side:
        while max(halves[-1].shape[:2]) // 2 >= detector.side:
            halves.append(halved(halves[-1]))
    image = decoded.in_srgb(halves[-1], lanes)
    faces, most = detector.detect(image, lanes=lanes), len(halves) - 1
    times = max(0, most - _too_coarse_by(image, faces))
    if times == most:
        return Seen(image, faces, times)
    finer = halves[times]
    ratio = finer.shape[1] / image.shape[1], finer.shape[0] / image.shape[0]
    return Seen(decoded.in_srgb(finer, lanes), [scaled(face, *ratio) for face in faces], times)


def _too_coarse_by(image: Image, faces: Sequence[DetectedFace]) -> int:
    """By how many halvings, as far as the chip of the face goes that the picture is most of."""
    if not faces:
        return 0
    return max(0, math.ceil(math.log2(chip_scale(most_prominent(faces, image.shape).landmarks))))


def scaled(face: DetectedFace, across: float, down: float) -> DetectedFace:
    """A face in the pixels of the picture made so many times as wide and as high."""
    x, y, width, height = face.box
    # pixel centres, not corners, are what landmarks name
    landmarks = ((face.landmarks + 0.5) * (across, down) - 0.5).astype(np.float32)
    return replace(face, box=(x * across, y * down, width * across, height * down), landmarks=landmarks)
