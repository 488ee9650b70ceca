"""Error rates by slice: by pose, light, blur and size, and by the attributes that a list has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..lists.pairs import Comparisons, Flags, Pool, Words
from ..pictures.embedding import Embedded
from ..rates.systems import Systems, row
from ..scoring import Values

MOST_VALUES = 12
"""Of an attribute in words, this many of the most frequent values are shown. An attribute in numbers that has more
values is cut at its quartiles."""
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
        for name, inside in _ranges(worst, cut.bounds):
            yield cut.name, f"{name}{cut.unit}", inside
    for by, words in pool.attributes.items():
        ranged = _values(words)
        first, second = ranged[comparisons.a], ranged[comparisons.b]
        for value in _frequent(ranged):
            yield f"{by} (both)", value, (first == value) & (second == value)
    for by, words in comparisons.attributes.items():
        ranged = _values(words)
        for value in _frequent(ranged):
            yield by, value, ranged == value


def _ranges(values: Values, bounds: tuple[float, ...]) -> Iterator[tuple[str, Flags]]:
    at = np.digitize(values, bounds)
    for index in range(len(bounds) + 1):
        low = f"{bounds[index - 1]:g}" if index else ""
        high = f"{bounds[index]:g}" if index < len(bounds) else ""
        name = f"{low}–{high}" if low and high else f"under {high}" if high else f"from {low}"
        yield name, np.asarray(np.isfinite(values) & (at == index))


def _values(words: Words) -> Words:
    """The attribute's words; where these are numbers of more than MOST_VALUES values, the range between quartiles that
    each lies in."""
    distinct = np.unique(words[words != ""])
    try:
        numbers = np.where(words == "", "nan", words).astype(np.float64)
    except ValueError:
        return words
    if len(distinct) <= MOST_VALUES:
        return words
    bounds = tuple(dict.fromkeys(float(q) for q in np.nanquantile(numbers, (0.25, 0.5, 0.75))))
    ranged = np.full(len(words), "", dtype="<U32")
    for name, inside in _ranges(numbers, bounds):
        ranged[inside] = name
    return ranged


def _frequent(words: Words) -> list[str]:
    values, counts = np.unique(words[words != ""], return_counts=True)
    most_frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST_VALUES])
    return [str(value) for value in values[most_frequent]]
