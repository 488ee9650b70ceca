"""Faces partly covered: masks, dark and clear glasses, and whatever falls over the eyes.

Every draw takes another shape, size, colour and darkness, so that what is fitted under them does not know one pair of
glasses by heart. `HELD_OUT` are shapes that nothing is fitted under: with them it is measured whether that holds.
Lengths are in the pixels of the 112×112 template, where the eyes are 35 apart; the eyes are at y 51.6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...engine.align import TEMPLATE
from ...engine.types import Image
from .scene import Layer, Paint, Scene

_EYES = TEMPLATE[:2].astype(np.float64)
_MIDDLE, _EYE_LINE = 55.9, 51.6


def face_mask(scene: Scene, rng: np.random.Generator) -> Image:
    """A mask or scarf from the bridge of the nose, or from a little below it, to below the chin; plain, striped or
    patterned."""
    layer = Layer(scene)
    top, rim, chin = rng.uniform(56, 68), rng.uniform(60, 74), rng.uniform(112, 124)
    left = [(_MIDDLE - 16, top + 2), (_MIDDLE - 37, rim), (_MIDDLE - 35, 92), (_MIDDLE - 24, chin - 10)]
    outline = [(_MIDDLE, top), *_mirrored(left), (_MIDDLE, chin), *left[::-1]]
    layer.fill(outline, _cloth(layer, rng))
    return layer.laid_over()


def sunglasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Dark glasses: rectangular to round, 60 % dark to black, some lighter towards the bottom, some without a rim."""
    layer, frame = Layer(scene), _frame_colour(rng)
    half = rng.uniform(12.5, 18.5), rng.uniform(8.5, 15.5)
    lenses = _lenses(half, roundness=rng.uniform(2, 8), drop=rng.uniform(-1, 4))
    colour, opacity = _lens_colour(rng), _lens_opacity(layer, rng.uniform(0.6, 1.0), rng)
    return _glasses(layer, lenses, (colour, opacity), rng.uniform(0, 3.5), frame, rng)


def eyes_barred(scene: Scene, rng: np.random.Generator) -> Image:
    """A cloth, a hat pulled down, hair or a bar over both eyes: from the forehead or the brows to below the eyes, with
    a straight or a ragged edge."""
    layer = Layer(scene)
    top = rng.choice((-50.0, rng.uniform(34, 44)))
    bottom, reach = rng.uniform(57, 66), rng.uniform(30, 60)
    edge = np.linspace(_MIDDLE - reach, _MIDDLE + reach, 24)
    ragged = rng.uniform(0, 6) * rng.standard_normal(24) * (rng.random() < 0.5) + rng.uniform(-4, 4) * np.linspace(
        -1, 1, 24
    )
    lower = np.column_stack([edge, np.maximum(bottom + ragged, 55.0)])
    layer.fill(np.concatenate([lower, [(edge[-1], top), (edge[0], top)]]), _cloth(layer, rng), rng.uniform(0.75, 1.0))
    return layer.laid_over()


def spectacles(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear glasses: as `sunglasses`, with lenses that take at most 30 % of the light, and always a frame."""
    layer, frame = Layer(scene), _frame_colour(rng)
    half = rng.uniform(12.5, 18.5), rng.uniform(8.5, 15.5)
    lenses = _lenses(half, roundness=rng.uniform(2, 8), drop=rng.uniform(-1, 4))
    colour, opacity = _lens_colour(rng), float(rng.uniform(0, 0.3))
    return _glasses(layer, lenses, (colour, opacity), rng.uniform(0.7, 3.0), frame, rng)


def aviators(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: drop-shaped dark lenses on a thin metal frame."""
    layer = Layer(scene)
    lenses = _drops(rng.uniform(15, 19), rng.uniform(12, 16))
    colour, opacity = _lens_colour(rng), _lens_opacity(layer, rng.uniform(0.6, 1.0), rng)
    for lens in lenses:
        layer.fill(lens, colour, opacity)
    _draw_frame(
        layer,
        lenses,
        rng.uniform(0.8, 1.4),
        np.asarray(rng.uniform(90, 200) * np.array([1, 0.9, 0.6]), np.float32),
        rng,
    )
    return layer.laid_over()


def visor(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: one shield from temple to temple, black or mirrored in a colour that changes from top to bottom."""
    layer = Layer(scene)
    reach, upper, lower = rng.uniform(38, 48), rng.uniform(10, 16), rng.uniform(9, 15)
    x = np.linspace(-1, 1, 25)
    brow = _EYE_LINE - upper * (1 - 0.25 * x**4)
    rim = _EYE_LINE + lower * (1 - 0.45 * np.exp(-((x / 0.18) ** 2)) - 0.35 * x**4)
    outline = np.concatenate(
        [np.column_stack([_MIDDLE + reach * x, brow]), np.column_stack([_MIDDLE + reach * x, rim])[::-1]]
    )
    _, y = layer.xy
    mirrored = rng.uniform(20, 160, (2, 3)) if rng.random() < 0.5 else np.tile(rng.uniform(5, 40, (1, 3)), (2, 1))
    share = np.clip((y - (_EYE_LINE - upper)) / (upper + lower), 0, 1)[..., None]
    paint = ((1 - share) * mirrored[0] + share * mirrored[1]).astype(np.float32)
    layer.fill(outline, paint, float(rng.uniform(0.7, 1.0)))
    return layer.laid_over()


def peaked_cap(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: a cap whose curved peak hides brows and eyes."""
    layer = Layer(scene)
    x = np.linspace(-1, 1, 25)
    reach, bottom, curve = rng.uniform(42, 54), rng.uniform(58, 65), rng.uniform(-8, 8)
    peak = np.column_stack([_MIDDLE + reach * x, np.maximum(bottom + curve * (x**2 - 0.3), 56.0)])
    layer.fill([*map(tuple, peak), (_MIDDLE + reach, -50), (_MIDDLE - reach, -50)], _plain(rng))
    layer.line(peak, 2.5, _plain(rng))
    return layer.laid_over()


def hair_over_eyes(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: strands of hair from the forehead over both eyes."""
    layer = Layer(scene)
    colour = rng.choice(np.asarray([(25, 18, 15), (70, 45, 28), (150, 115, 70), (120, 110, 105)], np.float32))
    for root in np.linspace(_MIDDLE - 34, _MIDDLE + 34, 46):
        tip = root + rng.normal(0, 4)
        middle = (root + tip) / 2 + rng.normal(0, 2)
        strand = [(root, -20), (middle, 25), (tip, rng.uniform(56, 70))]
        layer.line(strand, rng.uniform(1.0, 3.0), np.asarray(colour * rng.uniform(0.6, 1.3), np.float32))
    return layer.laid_over()


def browline_spectacles(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: clear drop-shaped lenses under a heavy upper rim."""
    layer, frame = Layer(scene), _frame_colour(rng)
    lenses = _drops(rng.uniform(14, 18), rng.uniform(11, 14))
    colour, opacity, heavy = _lens_colour(rng), float(rng.uniform(0, 0.2)), rng.uniform(2.5, 4.0)
    for lens in lenses:
        layer.fill(lens, colour, opacity)
        layer.line(lens, 0.8, frame, closed=True)
        layer.line(lens[24:], heavy, frame)
    _draw_frame(layer, lenses, 0.0, frame, rng)
    return layer.laid_over()


def bandana(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: a cloth over nose and mouth, tied behind the head, that hangs down in a point."""
    layer = Layer(scene)
    top, rim, point = rng.uniform(60, 70), rng.uniform(56, 66), rng.uniform(120, 150)
    outline = [
        (_MIDDLE, top),
        (_MIDDLE + 42, rim),
        (_MIDDLE + 38, 92),
        (_MIDDLE, point),
        (_MIDDLE - 38, 92),
        (_MIDDLE - 42, rim),
    ]
    layer.fill(outline, _cloth(layer, rng))
    return layer.laid_over()


def rimless_spectacles(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: clear lenses without a rim, each with the light of a window in it, on thin metal."""
    layer = Layer(scene)
    half = rng.uniform(11, 17), rng.uniform(8, 12)
    metal = np.asarray(rng.uniform(110, 210, 3), np.float32)
    lenses = _lenses(half, roundness=rng.uniform(2.5, 5), drop=rng.uniform(0, 4))
    colour, opacity, glare = _lens_colour(rng), float(rng.uniform(0, 0.15)), float(rng.uniform(0.1, 0.6))
    place, lean = rng.uniform(-0.5, 0.3) * half[0], rng.uniform(-4, 4)
    for lens in lenses:
        layer.fill(lens, colour, opacity)
        x, y = lens.mean(0) + np.array((place, 0))
        top, bottom, width = y - 0.6 * half[1], y + 0.4 * half[1], 0.35 * half[0]
        window = [(x + lean, top), (x + lean + width, top), (x + width, bottom), (x, bottom)]
        layer.fill(window, np.full(3, 235, np.float32), glare)
    _draw_frame(layer, lenses, 0.0, metal, rng)
    return layer.laid_over()


def round_spectacles(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: clear round lenses in a thick rim."""
    layer, frame, radius = Layer(scene), _frame_colour(rng), rng.uniform(12, 17)
    lenses = _lenses((radius, radius), roundness=2, drop=rng.uniform(-1, 3))
    colour, opacity = _lens_colour(rng), float(rng.uniform(0, 0.2))
    return _glasses(layer, lenses, (colour, opacity), rng.uniform(3.5, 5.5), frame, rng)


def tinted_glasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: large square lenses darker than clear ones and lighter than dark ones, 30 to 60 %."""
    layer, frame = Layer(scene), _frame_colour(rng)
    lenses = _lenses((rng.uniform(16, 19), rng.uniform(14, 18)), roundness=rng.uniform(4, 8), drop=rng.uniform(1, 5))
    colour, opacity = np.asarray(rng.uniform(20, 130, 3), np.float32), float(rng.uniform(0.3, 0.6))
    return _glasses(layer, lenses, (colour, opacity), rng.uniform(0, 2), frame, rng)


def wraparound_shades(scene: Scene, rng: np.random.Generator) -> Image:
    """Held out: mirrored lenses for sport that run up to the temples, two bright colours with a horizon between them,
    under half a rim."""
    layer, frame = Layer(scene), _frame_colour(rng)
    width, upper, lower, lift = rng.uniform(18, 22), rng.uniform(8, 12), rng.uniform(9, 14), rng.uniform(3, 8)
    _, y = layer.xy
    share = (0.5 + 0.5 * np.tanh((y - _EYE_LINE + rng.uniform(-4, 4)) / rng.uniform(1, 8)))[..., None]
    sky, ground = rng.uniform(0, 255, (2, 3))
    paint = np.asarray((1 - share) * sky + share * ground, np.float32)
    opacity, along = float(rng.uniform(0.7, 1.0)), np.linspace(-1, 1, 25)
    for eye, outwards in zip(_EYES, (-1, 1), strict=True):
        x, rise = eye[0] + width * along, lift * np.clip(outwards * along, 0, 1) ** 2
        brow = np.column_stack([x, eye[1] - upper * (1 - 0.3 * along**2) - rise])
        rim = np.column_stack([x, eye[1] + lower * (1 - 0.8 * along**2) - rise])
        layer.fill(np.concatenate([brow, rim[::-1]]), paint, opacity)
        layer.line(brow, 2.0, frame)
    return layer.laid_over()


def _mirrored(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(2 * _MIDDLE - x, y) for x, y in points]


def _lenses(half: tuple[float, float], roundness: float, drop: float) -> list[NDArray[np.float64]]:
    """Two superellipses about the eyes: `roundness` 2 is an ellipse, 8 nearly a rectangle."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    across, down = (np.sign(f(angle)) * np.abs(f(angle)) ** (2 / roundness) for f in (np.cos, np.sin))
    return [eye + np.array((0, drop)) + np.column_stack([half[0] * across, half[1] * down]) for eye in _EYES]


def _drops(width: float, height: float) -> list[NDArray[np.float64]]:
    """Two drops about the eyes, wide above, narrow at the outer bottom."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    lenses = []
    for eye, outwards in zip(_EYES, (-1, 1), strict=True):
        down = np.sin(angle)
        across = np.cos(angle) * (1 - 0.22 * (down + 1) / 2) + 0.12 * outwards * down
        lenses.append(eye + np.array((0, 3)) + np.column_stack([width * across, height * down]))
    return lenses


def _glasses(
    layer: Layer,
    lenses: list[NDArray[np.float64]],
    glass: tuple[Paint, float | NDArray[np.float32]],
    rim: float,
    frame: Paint,
    rng: np.random.Generator,
) -> Image:
    """Lenses, each filled with `glass`, a colour and its opacity, in a frame."""
    for lens in lenses:
        layer.fill(lens, *glass)
    _draw_frame(layer, lenses, rim, frame, rng)
    return layer.laid_over()


def _draw_frame(
    layer: Layer, lenses: list[NDArray[np.float64]], rim: float, colour: Paint, rng: np.random.Generator
) -> None:
    """The rims, when they are wide enough to see, the bridge, and the temples to the face's rim."""
    if rim > 0.5:
        for lens in lenses:
            layer.line(lens, rim, colour, closed=True)
    width, y = max(1.0, rim), _EYE_LINE + rng.uniform(-6, 0)
    left, right = lenses
    layer.line([(left[:, 0].max(), y), (_MIDDLE, y - 1.5), (right[:, 0].min(), y)], width, colour)
    layer.line([(left[:, 0].min(), y), (_MIDDLE - 50, y - 2)], width, colour)
    layer.line([(right[:, 0].max(), y), (_MIDDLE + 50, y - 2)], width, colour)


def _lens_opacity(layer: Layer, darkness: float, rng: np.random.Generator) -> float | NDArray[np.float32]:
    """Even in two of three draws, else lighter towards the bottom."""
    if rng.random() < 2 / 3:
        return darkness
    _, y = layer.xy
    share = np.clip((y - (_EYE_LINE - 14)) / 28, 0, 1)
    return np.asarray(darkness * (1 - rng.uniform(0.15, 0.4) * share), np.float32)


def _lens_colour(rng: np.random.Generator) -> Paint:
    return np.asarray(rng.choice([(14, 14, 16), (40, 28, 18), (22, 36, 26), (20, 28, 48)]), np.float32)


def _frame_colour(rng: np.random.Generator) -> Paint:
    return np.asarray(
        rng.choice([(15, 15, 17), (80, 50, 30), (170, 170, 175), (190, 160, 90), (140, 30, 35), (40, 60, 120)]),
        np.float32,
    )


def _plain(rng: np.random.Generator) -> Paint:
    """Any colour of cloth, hair or skin."""
    return np.asarray(rng.uniform(15, 240) * np.clip(rng.normal(1, 0.22, 3), 0.3, 1.5), np.float32).clip(0, 255)


def _cloth(layer: Layer, rng: np.random.Generator) -> Paint:
    """One colour, or a second one in stripes or dots."""
    first, second = _plain(rng), _plain(rng)
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
