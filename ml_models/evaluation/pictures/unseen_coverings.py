"""Coverings of other shapes than those in `coverings`. Nothing is fitted under them: they show whether what was learnt
holds for others. Whoever looks at what they give, and then changes something, draws new ones. Lengths as in `parts`.
"""

from __future__ import annotations

import numpy as np

from ...engine.types import Image
from .parts import (
    EYE_LINE,
    EYES,
    MIDDLE,
    Lenses,
    cloth,
    frame_colour,
    glasses,
    lens_colour,
    lens_opacity,
    plain,
    superellipses,
)
from .scene import Layer, Scene


def octagonal_spectacles(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear lenses with eight corners in thick plastic."""
    layer, frame = Layer(scene), frame_colour(rng)
    half, cut, drop = (rng.uniform(13, 17), rng.uniform(10, 14)), rng.uniform(0.4, 0.65), rng.uniform(-1, 3)
    corners = [(cut, 1), (1, cut), (1, -cut), (cut, -1), (-cut, -1), (-1, -cut), (-1, cut), (-cut, 1)]
    lenses: Lenses = [eye + np.array((0, drop)) + np.array(corners) * half for eye in EYES]
    return glasses(layer, lenses, (lens_colour(rng), float(rng.uniform(0, 0.2))), rng.uniform(2.5, 5), frame, rng)


def safety_glasses(scene: Scene, rng: np.random.Generator) -> Image:
    """One clear or yellow shield from temple to temple under a bar along the brows, and side pieces."""
    layer, frame = Layer(scene), frame_colour(rng)
    reach, upper, lower = rng.uniform(36, 44), rng.uniform(11, 16), rng.uniform(12, 18)
    along = np.linspace(-1, 1, 25)
    brow = np.column_stack([MIDDLE + reach * along, np.full(25, EYE_LINE - upper)])
    notch = np.exp(-((along / 0.2) ** 2))
    rim = np.column_stack([MIDDLE + reach * along, EYE_LINE + lower * (1 - 0.6 * notch - 0.3 * along**4)])
    layer.fill(np.concatenate([brow, rim[::-1]]), np.asarray((225, 215, rng.uniform(60, 225)), np.float32), 0.25)
    layer.line(brow, rng.uniform(2, 5), frame)
    layer.line(rim, 0.8, frame)
    return layer.laid_over()


def half_tinted_glasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Lenses in thin metal that are dark at the top and clear at the bottom."""
    layer = Layer(scene)
    metal = np.asarray(rng.uniform(60, 210) * np.array([1, 0.9, 0.7]), np.float32)
    lenses = superellipses((rng.uniform(14, 18), rng.uniform(11, 16)), rng.uniform(2, 5), rng.uniform(0, 4))
    _, y = layer.xy
    opacity = np.asarray(rng.uniform(0.6, 0.95) * np.clip((EYE_LINE + 10 - y) / 20, 0, 1), np.float32)
    return glasses(layer, lenses, (lens_colour(rng), opacity), rng.uniform(0.7, 1.5), metal, rng)


def butterfly_sunglasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Dark lenses that widen towards the temples, above more than below."""
    layer, frame = Layer(scene), frame_colour(rng)
    half = rng.uniform(14, 17), rng.uniform(12, 17)
    lenses = []
    for lens, outwards in zip(superellipses(half, rng.uniform(2.5, 4), rng.uniform(1, 5)), (-1, 1), strict=True):
        out = np.clip(outwards * (lens - lens.mean(0))[:, :1] / half[0], 0, 1)
        lenses.append(lens + out * np.array((outwards * rng.uniform(2, 5), -rng.uniform(2, 5))))
    opacity = lens_opacity(layer, rng.uniform(0.65, 1.0), rng)
    return glasses(layer, lenses, (lens_colour(rng), opacity), rng.uniform(1, 4), frame, rng)


def small_round_sunglasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Small round dark or coloured lenses on a wire."""
    layer, radius = Layer(scene), rng.uniform(9, 12)
    wire = np.asarray(rng.uniform(40, 200) * np.array([1, 0.95, 0.8]), np.float32)
    colour = np.asarray(rng.uniform(5, 90, 3), np.float32)
    lenses = superellipses((radius, radius), 2, rng.uniform(0, 4))
    return glasses(layer, lenses, (colour, float(rng.uniform(0.65, 1.0))), rng.uniform(0.7, 1.4), wire, rng)


def heart_sunglasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Dark or coloured hearts in plastic."""
    layer, frame, size = Layer(scene), plain(rng), rng.uniform(0.85, 1.1)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    heart = np.column_stack(
        [
            16 * np.sin(angle) ** 3,
            -(13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle)),
        ]
    )
    lenses: Lenses = [eye + np.array((0, rng.uniform(0, 2))) + size * heart for eye in EYES]
    colour = np.asarray(rng.uniform(5, 120, 3), np.float32)
    return glasses(layer, lenses, (colour, float(rng.uniform(0.65, 1.0))), rng.uniform(1.5, 4), frame, rng)


def clip_on_sunglasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Dark panes without a rim that are clipped to a pair of clear glasses, a little smaller than those."""
    layer, frame = Layer(scene), frame_colour(rng)
    half, drop, roundness = (rng.uniform(14, 18), rng.uniform(10, 14)), rng.uniform(0, 3), rng.uniform(3, 7)
    lenses = superellipses(half, roundness, drop)
    opacity = lens_opacity(layer, rng.uniform(0.65, 0.95), rng)
    for pane in superellipses((half[0] - 1, half[1] - rng.uniform(0.5, 2)), roundness, drop - 0.5):
        layer.fill(pane, lens_colour(rng), opacity)
    layer.line([(MIDDLE - 8, EYE_LINE - half[1] + drop), (MIDDLE + 8, EYE_LINE - half[1] + drop)], 1.5, frame)
    return glasses(layer, lenses, (lens_colour(rng), 0.0), rng.uniform(0.8, 2.5), frame, rng)


def mirrored_rectangles(scene: Scene, rng: np.random.Generator) -> Image:
    """Flat panes that mirror a bright sky over a dark ground, slanting, in thin metal."""
    layer = Layer(scene)
    metal = np.asarray(rng.uniform(60, 210) * np.array([1, 0.95, 0.85]), np.float32)
    x, y = layer.xy
    slant = (y - EYE_LINE) + rng.uniform(-0.5, 0.5) * (x - MIDDLE)
    share = (0.5 - 0.5 * np.tanh(slant / rng.uniform(0.5, 3)))[..., None]
    paint = np.asarray(share * rng.uniform(130, 250, 3) + (1 - share) * rng.uniform(10, 90, 3), np.float32)
    lenses = superellipses((rng.uniform(15, 18), rng.uniform(8, 12)), 8, rng.uniform(0, 3))
    return glasses(layer, lenses, (paint, float(rng.uniform(0.7, 1.0))), rng.uniform(0.6, 1.4), metal, rng)


def shutter_shades(scene: Scene, rng: np.random.Generator) -> Image:
    """Slats of plastic across each eye, with gaps between them, and no lenses."""
    layer, plastic = Layer(scene), plain(rng)
    lenses = superellipses((rng.uniform(15, 18), rng.uniform(11, 14)), 4, rng.uniform(0, 3))
    count, thick = int(rng.integers(4, 6)), rng.uniform(2.4, 3.4)
    for lens in lenses:
        for height in np.linspace(lens[:, 1].min() + 2, lens[:, 1].max() - 2, count):
            layer.line([(lens[:, 0].min(), height), (lens[:, 0].max(), height)], thick, plastic)
    return glasses(layer, lenses, (plastic, 0.0), rng.uniform(2, 4), plastic, rng)


def wire_rounds(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear circles in thin wire, joined by an arch over the nose."""
    layer, radius = Layer(scene), rng.uniform(11, 16)
    wire = np.asarray(rng.uniform(50, 210) * np.array([1, 0.9, 0.7]), np.float32)
    lenses = superellipses((radius, radius), 2, rng.uniform(0, 4))
    gap = MIDDLE - lenses[0][:, 0].max()
    along = np.linspace(-1, 1, 13)
    layer.line(np.column_stack([MIDDLE + gap * along, EYE_LINE - rng.uniform(2, 6) * (1 - along**2)]), 1.2, wire)
    return glasses(layer, lenses, (lens_colour(rng), float(rng.uniform(0, 0.15))), rng.uniform(0.7, 1.4), wire, rng)


def double_bridge_squares(scene: Scene, rng: np.random.Generator) -> Image:
    """Large clear squares with rounded corners and a bar along the brows, as in the seventies."""
    layer, frame = Layer(scene), frame_colour(rng)
    half, drop = (rng.uniform(16, 19), rng.uniform(14, 19)), rng.uniform(2, 6)
    lenses = superellipses(half, rng.uniform(3, 5), drop)
    y = EYE_LINE + drop - 0.85 * half[1]
    layer.line([(lenses[0][:, 0].min() + 4, y), (lenses[1][:, 0].max() - 4, y)], rng.uniform(1, 2.5), frame)
    return glasses(layer, lenses, (lens_colour(rng), float(rng.uniform(0, 0.25))), rng.uniform(1, 2.5), frame, rng)


def half_rims(scene: Scene, rng: np.random.Generator) -> Image:
    """Narrow clear lenses that hang on a thread: a rim below alone."""
    layer, frame = Layer(scene), frame_colour(rng)
    lenses = superellipses((rng.uniform(13, 17), rng.uniform(7, 10)), rng.uniform(3, 6), rng.uniform(2, 6))
    for lens in lenses:
        layer.fill(lens, lens_colour(rng), float(rng.uniform(0, 0.15)))
        layer.line(lens[:25], rng.uniform(1.5, 3), frame)
    return glasses(layer, lenses, (lens_colour(rng), 0.0), 0.0, frame, rng)


def coloured_panes(scene: Scene, rng: np.random.Generator) -> Image:
    """Rectangles in a bright colour, clearer towards the top, without a rim."""
    layer = Layer(scene)
    colour = np.asarray(
        rng.permutation([rng.uniform(150, 250), rng.uniform(40, 200), rng.uniform(20, 120)]), np.float32
    )
    _, y = layer.xy
    opacity = np.asarray(rng.uniform(0.25, 0.5) * np.clip((y - EYE_LINE + 14) / 20, 0.2, 1), np.float32)
    lenses = superellipses((rng.uniform(14, 17), rng.uniform(9, 13)), rng.uniform(5, 8), rng.uniform(0, 3))
    metal = np.asarray(rng.uniform(90, 210, 3), np.float32)
    return glasses(layer, lenses, (colour, opacity), 0.0, metal, rng)


def ski_goggles(scene: Scene, rng: np.random.Generator) -> Image:
    """One large mirrored pane from the forehead to the cheeks in a padded frame, on a wide band."""
    layer, frame, sheen = Layer(scene), plain(rng), rng.uniform(0, 255, (2, 3))
    x, _ = layer.xy
    share = (0.5 + 0.5 * np.sin(2 * np.pi * (x - MIDDLE) / rng.uniform(60, 140)))[..., None]
    paint = np.asarray((1 - share) * sheen[0] + share * sheen[1], np.float32)
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    across, down = (np.sign(f(angle)) * np.abs(f(angle)) ** 0.6 for f in (np.cos, np.sin))
    pane = np.column_stack([MIDDLE + rng.uniform(34, 40) * across, EYE_LINE + 2 + rng.uniform(17, 23) * down])
    for side in (-1, 1):
        layer.line([(MIDDLE + 34 * side, EYE_LINE), (MIDDLE + 56 * side, EYE_LINE)], rng.uniform(12, 20), plain(rng))
    layer.fill(pane, paint, float(rng.uniform(0.75, 1.0)))
    layer.line(pane, rng.uniform(3, 6), frame, closed=True)
    return layer.laid_over()


def headband(scene: Scene, rng: np.random.Generator) -> Image:
    """A band that has slipped over the eyes, its lower rim bent like a brow."""
    layer = Layer(scene)
    top, bottom, reach, bend = rng.uniform(24, 38), rng.uniform(57, 64), rng.uniform(42, 54), rng.uniform(-3, 6)
    along = np.linspace(-1, 1, 25)
    rims = [np.column_stack([MIDDLE + reach * along, y + bend * along**2]) for y in (top, bottom)]
    layer.fill(np.concatenate([rims[0], rims[1][::-1]]), cloth(layer, rng))
    return layer.laid_over()


def veil(scene: Scene, rng: np.random.Generator) -> Image:
    """A cloth around the head and over nose and mouth that leaves a slit for the eyes."""
    layer, paint = Layer(scene), cloth(Layer(scene), rng)
    brow, bridge, reach = rng.uniform(30, 38), rng.uniform(62, 70), rng.uniform(44, 54)
    layer.fill(
        [
            (MIDDLE - reach, -50),
            (MIDDLE + reach, -50),
            (MIDDLE + reach, brow + 4),
            (MIDDLE, brow),
            (MIDDLE - reach, brow + 4),
        ],
        paint,
    )
    layer.fill(
        [
            (MIDDLE - reach, bridge - 8),
            (MIDDLE, bridge),
            (MIDDLE + reach, bridge - 8),
            (MIDDLE + reach, 160),
            (MIDDLE - reach, 160),
        ],
        paint,
    )
    return layer.laid_over()


def bandana(scene: Scene, rng: np.random.Generator) -> Image:
    """A cloth over nose and mouth, tied behind the head, that hangs down in a point."""
    layer = Layer(scene)
    top, rim, point = rng.uniform(60, 70), rng.uniform(56, 66), rng.uniform(120, 150)
    outline = [
        (MIDDLE, top),
        (MIDDLE + 42, rim),
        (MIDDLE + 38, 92),
        (MIDDLE, point),
        (MIDDLE - 38, 92),
        (MIDDLE - 42, rim),
    ]
    layer.fill(outline, cloth(layer, rng))
    return layer.laid_over()


UNSEEN = (
    octagonal_spectacles,
    safety_glasses,
    half_tinted_glasses,
    butterfly_sunglasses,
    small_round_sunglasses,
    heart_sunglasses,
    clip_on_sunglasses,
    mirrored_rectangles,
    shutter_shades,
    wire_rounds,
    double_bridge_squares,
    half_rims,
    coloured_panes,
    ski_goggles,
    headband,
    veil,
    bandana,
)
