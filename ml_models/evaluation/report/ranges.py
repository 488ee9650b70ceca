"""Values by range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..lists.pairs import Flags
from ..scoring import Values


def ranges(values: Values, bounds: tuple[float, ...]) -> Iterator[tuple[str, Flags]]:
    """Each range between rising bounds, the lower one inside, with the values in it; NaN is in none."""
    at = np.digitize(values, bounds)
    for index in range(len(bounds) + 1):
        low = f"{bounds[index - 1]:g}" if index else ""
        high = f"{bounds[index]:g}" if index < len(bounds) else ""
        name = f"{low}–{high}" if low and high else f"under {high}" if high else f"from {low}"
        yield name, np.asarray(np.isfinite(values) & (at == index))
