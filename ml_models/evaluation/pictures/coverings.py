"""Masks, and whatever falls over the eyes.

Every draw takes another size, colour and outline, so that what is fitted under them does not know one by heart. Lengths
as in `parts`. Shapes that nothing is fitted under are in `unseen_coverings`.
"""

from __future__ import annotations

import numpy as np

from ...engine.types import Image
from .parts import (
    MIDDLE,
    cloth,
    plain,
)
from .scene import Layer, Scene


def face_mask(scene: Scene, rng: np.random.Generator) -> Image:
    """A mask or scarf from the bridge of the nose, or from a little below it, to below the chin; plain, striped or
    patterned."""
    layer = Layer(scene)
    top, rim, chin = rng.uniform(56, 68), rng.uniform(60, 74), rng.uniform(112, 124)
    left = [(MIDDLE - 16, top + 2), (MIDDLE - 37, rim), (MIDDLE - 35, 92), (MIDDLE - 24, chin - 10)]
    outline = [(MIDDLE, top), *_mirrored(left), (MIDDLE, chin), *left[::-1]]
    layer.fill(outline, cloth(layer, rng))
    return layer.laid_over()


def _mirrored(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(2 * MIDDLE - x, y) for x, y in points]


def bar(scene: Scene, rng: np.random.Generator) -> Image:
    """A cloth or a bar: from the forehead or the brows to below the eyes, with
    a straight or a ragged edge."""
    layer = Layer(scene)
    top = rng.choice((-50.0, rng.uniform(34, 44)))
    bottom, reach = rng.uniform(57, 66), rng.uniform(30, 60)
    edge = np.linspace(MIDDLE - reach, MIDDLE + reach, 24)
    ragged = rng.uniform(0, 6) * rng.standard_normal(24) * (rng.random() < 0.5) + rng.uniform(-4, 4) * np.linspace(
        -1, 1, 24
    )
    lower = np.column_stack([edge, np.maximum(bottom + ragged, 55.0)])
    layer.fill(np.concatenate([lower, [(edge[-1], top), (edge[0], top)]]), cloth(layer, rng), rng.uniform(0.75, 1.0))
    return layer.laid_over()


def peaked_cap(scene: Scene, rng: np.random.Generator) -> Image:
    """A cap whose curved peak hides brows and eyes."""
    layer = Layer(scene)
    x = np.linspace(-1, 1, 25)
    reach, bottom, curve = rng.uniform(42, 54), rng.uniform(58, 65), rng.uniform(-8, 8)
    peak = np.column_stack([MIDDLE + reach * x, np.maximum(bottom + curve * (x**2 - 0.3), 56.0)])
    layer.fill([*map(tuple, peak), (MIDDLE + reach, -50), (MIDDLE - reach, -50)], plain(rng))
    layer.line(peak, 2.5, plain(rng))
    return layer.laid_over()


def knitted_hat(scene: Scene, rng: np.random.Generator) -> Image:
    """A hat pulled over the eyes, knitted in rows and ribs, with a brim that is turned up."""
    layer, wool = Layer(scene), plain(rng)
    x, y = layer.xy
    ribs = 1 + 0.25 * np.sin(2 * np.pi * x / rng.uniform(3, 7)) + 0.15 * np.sin(2 * np.pi * y / rng.uniform(3, 6))
    paint = np.asarray(np.clip(wool * ribs[..., None], 0, 255), np.float32)
    reach, bottom, curve = rng.uniform(40, 50), rng.uniform(58, 66), rng.uniform(0, 8)
    along = np.linspace(-1, 1, 25)
    rim = np.column_stack([MIDDLE + reach * along, np.maximum(bottom - curve * along**2, 56.0)])
    layer.fill([*map(tuple, rim), (MIDDLE + reach, -50), (MIDDLE - reach, -50)], paint)
    layer.fill(np.concatenate([rim, rim[::-1] - (0, rng.uniform(10, 20))]), np.asarray(0.8 * paint, np.float32))
    return layer.laid_over()


def hair(scene: Scene, rng: np.random.Generator) -> Image:
    """Strands of hair from the forehead over both eyes."""
    layer = Layer(scene)
    colour = rng.choice(np.asarray([(25, 18, 15), (70, 45, 28), (150, 115, 70), (120, 110, 105)], np.float32))
    for root in np.linspace(MIDDLE - 34, MIDDLE + 34, 46):
        tip = root + rng.normal(0, 4)
        middle = (root + tip) / 2 + rng.normal(0, 2)
        strand = [(root, -20), (middle, 25), (tip, rng.uniform(56, 70))]
        layer.line(strand, rng.uniform(1.0, 3.0), np.asarray(colour * rng.uniform(0.6, 1.3), np.float32))
    return layer.laid_over()


MASKS = (face_mask,)
EYES_BARRED = (bar, peaked_cap, knitted_hat, hair)
