"""Where the faces are, and whose picture it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .align import CROP_SIDE, close_up, warp_roughly
from .errors import ContractMismatch, FaceTooSmall, InferenceFailed, MultipleFaces, NoFaceFound
from .lanes import ONE_LANE, Lanes
from .reduce import reduced
from .types import DetectedFace, Image, Landmarks
from .yunet import OpenCvYuNet, Rows, YuNet

LANDMARKS_ID = "yunet-turned-5"
"""Named in the digest of what was measured: other landmarks, other crops."""

# Looks at the face alone, turned upright: small ones find out how it is turned, large ones where exactly its landmarks
# are (docs/decisions/landmarks-twice.md). The crop's frame fills this part of each.
_LOOKS = (
    # side in pixels, at most so many, until the landmarks move by less, in pixels of the 112×112 crop
    (160, 4, 5.0),
    (320, 3, 7.0),
)
_FACE_SHARE = 0.7


class Settled(NamedTuple):
    """`face` with the landmarks of the last look; `mean_score`, in [0, 1], of the look at the picture, the last small
    one and the last large one: 0 for a look that saw nobody in the middle."""

    face: DetectedFace
    mean_score: float


class Detector:
    """YuNet (Wu et al., 2023). Safe to share between threads.

    Args:
        path: the ONNX file.
        side: longest side in pixels the picture is reduced to before detection.
        score_threshold: faces under this detector score, in [0, 1], are not reported.
        network: what runs the file; OpenCV when None.
    """

    def __init__(
        self, path: Path | str, side: int = 640, score_threshold: float = 0.6, network: YuNet | None = None
    ) -> None:
        self._network = network or OpenCvYuNet(path)
        self._side = side
        self._score_threshold = score_threshold

    @property
    def side(self) -> int:
        """The longest side that it looks at, in pixels."""
        return self._side

    @property
    def engine(self) -> str:
        """The name of what runs it."""
        return self._network.engine

    def warm_up(self) -> None:
        """Load the network in this thread and run it once.

        Raises:
            ContractMismatch: OpenCV cannot run the file, or it is not a YuNet.
        """
        try:
            self.detect(np.zeros((64, 64, 3), dtype=np.uint8))
        except InferenceFailed as error:
            raise ContractMismatch("The detector file is not one that OpenCV can run.") from error

    def settle(self, image: Image, face: DetectedFace) -> Settled:
        """Look again at one face, each time turned upright by the landmarks so far, until they hardly move.

        YuNet was trained on upright faces: of one tilted by 30° it gives landmarks that are nearly level, and the crop
        that they make matches nobody. Turned by what little tilt it saw, it sees the rest.

        Args:
            image: RGB, uint8, (H, W, 3).
            face: one of `detect`'s.

        Returns: the same face with better landmarks; box and score stay those of the first look. A look that finds
            nobody in the middle changes nothing.

        Raises:
            NoFaceFound: degenerate landmarks.
            InferenceFailed: see `detect`.
        """
        landmarks, scores = face.landmarks, [face.score]
        for side, most, settled_px in _LOOKS:
            score = 0.0
            for _ in range(most):
                landmarks, moved_px, score = self._look(image, landmarks, side)
                if moved_px < settled_px:
                    break
            scores.append(score)
        return Settled(replace(face, landmarks=landmarks), sum(scores) / len(scores))

    def _look(self, image: Image, landmarks: Landmarks, side: int) -> tuple[Landmarks, float, float]:
        """The landmarks as they are seen in a square of so many pixels, by how much one moved at most, in pixels of the
        crop, and the detector's score there."""
        matrix = close_up(landmarks, side, _FACE_SHARE)
        faces = self.detect(warp_roughly(image, matrix, side))
        nearest = min(faces, key=partial(off_centre, side=side), default=None)
        if nearest is None or off_centre(nearest, side) > side / 4:
            return landmarks, 0.0, 0.0  # nobody, or somebody else
        seen = nearest.landmarks
        moved = float(np.abs(seen - (landmarks @ matrix[:, :2].T + matrix[:, 2])).max())
        back = cv2.invertAffineTransform(matrix)
        landmarks = (seen @ back[:, :2].T + back[:, 2]).astype(np.float32)
        return landmarks, moved / (side * _FACE_SHARE / CROP_SIDE), nearest.score

    def detect(self, image: Image, score_threshold: float | None = None, lanes: Lanes = ONE_LANE) -> list[DetectedFace]:
        """Find faces.

        Args:
            image: RGB, uint8, (H, W, 3).
            score_threshold: for this picture; the detector's own when None.
            lanes: where a second core is idle, the network may use that, too; what it finds is the same, bit for bit.

        Returns: faces in pixels of `image`, largest box first.

        Raises:
            InferenceFailed: the network did not run, or gave values that are not finite.
        """
        height, width = image.shape[:2]
        scale = min(1.0, self._side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = reduced(image, size)
        threshold = self._score_threshold if score_threshold is None else score_threshold
        find = partial(self._network.find, small, threshold)
        rows = lanes.spread(find) if self._network.spreads(size) else find()
        return _faces(rows, (width / size[0], height / size[1]))

    def detect_each(self, images: Sequence[Image], score_threshold: float) -> list[list[DetectedFace]]:
        """As `detect`, for several pictures of one size that need not be reduced."""
        return [_faces(rows, (1.0, 1.0)) for rows in self._network.find_each(images, score_threshold)]


def _faces(rows: Rows, scale: tuple[float, float]) -> list[DetectedFace]:
    """Largest box first."""
    ratio = np.array(scale, dtype=np.float32)
    faces = [
        DetectedFace(
            box=(
                float(row[0] * ratio[0]),
                float(row[1] * ratio[1]),
                float(row[2] * ratio[0]),
                float(row[3] * ratio[1]),
            ),
            landmarks=(row[4:14].reshape(5, 2) * ratio).astype(np.float32),
            score=float(row[14]),
        )
        for row in rows
    ]
    return sorted(faces, key=lambda face: face.area, reverse=True)


def off_centre(face: DetectedFace, side: int) -> float:
    """How far from the middle of a square picture it is, in pixels."""
    return math.dist(face.middle, (side / 2, side / 2))


# How fast prominence falls with the distance from the middle, in halves of the picture's shorter side; fitted on LFW,
# where the person meant is in the middle: docs/decisions/one-face.md.
_CENTRED = 0.1
# A face of at least this part of the chosen one's area is nobody behind in the queue, wherever it is: boxes come out a
# little too wide or too narrow, so that of two faces as alike as this either may be the larger one.
_AS_LARGE = 0.8


def prominence(face: DetectedFace, shape: tuple[int, ...]) -> float:
    """How much the picture is of this face: its area over how far from the middle it is.

    Args:
        shape: of the picture, (H, W, …).

    Returns: square pixels, weighted by 1 / (1 + (d / 0.1)²), d being the distance of the face's middle from the
        picture's in halves of the shorter side.
    """
    height, width = shape[:2]
    distance = math.dist(face.middle, (width / 2, height / 2)) / (min(height, width) / 2)
    return face.area / (1 + (distance / _CENTRED) ** 2)


def most_prominent(faces: Sequence[DetectedFace], shape: tuple[int, ...]) -> DetectedFace:
    """The face that a picture of this shape, (H, W, …), is most of; there must be one."""
    return max(faces, key=lambda face: prominence(face, shape))


def the_one_face(
    faces: Sequence[DetectedFace], shape: tuple[int, ...], min_face_px: float, bystander_ratio: float
) -> DetectedFace:
    """The exactly-one-face policy: the picture is of one person, or it is refused.

    Args:
        faces: in any order.
        shape: of the picture, (H, W, …).
        min_face_px: the shorter side a face must have, in pixels.
        bystander_ratio: a second face is ignored when it is clearly smaller and its prominence is under this part of
            the first one's: somebody behind in the queue, or at the picture's edge. All others are ignored when inf.

    Raises:
        NoFaceFound, FaceTooSmall, MultipleFaces
    """
    if not faces:
        raise NoFaceFound("No face was found. Take the picture from nearer, with the face upright and in the light.")
    first = most_prominent(faces, shape)
    least = bystander_ratio * prominence(first, shape)
    # of a print in the middle and a face as large beside it, the print is not who was meant
    others = sum(
        prominence(face, shape) >= least or (face.area >= _AS_LARGE * first.area and math.isfinite(bystander_ratio))
        for face in faces
        if face is not first
    )
    if others:
        raise MultipleFaces(f"{others + 1} faces were found. Only one person may be in the picture.")
    if min(first.box[2], first.box[3]) < min_face_px:
        raise FaceTooSmall("The face is too small. Take the picture from nearer.")
    return first
