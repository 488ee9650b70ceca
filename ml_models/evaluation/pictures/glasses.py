"""Glasses of many shapes, dark ones and clear ones. Lengths as in `parts`."""

from __future__ import annotations

import numpy as np

from ...engine.types import Image
from .parts import (
    EYE_LINE,
    EYES,
    MIDDLE,
    Lenses,
    draw_frame,
    drops,
    frame_colour,
    glasses,
    lens_colour,
    lens_opacity,
    plain,
    superellipses,
)
from .scene import Layer, Scene


def dark_glasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Rectangular to round, 60 % dark to black, some lighter towards the bottom, some without a rim."""
    layer, frame = Layer(scene), frame_colour(rng)
    half = rng.uniform(12.5, 18.5), rng.uniform(8.5, 15.5)
    lenses = superellipses(half, roundness=rng.uniform(2, 8), drop=rng.uniform(-1, 4))
    colour, opacity = lens_colour(rng), lens_opacity(layer, rng.uniform(0.6, 1.0), rng)
    return glasses(layer, lenses, (colour, opacity), rng.uniform(0, 3.5), frame, rng)


def aviators(scene: Scene, rng: np.random.Generator) -> Image:
    """Drop-shaped dark lenses on a thin metal frame."""
    layer = Layer(scene)
    lenses = drops(rng.uniform(15, 19), rng.uniform(12, 16))
    colour, opacity = lens_colour(rng), lens_opacity(layer, rng.uniform(0.6, 1.0), rng)
    rim, metal = rng.uniform(0.8, 1.4), np.asarray(rng.uniform(90, 200) * np.array([1, 0.9, 0.6]), np.float32)
    return glasses(layer, lenses, (colour, opacity), rim, metal, rng)


def visor(scene: Scene, rng: np.random.Generator) -> Image:
    """One shield from temple to temple, black or mirrored in a colour that changes from top to bottom."""
    layer = Layer(scene)
    reach, upper, lower = rng.uniform(38, 48), rng.uniform(10, 16), rng.uniform(9, 15)
    x = np.linspace(-1, 1, 25)
    brow = EYE_LINE - upper * (1 - 0.25 * x**4)
    rim = EYE_LINE + lower * (1 - 0.45 * np.exp(-((x / 0.18) ** 2)) - 0.35 * x**4)
    outline = np.concatenate(
        [np.column_stack([MIDDLE + reach * x, brow]), np.column_stack([MIDDLE + reach * x, rim])[::-1]]
    )
    _, y = layer.xy
    mirrored = rng.uniform(20, 160, (2, 3)) if rng.random() < 0.5 else np.tile(rng.uniform(5, 40, (1, 3)), (2, 1))
    share = np.clip((y - (EYE_LINE - upper)) / (upper + lower), 0, 1)[..., None]
    paint = ((1 - share) * mirrored[0] + share * mirrored[1]).astype(np.float32)
    layer.fill(outline, paint, float(rng.uniform(0.7, 1.0)))
    return layer.laid_over()


def wraparound(scene: Scene, rng: np.random.Generator) -> Image:
    """Mirrored lenses for sport that run up to the temples, two bright colours with a horizon between them,
    under half a rim."""
    layer, frame = Layer(scene), frame_colour(rng)
    width, upper, lower, lift = rng.uniform(18, 22), rng.uniform(8, 12), rng.uniform(9, 14), rng.uniform(3, 8)
    _, y = layer.xy
    share = (0.5 + 0.5 * np.tanh((y - EYE_LINE + rng.uniform(-4, 4)) / rng.uniform(1, 8)))[..., None]
    sky, ground = rng.uniform(0, 255, (2, 3))
    paint = np.asarray((1 - share) * sky + share * ground, np.float32)
    opacity, along = float(rng.uniform(0.7, 1.0)), np.linspace(-1, 1, 25)
    for eye, outwards in zip(EYES, (-1, 1), strict=True):
        x, rise = eye[0] + width * along, lift * np.clip(outwards * along, 0, 1) ** 2
        brow = np.column_stack([x, eye[1] - upper * (1 - 0.3 * along**2) - rise])
        rim = np.column_stack([x, eye[1] + lower * (1 - 0.8 * along**2) - rise])
        layer.fill(np.concatenate([brow, rim[::-1]]), paint, opacity)
        layer.line(brow, 2.0, frame)
    return layer.laid_over()


def oversized(scene: Scene, rng: np.random.Generator) -> Image:
    """Dark squares from over the brows down to the cheeks, joined at the bridge."""
    layer, frame = Layer(scene), frame_colour(rng)
    lenses = superellipses((rng.uniform(17.5, 20), rng.uniform(16, 22)), rng.uniform(3, 6), rng.uniform(3, 7))
    opacity = lens_opacity(layer, rng.uniform(0.6, 1.0), rng)
    return glasses(layer, lenses, (lens_colour(rng), opacity), rng.uniform(1, 5), frame, rng)


def goggles(scene: Scene, rng: np.random.Generator) -> Image:
    """Small dark or mirrored cups in a wide rubber rim, held by a band around the head."""
    layer, rubber = Layer(scene), plain(rng)
    lenses = superellipses((rng.uniform(10, 13), rng.uniform(6.5, 9)), rng.uniform(2, 3), rng.uniform(0, 2))
    colour = np.asarray(rng.uniform(5, 170, 3), np.float32)
    for side in (-1, 1):
        layer.line([(MIDDLE + 26 * side, EYE_LINE), (MIDDLE + 54 * side, EYE_LINE - 6)], rng.uniform(4, 8), rubber)
    return glasses(layer, lenses, (colour, float(rng.uniform(0.65, 1.0))), rng.uniform(4, 7), rubber, rng)


def clear_glasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Rectangular to round, with lenses that take at most 30 % of the light, and always a frame."""
    layer, frame = Layer(scene), frame_colour(rng)
    half = rng.uniform(12.5, 18.5), rng.uniform(8.5, 15.5)
    lenses = superellipses(half, roundness=rng.uniform(2, 8), drop=rng.uniform(-1, 4))
    colour, opacity = lens_colour(rng), float(rng.uniform(0, 0.3))
    return glasses(layer, lenses, (colour, opacity), rng.uniform(0.7, 3.0), frame, rng)


def browline(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear drop-shaped lenses under a heavy upper rim."""
    layer, frame = Layer(scene), frame_colour(rng)
    lenses = drops(rng.uniform(14, 18), rng.uniform(11, 14))
    colour, opacity, heavy = lens_colour(rng), float(rng.uniform(0, 0.2)), rng.uniform(2.5, 4.0)
    for lens in lenses:
        layer.fill(lens, colour, opacity)
        layer.line(lens, 0.8, frame, closed=True)
        layer.line(lens[24:], heavy, frame)
    draw_frame(layer, lenses, 0.0, frame, rng)
    return layer.laid_over()


def rimless(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear lenses without a rim, each with the light of a window in it, on thin metal."""
    layer = Layer(scene)
    half = rng.uniform(11, 17), rng.uniform(8, 12)
    metal = np.asarray(rng.uniform(110, 210, 3), np.float32)
    lenses = superellipses(half, roundness=rng.uniform(2.5, 5), drop=rng.uniform(0, 4))
    colour, opacity, glare = lens_colour(rng), float(rng.uniform(0, 0.15)), float(rng.uniform(0.1, 0.6))
    place, lean = rng.uniform(-0.5, 0.3) * half[0], rng.uniform(-4, 4)
    for lens in lenses:
        layer.fill(lens, colour, opacity)
        x, y = lens.mean(0) + np.array((place, 0))
        top, bottom, width = y - 0.6 * half[1], y + 0.4 * half[1], 0.35 * half[0]
        window = [(x + lean, top), (x + lean + width, top), (x + width, bottom), (x, bottom)]
        layer.fill(window, np.full(3, 235, np.float32), glare)
    draw_frame(layer, lenses, 0.0, metal, rng)
    return layer.laid_over()


def thick_round(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear round lenses in a thick rim."""
    layer, frame, radius = Layer(scene), frame_colour(rng), rng.uniform(12, 17)
    lenses = superellipses((radius, radius), roundness=2, drop=rng.uniform(-1, 3))
    colour, opacity = lens_colour(rng), float(rng.uniform(0, 0.2))
    return glasses(layer, lenses, (colour, opacity), rng.uniform(3.5, 5.5), frame, rng)


def tinted(scene: Scene, rng: np.random.Generator) -> Image:
    """Large square lenses darker than clear ones and lighter than dark ones, 30 to 60 %."""
    layer, frame = Layer(scene), frame_colour(rng)
    lenses = superellipses(
        (rng.uniform(16, 19), rng.uniform(14, 18)), roundness=rng.uniform(4, 8), drop=rng.uniform(1, 5)
    )
    colour, opacity = np.asarray(rng.uniform(20, 130, 3), np.float32), float(rng.uniform(0.3, 0.6))
    return glasses(layer, lenses, (colour, opacity), rng.uniform(0, 2), frame, rng)


def cat_eye(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear lenses that rise to a point at the temples, in a frame that is thick there."""
    layer, frame = Layer(scene), frame_colour(rng)
    half, lift = (rng.uniform(14, 18), rng.uniform(9, 12)), rng.uniform(4, 8)
    lenses = []
    for lens, outwards in zip(superellipses(half, rng.uniform(2, 3.5), rng.uniform(-1, 3)), (-1, 1), strict=True):
        along = (lens - lens.mean(0)) / half
        risen = np.clip(outwards * along[:, 0], 0, 1) * np.clip(0.4 - along[:, 1], 0, 1)
        lenses.append(lens + np.column_stack([0.4 * outwards * lift * risen, -lift * risen]))
    for lens in lenses:
        layer.line(lens[lens[:, 1] < lens[:, 1].mean()], rng.uniform(2, 4), frame)
    return glasses(layer, lenses, (lens_colour(rng), float(rng.uniform(0, 0.2))), rng.uniform(1.5, 3), frame, rng)


def hexagonal(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear six-cornered lenses in thin metal, with a second bridge in half of the draws."""
    layer, metal = Layer(scene), np.asarray(rng.uniform(70, 210) * np.array([1, 0.92, 0.75]), np.float32)
    half, drop = (rng.uniform(13, 18), rng.uniform(11, 15)), rng.uniform(0, 4)
    corners = np.array([(-1, 0), (-0.5, -0.9), (0.5, -0.9), (1, 0), (0.5, 0.9), (-0.5, 0.9)])
    lenses = [eye + np.array((0, drop)) + corners * half for eye in EYES]
    if rng.random() < 0.5:
        y = EYE_LINE - 0.8 * half[1]
        layer.line([(lenses[0][2, 0], y), (lenses[1][1, 0], y)], 1.2, metal)
    return glasses(layer, lenses, (lens_colour(rng), float(rng.uniform(0, 0.15))), rng.uniform(0.8, 1.6), metal, rng)


def see_through(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear lenses in a wide frame of clear or coloured plastic that skin is seen through."""
    layer, plastic = Layer(scene), np.asarray(rng.uniform(120, 250, 3), np.float32)
    half, roundness, drop = (rng.uniform(12, 16), rng.uniform(9, 13)), rng.uniform(2, 6), rng.uniform(-1, 3)
    rim, opacity = rng.uniform(3, 5), float(rng.uniform(0.3, 0.6))
    inner = superellipses(half, roundness, drop)
    for lens, outer in zip(inner, superellipses((half[0] + rim, half[1] + rim), roundness, drop), strict=True):
        # the frame is a ring: the outer outline, and the inner one the other way round
        layer.fill(np.concatenate([outer, outer[:1], lens[:1], lens[::-1]]), plastic, opacity)
        layer.fill(lens, lens_colour(rng), 0.05)
    draw_frame(layer, inner, 0.0, plastic, rng)
    return layer.laid_over()


def half_moons(scene: Scene, rng: np.random.Generator) -> Image:
    """Reading glasses worn low: clear half moons under the eyes, the straight rim across them."""
    layer, frame = Layer(scene), frame_colour(rng)
    width, height, drop = rng.uniform(12, 16), rng.uniform(9, 12), rng.uniform(1, 4)
    moon = np.linspace(0, np.pi, 24)
    lenses: Lenses = [
        eye + np.array((0, drop)) + np.column_stack([width * np.cos(moon), height * np.sin(moon)]) for eye in EYES
    ]
    return glasses(layer, lenses, (lens_colour(rng), float(rng.uniform(0, 0.2))), rng.uniform(1, 3), frame, rng)


DARK = (dark_glasses, aviators, visor, wraparound, oversized, goggles)
CLEAR = (clear_glasses, browline, rimless, thick_round, tinted, cat_eye, hexagonal, see_through, half_moons)
"""Clear ones, and `tinted` ones."""
