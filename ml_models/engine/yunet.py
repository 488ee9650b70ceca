"""YuNet's faces in a picture (Wu et al., 2023), by OpenCV's own detector or by the same network in OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import ContractMismatch, InferenceFailed
from .inference import OpenVinoGraph
from .processor import cores
from .types import Image

# cv2.FaceDetectorYN's: boxes that overlap by more are one face, and so many are looked at
_OVERLAP, _MOST = 0.3, 200
_STRIDES = (8, 16, 32)
_PARTS = ("cls", "obj", "bbox", "kps")
# (width, height): looks at a face alone, what most phones' pictures are reduced to, and the squares that apps crop
SIZES = ((160, 160), (320, 320), (480, 640), (640, 480), (512, 512), (640, 640))

# of larger ones a look on two cores takes 0.6 of the time; this one and smaller ones gain nothing
_SMALL = 320 * 320

# so many pictures of this size are looked at together: a face alone, in four turns
TURNS, TURNED_SIZE = 4, (128, 128)

Rows = NDArray[np.float32]
"""A face a row, as cv2.FaceDetectorYN has it: x, y, width, height, five landmarks, score."""


class YuNet(Protocol):
    """Finds faces. Safe to share between threads."""

    engine: str

    def spreads(self, size: tuple[int, int]) -> bool:
        """Whether it makes use of a second thread for a picture of this size, (width, height)."""

    def find(self, image: Image, score_threshold: float, threads: int = 1) -> Rows:
        """
        Args:
            image: RGB, uint8, (H, W, 3).
            score_threshold: faces under this score, in [0, 1], are not reported.
            threads: how many it may use; what it finds is the same, bit for bit.

        Returns: float32 (N, 15), in pixels, the highest score first.

        Raises:
            InferenceFailed: the network did not run, or gave values that are not finite.
        """

    def find_each(self, images: Sequence[Image], score_threshold: float) -> list[Rows]:
        """As `find`, for pictures of one size."""


class OpenCvYuNet:
    """Pictures of any size. cv2.FaceDetectorYN keeps state, so every thread has its own."""

    engine = "opencv"

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._local = threading.local()

    def spreads(self, size: tuple[int, int]) -> bool:
        return False

    def find(self, image: Image, score_threshold: float, threads: int = 1) -> Rows:
        detector = self._detector()
        try:
            detector.setInputSize(image.shape[1::-1])
            detector.setScoreThreshold(score_threshold)
            _, rows = detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise InferenceFailed("The face detector failed.") from error
        return _finite(np.zeros((0, 15), np.float32) if rows is None else rows)

    def find_each(self, images: Sequence[Image], score_threshold: float) -> list[Rows]:
        return [self.find(image, score_threshold) for image in images]

    def _detector(self) -> cv2.FaceDetectorYN:
        detector = getattr(self._local, "detector", None)
        if detector is None:
            level = cv2.utils.logging.getLogLevel()
            # OpenCV 5 warns at every creation of a backend that we do not ask for
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
            try:
                detector = cv2.FaceDetectorYN.create(self._path, "", (320, 320), 0.6, _OVERLAP, _MOST)
            except cv2.error as error:
                raise ContractMismatch("The detector file is not one that OpenCV can run.") from error
            finally:
                cv2.utils.logging.setLogLevel(level)
            self._local.detector = detector
        return detector


class OpenVinoYuNet:
    """Pictures of the sizes it was loaded for. Others go to OpenCV: a network for any size is set up anew for each,
    which takes as long as several looks, and keeps them all in memory.

    Args:
        path: the ONNX file.
        others: finds faces in pictures of other sizes.
        sizes: (width, height), multiples of 32.
        calls: as `OpenVinoGraph` has it.

    Raises:
        ContractMismatch: see `OpenVinoGraph`.
    """

    engine = "openvino"

    def __init__(
        self,
        path: Path | str,
        others: YuNet,
        sizes: Collection[tuple[int, int]] = SIZES,
        calls: int | None = None,
    ) -> None:
        self._others = others
        names = [f"{part}_{stride}" for stride in _STRIDES for part in _PARTS]
        opener = partial(OpenVinoGraph, path, names, calls=calls)
        self._graphs = {(w, h): opener(shape=(1, 3, h, w)) for w, h in sizes}
        self._wide: dict[tuple[int, int], OpenVinoGraph] = {}
        if cores() > 1:
            wide = partial(OpenVinoGraph, path, names, threads=2, calls=cores() // 2)
            self._wide = {(w, h): wide(shape=(1, 3, h, w)) for w, h in sizes if w * h > _SMALL}
        self._turned = opener(shape=(TURNS, 3, *reversed(TURNED_SIZE)))
        self._names = names

    def spreads(self, size: tuple[int, int]) -> bool:
        return size in self._wide

    def find(self, image: Image, score_threshold: float, threads: int = 1) -> Rows:
        size = image.shape[1], image.shape[0]
        graph = (self._wide.get(size) if threads > 1 else None) or self._graphs.get(size)
        if graph is None:
            return self._others.find(image, score_threshold)
        answers = graph.run(cv2.dnn.blobFromImage(image, swapRB=True))
        return _decoded(dict(zip(self._names, answers, strict=True)), size, score_threshold)

    def find_each(self, images: Sequence[Image], score_threshold: float) -> list[Rows]:
        if len(images) != TURNS or images[0].shape[1::-1] != TURNED_SIZE:
            return [self.find(image, score_threshold) for image in images]
        answers = self._turned.run(cv2.dnn.blobFromImages(images, swapRB=True))
        # the network lays the pictures' cells one behind the other
        each = {name: a.reshape(TURNS, 1, -1, a.shape[2]) for name, a in zip(self._names, answers, strict=True)}
        answers_of = ({name: a[place] for name, a in each.items()} for place in range(TURNS))
        return [_decoded(answers, TURNED_SIZE, score_threshold) for answers in answers_of]


def _decoded(answers: Mapping[str, NDArray[np.float32]], size: tuple[int, int], score_threshold: float) -> Rows:
    """What cv2.FaceDetectorYN makes of the network's answers, in its order and its precision: every cell of three grids
    has a score, a box relative to the cell, and landmarks."""
    cls, obj, bbox, kps = (np.concatenate([answers[f"{part}_{stride}"][0] for stride in _STRIDES]) for part in _PARTS)
    score = np.sqrt(cls[:, 0].clip(0, 1) * obj[:, 0].clip(0, 1))
    # `not <`, so that NaN stays, and is refused
    at = np.flatnonzero(~(score < np.float32(score_threshold)))
    cell, stride = (of_all[at] for of_all in _cells(size))
    with np.errstate(over="ignore"):  # refused as not finite
        sides = np.exp(bbox[at, 2:]) * stride
        corner = (cell + bbox[at, :2]) * stride - sides / 2
        landmarks = (kps[at].reshape(-1, 5, 2) + cell[:, None]) * stride[:, None]
    rows = np.concatenate([corner, sides, landmarks.reshape(-1, 10), score[at, None]], axis=1)
    rows = _finite(rows.astype(np.float32, copy=False))
    if len(rows) < 2:
        return rows
    # it takes whole pixels here
    boxes: Sequence[Sequence[int]] = rows[:, :4].astype(int).tolist()
    kept = cv2.dnn.NMSBoxes(boxes, rows[:, 14].tolist(), score_threshold, _OVERLAP, 1.0, _MOST)
    best: Rows = rows[np.asarray(kept, int).ravel()]
    return best


@cache
def _cells(size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each cell is, (x, y) in cells, float32 (N, 2), and how wide it is in pixels, float32 (N, 1)."""
    places, widths = [], []
    for stride in _STRIDES:
        columns, lines = size[0] // stride, size[1] // stride
        at = np.arange(columns * lines)
        places.append(np.stack([at % columns, at // columns], axis=1))
        widths.append(np.full((len(at), 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(widths).astype(np.float32)


def _finite(rows: Rows) -> Rows:
    if not np.isfinite(rows).all():
        raise InferenceFailed("The face detector gave values that are not finite.")
    return rows
