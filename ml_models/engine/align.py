"""Five landmarks → the crops the networks were trained on. Pure geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import NoFaceFound
from .types import Chip, Image, Landmarks

ALIGNMENT_ID = "arcface5-112"
CROP_SIDE = 112
# The stored chip is the crop at twice the scale with a margin, so that another alignment can be cut from it later.
CHIP_SIDE = 256
CHIP_SCALE = 2.0
CHIP_MARGIN = (CHIP_SIDE - CHIP_SCALE * CROP_SIDE) / 2

# Where ArcFace's training crops have the landmarks, in a 112×112 crop (Deng et al., 2019, "insightface" template).
TEMPLATE: Landmarks = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)


def similarity_transform(source: Landmarks, target: Landmarks) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring `source` nearest to `target` (Umeyama, 1991, eq. 40–42).

    Args:
        source, target: points in pixels, shape (N, 2).

    Returns: matrix, float64, shape (2, 3).

    Raises:
        NoFaceFound: the points coincide or are not finite.
    """
    src, dst = source.astype(np.float64), target.astype(np.float64)
    if not np.isfinite(src).all():
        raise NoFaceFound("The landmarks of the face are not usable.")
    src_mean, dst_mean = src.mean(0), dst.mean(0)
    a, b = src - src_mean, dst - dst_mean
    variance = (a**2).sum() / len(src)
    if variance < 1e-6:
        raise NoFaceFound("The landmarks of the face coincide.")
    u, s, vt = np.linalg.svd(b.T @ a / len(src))
    mirror = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = (u * mirror) @ vt
    scale = (s * mirror).sum() / variance
    if scale < 1e-9:
        raise NoFaceFound("The landmarks of the face are degenerate.")
    shift = dst_mean - scale * rotation @ src_mean
    return np.column_stack([scale * rotation, shift])


def landmark_residual(landmarks: Landmarks) -> float:
    """Root mean square distance from the aligned landmarks to the template, in pixels of the 112×112 crop."""
    matrix = similarity_transform(landmarks, TEMPLATE)
    aligned = landmarks @ matrix[:, :2].T + matrix[:, 2]
    return float(np.sqrt(((aligned - TEMPLATE) ** 2).sum(1).mean()))


def align(image: Image, landmarks: Landmarks) -> Image:
    """Warp a face onto the ArcFace template (Deng et al., 2019).

    Args:
        image: RGB, shape (H, W, 3), 0–255.
        landmarks: left eye, right eye, nose, left and right mouth corner, in pixels, shape (5, 2).

    Returns: RGB crop, shape (112, 112, 3).

    Raises:
        NoFaceFound: the five points are degenerate.
    """
    return warp(image, similarity_transform(landmarks, TEMPLATE), CROP_SIDE)


def close_up(landmarks: Landmarks, side: int, share: float) -> NDArray[np.float64]:
    """The warp to a square of `side` pixels with the face upright in its middle, of which the crop's frame fills
    `share`, shape (2, 3).

    Raises:
        NoFaceFound: the five points are degenerate.
    """
    return similarity_transform(landmarks, (TEMPLATE - CROP_SIDE / 2) * (side * share / CROP_SIDE) + side / 2)


def chip_scale(landmarks: Landmarks) -> float:
    """How many pixels of the stored chip one of the picture becomes.

    Raises:
        NoFaceFound: the five points are degenerate.
    """
    matrix = _to_chip(landmarks)
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def make_chip(image: Image, landmarks: Landmarks) -> Chip:
    """Cut the face out as it is stored: RGB, shape (256, 256, 3), upright, with its landmarks in chip pixels.

    Raises:
        NoFaceFound: the five points are degenerate.
    """
    matrix = _to_chip(landmarks)
    moved = (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return Chip(warp(image, matrix, CHIP_SIDE), moved)


def _to_chip(landmarks: Landmarks) -> NDArray[np.float64]:
    return similarity_transform(landmarks, TEMPLATE * CHIP_SCALE + CHIP_MARGIN)


def warp(image: Image, matrix: NDArray[np.float64], side: int) -> Image:
    """Bilinear warp to a square of `side` pixels; a source more than twice as fine is first reduced by area, or it
    would alias."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        size = (
            max(1, round(image.shape[1] * scale)),
            max(1, round(image.shape[0] * scale)),
        )
        ratio = np.array([size[0] / image.shape[1], size[1] / image.shape[0]])
        # pixel centres, not corners, are what cv2's coordinates name
        offset = matrix[:, :2] @ (0.5 / ratio - 0.5)
        matrix = np.column_stack([matrix[:, :2] / ratio, matrix[:, 2] + offset])
        # what lies below and right of the face is left out; without what lies above and left, others would be averaged
        right, bottom = _reach(matrix, side, size)[1]
        image = image[: math.ceil((bottom + 1) / ratio[1]), : math.ceil((right + 1) / ratio[0])]
        image = cv2.resize(image, None, fx=ratio[0], fy=ratio[1], interpolation=cv2.INTER_AREA)
    return _warped(image, matrix, side)


def warp_roughly(image: Image, matrix: NDArray[np.float64], side: int) -> Image:
    """As `warp`, several times as quick where the source is much finer: it is reduced by leaving pixels out and
    averaging each two that stay. For a look that landmarks are wanted of, not for a crop that is embedded."""
    times = int(1 / np.hypot(matrix[0, 0], matrix[1, 0]))
    if times > 1:
        step = times // 2
        half = [max(1, math.ceil(length / step) // 2) for length in image.shape[1::-1]]
        # what two pixels have become lies in the middle between them
        between = matrix[:, :2] @ np.full(2, step / 2)
        matrix = np.column_stack([matrix[:, :2] * 2 * step, matrix[:, 2] + between])
        image = _drawn_roughly(image, step, half, matrix, side)
    return _warped(image, matrix, side)


def _drawn_roughly(image: Image, step: int, size: Sequence[int], matrix: NDArray[np.float64], side: int) -> Image:
    """Every `step`-th pixel, and each two of those averaged; `size` is (width, height). Only what a warp to a square of
    `side` pixels reads is drawn, for a face is a small part of a phone's picture; the rest is whatever memory held."""
    (left, top), (right, bottom) = _reach(matrix, side, size)
    drawn: Image = np.empty((size[1], size[0], 3), np.uint8)
    if left < right and top < bottom:
        region = image[2 * step * top : 2 * step * bottom, 2 * step * left : 2 * step * right]
        region = _every(region, step)[: 2 * (bottom - top), : 2 * (right - left)]
        target = drawn[top:bottom, left:right]
        target[:] = cv2.resize(region, target.shape[1::-1], interpolation=cv2.INTER_AREA)
    return drawn


def _reach(matrix: NDArray[np.float64], side: int, size: Sequence[int]) -> NDArray[np.int_]:
    """What a warp to a square of `side` pixels reads of a picture of this size, (width, height): from the first (x, y)
    to before the second, in pixels, shape (2, 2)."""
    square = np.array([[0, 0], [side, 0], [0, side], [side, side]])
    corners = (square - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    # the warp averages each pixel with its neighbours, and rounds
    reach: NDArray[np.int_] = np.clip([corners.min(0) - 2, corners.max(0) + 3], 0, size).astype(int)
    return reach


def _every(image: Image, step: int) -> Any:
    """`image[::step, ::step]`, which takes four times as long to copy."""
    height, width = image.shape[:2]
    if height % step or width % step:
        return image[::step, ::step]
    return cv2.resize(image, (width // step, height // step), interpolation=cv2.INTER_NEAREST)


def _warped(image: Image, matrix: NDArray[np.float64], side: int) -> Image:
    warped = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    crop: Image = warped.astype(np.uint8, copy=False)
    return crop


def encode_chip(chip: Chip) -> bytes:
    """A chip as bytes: ten float32 landmarks, little-endian, then a JPEG (quality 95, 4:4:4). A chip that was decoded
    gives the bytes it came from: encoding twice would lose twice."""
    if chip.encoded is not None:
        return chip.encoded
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(chip.image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError("The chip could not be encoded.")
    return chip.landmarks.astype("<f4").tobytes() + jpeg.tobytes()


def decode_chip(data: bytes) -> Chip:
    """What `encode_chip` wrote.

    Raises:
        ValueError: the bytes are not a chip.
    """
    if len(data) <= 40:
        raise ValueError("The bytes are not a face chip.")
    landmarks = np.frombuffer(data[:40], "<f4").reshape(5, 2).astype(np.float32)
    bgr = cv2.imdecode(np.frombuffer(data[40:], np.uint8), cv2.IMREAD_COLOR)
    if bgr is None or bgr.shape != (CHIP_SIDE, CHIP_SIDE, 3):
        raise ValueError("The bytes are not a face chip.")
    rgb: Image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8)
    return Chip(rgb, landmarks, data)
