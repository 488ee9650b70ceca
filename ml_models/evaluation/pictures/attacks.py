"""Presentation attacks made from pictures: seeded, drawn by a pinhole camera.

WEAK evidence: a real print, screen and camera differ from these in ways that a network sees. What they show is
geometry: how far the landmarks of a flat or bent picture move when it is turned before the camera.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engine.align import TEMPLATE, similarity_transform
from ...engine.types import Image
from .scene import Scene

REVISION = 1
"""Raise it when a picture comes out otherwise, so that figures are not compared across it."""

# A sheet as wide as this, held so far away, fills this part of the camera's picture.
_WIDTH_CM, _DISTANCE_CM, _SHARE, _SIDE = 20.0, 40.0, 0.8, 640
_GROUND = (96, 104, 110)
# In pixels of the 112×112 template: middle and half axes of a head with its hair; half axes of a hole for an eye.
_HEAD, _HEAD_HALF = np.array([56.0, 56.0], np.float32), np.array([44.0, 66.0], np.float32)
_EYE_HALF = np.array([10.0, 5.5], np.float32)


def held(picture: Image, yaw_deg: float = 0.0, pitch_deg: float = 0.0, radius_cm: float = math.inf) -> Image:
    """A picture held before a camera, flat or bent about its upright middle line, then turned.

    Args:
        picture: RGB, uint8, (H, W, 3); its longer side becomes 20 cm. A fourth channel, 0–255, is 0 where the sheet was
            cut away.
        yaw_deg, pitch_deg: how the sheet is turned; 0, 0 faces the camera.
        radius_cm: of the cylinder that it is bent to, towards the camera; inf for flat.

    Returns: RGB, uint8, (640, 640, 3), the sheet on grey.
    """
    rows, columns = picture.shape[:2]
    focal = _SHARE * _SIDE * _DISTANCE_CM / _WIDTH_CM
    y, x = (np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float64) - (_SIDE - 1) / 2) / focal
    turn = _turned(yaw_deg, pitch_deg)
    # the camera and its rays, as the sheet sees them: the sheet lies about 0, the camera at negative z
    camera = turn.T @ np.array([0.0, 0.0, -_DISTANCE_CM])
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ turn
    across, down, seen = _met(camera, rays, radius_cm)
    scale = max(rows, columns) / _WIDTH_CM
    u, v = across * scale + (columns - 1) / 2, down * scale + (rows - 1) / 2
    seen &= (u >= 0) & (u <= columns - 1) & (v >= 0) & (v <= rows - 1)
    sheet = cv2.remap(_reduced(picture, scale, focal), *_at(u, v, picture, scale, focal), cv2.INTER_LINEAR)
    paper = seen[..., None] * (sheet[..., 3:] / 255 if picture.shape[2] == 4 else 1.0)
    return np.asarray((paper * sheet[..., :3] + (1 - paper) * np.array(_GROUND)).round(), np.uint8)


def _turned(yaw_deg: float, pitch_deg: float) -> NDArray[np.float64]:
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    upright = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    nodding = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    return np.asarray(nodding @ upright)


def _met(
    camera: NDArray[np.float64], rays: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Where each ray first meets the sheet, along the sheet and down it, in cm; and whether it does."""
    (cx, cy, cz), (rx, ry, rz) = camera, np.moveaxis(rays, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if math.isinf(radius):
            far = -cz / rz
            return cx + far * rx, cy + far * ry, far > 0
        # the cylinder's axis lies a radius behind the sheet's middle line
        a, b, c = rx**2 + rz**2, cx * rx + (cz - radius) * rz, cx**2 + (cz - radius) ** 2 - radius**2
        root = b**2 - a * c
        far = (-b - np.sqrt(np.maximum(root, 0))) / a
        across = radius * np.arctan2(cx + far * rx, radius - (cz + far * rz))
        return across, cy + far * ry, (root > 0) & (far > 0)


def _reduction(scale: float, focal: float) -> float:
    return max(1.0, scale * _DISTANCE_CM / focal)


def _reduced(picture: Image, scale: float, focal: float) -> Image:
    """The picture with no more pixels than the camera sees of it, so that none is skipped."""
    by = _reduction(scale, focal)
    size = (max(1, round(picture.shape[1] / by)), max(1, round(picture.shape[0] / by)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _at(
    u: NDArray[np.float64], v: NDArray[np.float64], picture: Image, scale: float, focal: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    by = _reduction(scale, focal)
    return ((u + 0.5) / by - 0.5).astype(np.float32), ((v + 0.5) / by - 0.5).astype(np.float32)


def printed(picture: Image, rng: np.random.Generator) -> Image:
    """What ink on paper keeps: less contrast, a slight tint, a halftone's grain."""
    light = 22 + 0.82 * picture.astype(np.float32)
    light *= rng.uniform(0.94, 1.0, 3).astype(np.float32)
    light += rng.normal(0, 5, picture.shape[:2])[..., None].astype(np.float32)
    return _grey_levels(cv2.GaussianBlur(light, (0, 0), 0.7))


def on_screen(picture: Image, rng: np.random.Generator) -> Image:
    """A camera's picture of a screen that shows it: a bluish glow, and moiré of the two grids of pixels."""
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float32)
    waves = np.zeros(picture.shape, np.float32)
    for channel in range(3):
        period, angle, phase = rng.uniform(4, 14), rng.uniform(0, math.pi), rng.uniform(0, 2 * math.pi)
        along = columns * math.cos(angle) + rows * math.sin(angle)
        waves[..., channel] = np.sin(2 * math.pi * along / period + phase)
    light = picture.astype(np.float32) * (1 + rng.uniform(0.03, 0.08) * waves) * np.array([0.96, 1.0, 1.05], np.float32)
    glare = np.linspace(rng.uniform(0, 25), 0, picture.shape[1], dtype=np.float32)[None, :, None]
    return _grey_levels(light + 8 + glare)


def photographed(picture: Image, rng: np.random.Generator) -> Image:
    """A phone's camera: noise, and its JPEG."""
    noisy = _grey_levels(picture.astype(np.float32) + rng.normal(0, 2.5, picture.shape).astype(np.float32))
    return saved(noisy, 88)


def saved(picture: Image, quality: int) -> Image:
    """Through a JPEG file."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB), np.uint8)


def _grey_levels(light: NDArray[np.float32]) -> Image:
    return np.asarray(np.rint(light).clip(0, 255), np.uint8)


def cut(scene: Scene, sheet: Image, outline: bool, eyes: bool, shadow: float) -> Image:
    """A sheet cut for a deceiver to look through, or to have no edge in sight.

    Args:
        sheet: the scene's picture as printed, RGB, uint8, (H, W, 3).
        outline: whether all but the head is cut away.
        eyes: whether the eyes are cut out. Living ones are behind the holes: the scene's own, not printed.
        shadow: how much light reaches those, in [0, 1].

    Returns: RGB and where the sheet is left, uint8, (H, W, 4).
    """
    left = _oval(scene, _HEAD, _HEAD_HALF) if outline else np.ones(sheet.shape[:2], np.float32)
    seen = sheet.astype(np.float32)
    for eye in TEMPLATE[:2] if eyes else ():
        hole = _oval(scene, eye, _EYE_HALF)[..., None]
        seen = hole * (np.float32(shadow) * scene.image) + (1 - hole) * seen
    return np.dstack([_grey_levels(seen), _grey_levels(255 * left)])


def _oval(scene: Scene, centre: NDArray[np.float32], half: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 within an ellipse that is upright in the template's crop, in whose pixels it is given; shape (H, W)."""
    angle = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    points = centre + half * np.column_stack([np.cos(angle), np.sin(angle)])
    matrix = similarity_transform(TEMPLATE, scene.landmarks)
    drawn = np.zeros(scene.image.shape[:2], np.uint8)
    # shift 4: sixteenths of a pixel
    at = np.round((points @ matrix[:, :2].T + matrix[:, 2]) * 16).astype(np.int32)
    cv2.fillPoly(drawn, [at], 255, cv2.LINE_AA, 4)
    return drawn.astype(np.float32) / np.float32(255)


def flat_print(scene: Scene, rng: np.random.Generator) -> Image:
    return photographed(held(printed(scene.image, rng), rng.uniform(-20, 20), rng.uniform(-12, 12)), rng)


def bent_print(scene: Scene, rng: np.random.Generator, radius_cm: float = 12.0) -> Image:
    return photographed(held(printed(scene.image, rng), rng.uniform(-25, 25), rng.uniform(-12, 12), radius_cm), rng)


def cut_out(scene: Scene, rng: np.random.Generator) -> Image:
    """A print with its outline, its eyes or both cut out, flat or bent about the face behind it, and turned."""
    outline, eyes = ((True, False), (False, True), (True, True))[rng.integers(3)]
    sheet = cut(scene, printed(scene.image, rng), outline, eyes, rng.uniform(0.7, 1.0))
    radius_cm = 1 / rng.uniform(1 / 1000, 1 / 10)
    return photographed(held(sheet, rng.uniform(-20, 20), rng.uniform(-12, 12), radius_cm), rng)


def screen(scene: Scene, rng: np.random.Generator) -> Image:
    """A phone or tablet with its dark rim in sight."""
    rim = max(4, round(rng.uniform(0.03, 0.06) * max(scene.image.shape[:2])))
    framed = cv2.copyMakeBorder(scene.image, rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=(12, 12, 14))
    return photographed(
        on_screen(held(np.asarray(framed, np.uint8), rng.uniform(-15, 15), rng.uniform(-10, 10)), rng), rng
    )


def full_screen(scene: Scene, rng: np.random.Generator) -> Image:
    """So near that nothing but the screen is in the picture."""
    return photographed(on_screen(scene.image, rng), rng)


def uploaded_again(scene: Scene, rng: np.random.Generator) -> Image:
    """A file as networks of friends give it back: smaller, and saved anew."""
    by = rng.uniform(0.4, 0.7)
    rows, columns = scene.image.shape[:2]
    size = (max(1, round(columns * by)), max(1, round(rows * by)))
    return saved(
        np.asarray(cv2.resize(scene.image, size, interpolation=cv2.INTER_AREA), np.uint8), int(rng.integers(60, 80))
    )


SPECIES: dict[str, Callable[[Scene, np.random.Generator], Image]] = {
    attack.__name__: attack for attack in (flat_print, bent_print, cut_out, screen, full_screen, uploaded_again)
}
"""By name: a picture with its face, and a generator that draws everything that is left to chance."""
