"""Small sums that several measurements need."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share, in (0, 1], does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
