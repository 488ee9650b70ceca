"""What coverings are drawn of: lenses, frames, cloth, and their colours.

Lengths are in the pixels of the 112×112 template, where the eyes are 35 apart; the eyes are at y 51.6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...engine.align import TEMPLATE
from ...engine.types import Image
from .scene import Layer, Paint

EYES = TEMPLATE[:2].astype(np.float64)
MIDDLE, EYE_LINE = 55.9, 51.6
Lenses = list[NDArray[np.float64]]
"""The outlines of the left lens and of the right one, (48, 2) each."""


def superellipses(half: tuple[float, float], roundness: float, drop: float) -> Lenses:
    """Two superellipses about the eyes: `roundness` 2 is an ellipse, 8 nearly a rectangle."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    across, down = (np.sign(f(angle)) * np.abs(f(angle)) ** (2 / roundness) for f in (np.cos, np.sin))
    return [eye + np.array((0, drop)) + np.column_stack([half[0] * across, half[1] * down]) for eye in EYES]


def drops(width: float, height: float) -> Lenses:
    """Two drops about the eyes, wide above, narrow at the outer bottom."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    lenses = []
    for eye, outwards in zip(EYES, (-1, 1), strict=True):
        down = np.sin(angle)
        across = np.cos(angle) * (1 - 0.22 * (down + 1) / 2) + 0.12 * outwards * down
        lenses.append(eye + np.array((0, 3)) + np.column_stack([width * across, height * down]))
    return lenses


def glasses(
    layer: Layer,
    lenses: Lenses,
    glass: tuple[Paint, float | NDArray[np.float32]],
    rim: float,
    frame: Paint,
    rng: np.random.Generator,
) -> Image:
    """Lenses, each filled with `glass`, a colour and its opacity, in a frame."""
    for lens in lenses:
        layer.fill(lens, *glass)
    draw_frame(layer, lenses, rim, frame, rng)
    return layer.laid_over()


def draw_frame(layer: Layer, lenses: Lenses, rim: float, colour: Paint, rng: np.random.Generator) -> None:
    """The rims, when they are wide enough to see, the bridge, and the temples to the face's rim."""
    if rim > 0.5:
        for lens in lenses:
            layer.line(lens, rim, colour, closed=True)
    width, y = max(1.0, rim), EYE_LINE + rng.uniform(-6, 0)
    left, right = lenses
    layer.line([(left[:, 0].max(), y), (MIDDLE, y - 1.5), (right[:, 0].min(), y)], width, colour)
    layer.line([(left[:, 0].min(), y), (MIDDLE - 50, y - 2)], width, colour)
    layer.line([(right[:, 0].max(), y), (MIDDLE + 50, y - 2)], width, colour)


def lens_opacity(layer: Layer, darkness: float, rng: np.random.Generator) -> float | NDArray[np.float32]:
    """Even in two of three draws, else lighter towards the bottom."""
    if rng.random() < 2 / 3:
        return darkness
    _, y = layer.xy
    share = np.clip((y - (EYE_LINE - 14)) / 28, 0, 1)
    return np.asarray(darkness * (1 - rng.uniform(0.15, 0.4) * share), np.float32)


def lens_colour(rng: np.random.Generator) -> Paint:
    return np.asarray(rng.choice([(14, 14, 16), (40, 28, 18), (22, 36, 26), (20, 28, 48)]), np.float32)


def frame_colour(rng: np.random.Generator) -> Paint:
    return np.asarray(
        rng.choice([(15, 15, 17), (80, 50, 30), (170, 170, 175), (190, 160, 90), (140, 30, 35), (40, 60, 120)]),
        np.float32,
    )


def plain(rng: np.random.Generator) -> Paint:
    """Any colour of cloth, hair or skin."""
    return np.asarray(rng.uniform(15, 240) * np.clip(rng.normal(1, 0.22, 3), 0.3, 1.5), np.float32).clip(0, 255)


def cloth(layer: Layer, rng: np.random.Generator) -> Paint:
    """One colour, or a second one in stripes or dots."""
    first, second = plain(rng), plain(rng)
    if rng.random() < 0.6:
        return first
    x, y = layer.xy
    turn, period = rng.uniform(0, np.pi), rng.uniform(5, 20)
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    waves = np.sin(2 * np.pi * along / period)
    if rng.random() < 0.5:
        waves = waves * np.sin(2 * np.pi * across / period) * 2
    share = np.clip(2 * waves, -1, 1)[..., None] / 2 + 0.5
    return np.asarray(first * (1 - share) + second * share, np.float32)
