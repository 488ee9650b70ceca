"""Error rates by slice: by pose, light, blur and size, and by the attributes that a list has.

A comparison belongs to a value of an attribute when both sides have it, `(both)`: a non-mated one is then of two people
of one group. Those of two groups are `(mixed)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..lists.pairs import Comparisons, Flags, Pool
from ..pictures.embedding import Embedded
from ..rates.systems import Systems, row
from ..scoring import Values
from . import attributes
from .ranges import ranges

FEWEST = 10
"""A slice with fewer comparisons is left out."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A measure of the engine's `Quality`, cut at `bounds`, which are in `unit`. A comparison belongs to the slice of
    its poorer picture, whose value `worst` gives from both pictures' values."""

    name: str
    field: str
    unit: str
    bounds: tuple[float, ...]
    worst: Callable[[Values, Values], Values]


def _larger_angle(a: Values, b: Values) -> Values:
    return np.maximum(np.abs(a), np.abs(b))


CUTS = (
    Cut("yaw", "yaw_deg", "°", (15, 30, 50), _larger_angle),
    Cut("darkness (luminance)", "brightness", "", (40, 70, 110), np.minimum),
    Cut("blur (sharpness)", "sharpness", "", (50, 150, 500), np.minimum),
    Cut("size", "face_px", " px", (60, 100, 160), np.minimum),
)


def table(
    systems: Systems,
    pool: Pool,
    embedded: Embedded,
    thresholds: Mapping[str, float | None],
) -> list[dict[str, Any]]:
    """One row for each slice: `by`, `slice`, and the figures of `systems.row`. Only comparisons of two acquired
    pictures are counted: a failure to acquire has no pose or light to be sorted by."""
    systems = systems.take(systems.acquired)
    rows = []
    for by, name, inside in _all(systems.comparisons, pool, embedded):
        if inside.sum() >= FEWEST:
            rows.append({"by": by, "slice": name, **row(systems.take(inside), thresholds)})
    return rows


def _all(comparisons: Comparisons, pool: Pool, embedded: Embedded) -> Iterator[tuple[str, str, Flags]]:
    for cut in CUTS:
        values = embedded.quality[cut.field]
        worst = cut.worst(values[comparisons.a], values[comparisons.b])
        for name, inside in ranges(worst, cut.bounds):
            yield cut.name, f"{name}{cut.unit}", inside
    for by, name, inside in _attributes(comparisons, pool):
        yield by, name, attributes.of_enough_people(comparisons, inside)


def _attributes(comparisons: Comparisons, pool: Pool) -> Iterator[tuple[str, str, Flags]]:
    c = comparisons
    of_people = [(by, words, c.subject_a, c.subject_b) for by, words in attributes.of_people(pool).items()]
    of_pictures = [(by, words, c.a, c.b) for by, words in attributes.of_pictures(pool).items()]
    for by, words, a, b in (*of_people, *of_pictures):
        first, second = words[a], words[b]
        for value in attributes.frequent(words):
            yield f"{by} (both)", value, (first == value) & (second == value)
        yield f"{by} (mixed)", "two different ones", (first != second) & (first != "") & (second != "")
    for by, words in comparisons.attributes.items():
        banded = attributes.banded(words)
        for value in attributes.frequent(banded):
            yield by, value, banded == value
