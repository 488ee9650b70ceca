"""95 % intervals of rates.

Comparisons that share a person are not independent, so the intervals come from a bootstrap over *subjects*:
subjects are drawn with replacement. A mated comparison counts as often as its subject was drawn, a non-mated
one as often as the product of its two subjects' draws: Bolle et al., 2004 (subsets bootstrap); Owen, 2007
(pigeonhole bootstrap), which errs to the wide side. Where fewer than five people, or pairs of people, are in
error, a bootstrap underestimates the tail. The interval is then widened to Clopper and Pearson's (1934), in
people and pairs of people; for zero errors in N that is about the rule of three, 3 / N.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..lists.pairs import Comparisons, Flags

Values = NDArray[np.float64]
Rate = dict[str, float]
"""{"value", "low", "high"}, in [0, 1] unless said otherwise."""

LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
FEW_ERRORS = 5
REPLICATES = 1000
SEED = 19795
_CHUNK = 4096


class Subjects:
    """Which subjects each bootstrap replicate drew; shared by every metric, so that differences are
    paired."""

    def __init__(self, count: int, replicates: int = REPLICATES, seed: int = SEED) -> None:
        self.count = count
        rng = np.random.default_rng(seed)
        self.drawn = rng.multinomial(count, np.full(count, 1 / count), size=replicates).astype(np.float32)
        self._by_subject = np.ascontiguousarray(self.drawn.T)

    def weights(self, comparisons: Comparisons, replicates: slice = slice(None)) -> NDArray[np.float32]:
        """The weight of each comparison in each of these replicates, shape (N, R)."""
        drawn = self._by_subject[:, replicates]
        weights = drawn[comparisons.subject_a]
        others = np.flatnonzero(~comparisons.same)
        weights[others] *= drawn[comparisons.subject_b[others]]
        return weights

    def totals(self, comparisons: Comparisons, values: Values | Flags | None = None) -> Values:
        """The weighted sum of `values` (1 when None) over the comparisons, for every replicate at once:
        shape (R,)."""
        if values is not None:
            some = np.flatnonzero(values)
            comparisons, values = comparisons.take(some), np.asarray(values[some], np.float64)
        # a product over all pairs of subjects costs the same for a thousand comparisons as for a million
        few = 100 * len(comparisons) < self.count**2
        return self._one_by_one(comparisons, values) if few else self._by_pair(comparisons, values)

    def _one_by_one(self, comparisons: Comparisons, values: Values | None) -> Values:
        totals = np.zeros(len(self.drawn))
        for start in range(0, len(comparisons), _CHUNK):
            at = np.arange(start, min(start + _CHUNK, len(comparisons)))
            weights = self.weights(comparisons.take(at))
            totals += weights.sum(0) if values is None else values[at] @ weights
        return totals

    def _by_pair(self, comparisons: Comparisons, values: Values | None) -> Values:
        keys = comparisons.subject_a.astype(np.int64) * self.count + comparisons.subject_b
        by_pair = np.bincount(keys, values, self.count**2).astype(np.float32)
        square = by_pair.reshape(self.count, self.count)
        mated = self.drawn @ np.diag(square).copy()
        np.fill_diagonal(square, 0)
        non_mated = np.einsum("rs,rs->r", self.drawn @ square, self.drawn)
        return np.asarray(non_mated + mated, np.float64)


class Totals:
    """The weight of some comparisons in every replicate. Several systems and rates need the same totals, and a total of
    millions takes long: each is counted once."""

    def __init__(self, comparisons: Comparisons, subjects: Subjects) -> None:
        self._comparisons, self._subjects = comparisons, subjects
        self._known: list[tuple[Flags, Values]] = []

    def of(self, among: Flags) -> Values:
        """Shape (R,)."""
        for flags, total in self._known:
            if np.array_equal(flags, among):
                return total
        self._known.append((among, self._subjects.totals(self._comparisons.take(among))))
        return self._known[-1][1]


def rate(value: float, low: float, high: float) -> Rate:
    return {
        "value": float(value),
        "low": float(min(max(low, 0.0), value)),
        "high": float(max(min(high, 1.0), value)),
    }


def clopper_pearson(errors: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact binomial interval (Clopper and Pearson, 1934), by bisection on the binomial tail."""

    def at_most(k: int, p: float) -> float:
        logs = [
            math.lgamma(trials + 1)
            - math.lgamma(i + 1)
            - math.lgamma(trials - i + 1)
            + i * math.log(p)
            + (trials - i) * math.log1p(-p)
            for i in range(k + 1)
        ]
        return math.fsum(map(math.exp, logs))

    def solve(k: int, tail: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(k, middle) > tail else (low, middle)
        return (low + high) / 2

    side = (1 - level) / 2
    lower = solve(errors - 1, 1 - side) if errors else 0.0
    return lower, solve(errors, side) if errors < trials else 1.0


def small_count(comparisons: Comparisons, errors: Flags) -> tuple[float, float]:
    """Clopper and Pearson's interval in people or pairs of people; (1, 0), which widens nothing, when
    FEW_ERRORS or more are in error and as many are not."""
    low = np.minimum(comparisons.subject_a, comparisons.subject_b).astype(np.int64)
    high = np.maximum(comparisons.subject_a, comparisons.subject_b)
    keys, size = low * (int(high.max(initial=0)) + 1) + high, (int(high.max(initial=0)) + 1) ** 2
    wrong, right, units = (_distinct(part, size) for part in (keys[errors], keys[~errors], keys))
    if wrong < FEW_ERRORS:
        return clopper_pearson(wrong, units)
    if right < FEW_ERRORS:
        low_share, high_share = clopper_pearson(right, units)
        return 1 - high_share, 1 - low_share
    return 1.0, 0.0


def _distinct(keys: NDArray[np.int64], size: int) -> int:
    if len(keys) < size // 64:
        return len(np.unique(keys))
    present = np.zeros(size, bool)
    present[keys] = True
    return int(present.sum())


def positive(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where a total is not above 0, to divide by."""
    return np.where(totals > 0, totals, np.nan)


def percentiles(hits: NDArray[np.float64], totals: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanquantile(hits / positive(totals), TAILS)
    return float(low), float(high)
