"""A picture and the face in it, which a stress changes; and what a stress lays over that face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engine.align import CROP_SIDE, TEMPLATE, similarity_transform
from ...engine.types import Image, Landmarks

Points = NDArray[np.float64] | Sequence[tuple[float, float]]
"""An outline in the pixels of the 112×112 template, shape (N, 2)."""
Paint = NDArray[np.float32]
"""RGB, 0–255: one colour, (3,), or one for each pixel of a layer, (H, W, 3)."""

# What is laid over a face may reach this far beyond the template's crop: a hat, a scarf.
_MARGIN = 56


@dataclass(frozen=True, slots=True)
class Scene:
    """`image` RGB, uint8, (H, W, 3); `eye_px` the distance between the eyes, at least a quarter of the face's height,
    for in a profile the eyes lie behind each other."""

    image: Image
    landmarks: Landmarks
    eye_px: float

    @classmethod
    def of(cls, image: Image, landmarks: Landmarks) -> Scene:
        eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
        # the template's eyes are 0.87 as far apart as the mouth is below them
        height = float(np.hypot(*(mouth - eyes)))
        return cls(image, landmarks, max(float(np.hypot(*(landmarks[1] - landmarks[0]))), 0.87 * height, 1.0))


class Layer:
    """Shapes drawn over the face, one over the other, in the pixels of the template; `laid_over` puts them on it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        # drawn twice as fine as the picture has it, at most at four template pixels to one
        self._scale = float(np.clip(2 * scene.eye_px / 35.2, 1.0, 4.0))
        side = round((CROP_SIDE + 2 * _MARGIN) * self._scale)
        self._colour = np.zeros((side, side, 3), np.float32)
        self._opacity = np.zeros((side, side), np.float32)

    @property
    def xy(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of each of the layer's pixels, its place in the template: x and y, (H, W) each."""
        along = np.arange(len(self._opacity), dtype=np.float32) / np.float32(self._scale) - _MARGIN
        x, y = np.meshgrid(along, along)
        return x, y

    def fill(self, outline: Points, paint: Paint, opacity: float | NDArray[np.float32] = 1.0) -> None:
        """Fill a shape; `opacity` in [0, 1], one number or (H, W)."""
        drawn, shape = self._drawn(outline), np.zeros(self._opacity.shape, np.uint8)
        cv2.fillPoly(shape, [drawn], 255, cv2.LINE_AA, 4)
        self._lay(shape, drawn, 2, paint, opacity)

    def line(self, points: Points, width: float, paint: Paint, closed: bool = False) -> None:
        """Draw a line `width` template pixels wide."""
        drawn, shape = self._drawn(points), np.zeros(self._opacity.shape, np.uint8)
        thickness = max(1, round(width * self._scale))
        cv2.polylines(shape, [drawn], closed, 255, thickness, cv2.LINE_AA, 4)
        self._lay(shape, drawn, thickness + 2, paint, 1.0)

    def _drawn(self, points: Points) -> NDArray[np.int32]:
        # shift 4: sixteenths of a pixel
        return np.round((np.asarray(points, np.float64) + _MARGIN) * self._scale * 16).astype(np.int32)

    def _lay(
        self, shape: Image, drawn: NDArray[np.int32], around: int, paint: Paint, opacity: float | NDArray[np.float32]
    ) -> None:
        (left, top), (right, bottom) = drawn.min(0) // 16 - around, drawn.max(0) // 16 + around
        part = np.s_[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        alpha = shape[part].astype(np.float32) / 255 * (opacity[part] if isinstance(opacity, np.ndarray) else opacity)
        # the colour is kept multiplied by the opacity, so that it can be warped
        laid = (paint[part] if paint.ndim == 3 else paint) * alpha[..., None]
        self._colour[part] = self._colour[part] * (1 - alpha[..., None]) + laid
        self._opacity[part] = self._opacity[part] * (1 - alpha) + alpha

    def laid_over(self) -> Image:
        """The scene's picture under the layer, which is shaded by the face's own light."""
        image, landmarks = self._scene.image, self._scene.landmarks
        matrix = similarity_transform(TEMPLATE, landmarks)
        to_template = np.diag([1 / self._scale, 1 / self._scale, 1.0])
        to_template[:2, 2] = -_MARGIN
        matrix = matrix @ to_template
        size = image.shape[1], image.shape[0]
        colour, opacity = (cv2.warpAffine(side, matrix, size) for side in (self._colour, self._opacity))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        reach = round(self._scene.eye_px) | 1
        shade = cv2.blur(cv2.blur(grey, (reach, reach)), (reach, reach))
        covered = opacity > 0
        mean = float(shade[covered].mean()) if covered.any() else 1.0
        lit = np.clip(shade / max(mean, 1.0), 0.4, 1.6)[..., None]
        laid = colour * lit + (1 - opacity[..., None]) * image
        return np.asarray(np.clip(laid, 0, 255).round(), np.uint8)
