"""EER and TAR in every replicate of the bootstrap: each draws its subjects and sets its own threshold.

Only the non-mated comparisons whose scores can be near the threshold are weighted one by one. Those above enter as one
sum, those below not at all: going through a list of millions a thousand times would take minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..lists.pairs import Comparisons, Flags
from .intervals import Subjects, Totals, Values

Counts = NDArray[np.float32]
Places = NDArray[np.intp]

# A replicate's FMR at a given rank is seldom off by more than this factor; at low counts a few ranks more are needed.
_FACTOR = 3.0
# narrower factors, tried first: large lists have so many non-mated comparisons that these suffice
_NARROWER = (1.3, 1.8)
_MORE = 20
# one in so many non-mated scores is sorted at first: enough for a TAR at an FMR of one in a hundred
_IN_ORDER = 25
_THRESHOLDS = 64
# numbers in memory at a time: 32 MB
_BUDGET = 8_000_000


class Replicates:
    """The comparisons of one system, sorted for drawing.

    Args:
        scores: float64 (N,), higher is more alike; −inf where an image could not be acquired.
    """

    def __init__(self, comparisons: Comparisons, scores: Values, subjects: Subjects, totals: Totals) -> None:
        same: Flags = comparisons.same
        strangers = ~same & np.isfinite(scores)
        self._comparisons, self._scores, self._subjects = comparisons, scores, subjects
        self._mated, self._strangers = np.flatnonzero(same), np.flatnonzero(strangers)
        self._mated = self._mated[np.argsort(-scores[self._mated])]
        self._finite = int(np.isfinite(scores[self._mated]).sum())
        self._sorted = np.empty(0, np.intp)
        self._rank = np.empty(0, np.intp)
        self._total = totals.of(strangers)
        self._tars: dict[float, Values] = {}

    def _others(self, stop: int) -> Places:
        """The places of the `stop` highest non-mated scores, the highest first. Only so many are sorted: most of
        millions are never needed. Sets `_rank`: for each of them, how many mated scores are higher."""
        if stop > len(self._sorted):
            depth = min(len(self._strangers), max(stop, len(self._strangers) // _IN_ORDER))
            falling = -self._scores[self._strangers]
            top = np.argpartition(falling, depth - 1)[:depth]
            top = top[np.argsort(falling[top])]
            self._sorted = self._strangers[top]
            self._rank = np.searchsorted(-self._scores[self._mated], falling[top], "left")
        return self._sorted[:stop]

    def tar(self, target: float) -> Values:
        """The share of mated attempts that match where the FMR is at most `target`, shape (R,); NaN where a replicate
        drew no mated or no non-mated comparison."""
        if target not in self._tars:
            self._tars[target] = self._tar(target)
        return self._tars[target]

    def _tar(self, target: float) -> Values:
        start, stop = self._bracket(target)
        tars = np.full(len(self._total), np.nan)
        for at, impostors, genuine in self._drawn(start, stop, len(self._mated)):
            first_over = np.minimum((impostors <= target).sum(0), stop - start - 1)
            accepted = self._rank[start + first_over]
            share = genuine[np.maximum(accepted, 1) - 1, np.arange(len(accepted))] / genuine[-1]
            tars[at] = np.where(np.isnan(impostors[0]), np.nan, np.where(accepted > 0, share, 0.0))
        return tars

    def eer(self, about: float) -> Values:
        """Where FMR and FNMR cross, shape (R,), interpolated linearly between two of some sixty thresholds.

        Args:
            about: the EER of the sample itself.
        """
        start, stop = self._window(max(about, 1e-9))
        if not self._finite or stop <= start:
            return np.full(len(self._total), np.nan)
        ranks = np.unique(np.geomspace(start + 1, stop, _THRESHOLDS).astype(int))
        others = self._others(stop)
        accepted = np.minimum(self._rank[ranks - 1], self._finite)
        with np.errstate(invalid="ignore"):  # NaN where a replicate drew no comparison of a class
            fmr = self._sums(others, ranks) / self._total
            mated = self._sums(self._mated, np.append(accepted, self._finite))
            fnmr = 1 - mated[:-1] / mated[-1]
        over = fmr - fnmr
        last = np.where((over >= 0).any(0), (over >= 0).argmax(0), len(ranks) - 1)
        column, first = np.arange(len(last)), np.maximum(last - 1, 0)
        before, after = -over[first, column], over[last, column]
        part = np.clip(before / np.where(before + after > 0, before + after, 1), 0, 1)
        crossing = fmr[first, column] + part * (fmr[last, column] - fmr[first, column])
        return np.asarray(np.where(last > 0, crossing, fmr[0]))

    def _sums(self, places: Places, ranks: NDArray[np.int_]) -> Values:
        """For each of the rising `ranks`, the weight of that many first comparisons at `places`: shape (K, R)."""
        sums, past = [], 0
        total = np.zeros(len(self._total))
        for rank in ranks:
            total = total + self._subjects.totals(self._comparisons.take(places[past:rank]))
            past = int(rank)
            sums.append(total)
        return np.stack(sums)

    def _window(self, fmr: float, factor: float = _FACTOR) -> tuple[int, int]:
        count = len(self._strangers)
        start = max(0, math.floor(count * fmr / factor) - _MORE)
        return start, min(count, math.ceil(count * fmr * factor) + _MORE)

    def _bracket(self, fmr: float) -> tuple[int, int]:
        """The narrowest window that contains every replicate's threshold; the widest one where none surely does."""
        for factor in _NARROWER:
            window = self._window(fmr, factor)
            totals = (self._subjects.totals(self._comparisons.take(self._others(end))) for end in window)
            under, over = (total / np.where(self._total > 0, self._total, np.nan) for total in totals)
            if (under <= fmr).all() and (over > fmr).all():
                return window
        return self._window(fmr)

    def _drawn(self, start: int, stop: int, mated: int) -> Iterator[tuple[slice, Values, Counts]]:
        """A chunk of C replicates at a time: which ones; the FMR at each non-mated score of the window, (W, C); and the
        cumulative weight of the mated comparisons, the highest score first, (M, C). The FMR is NaN where a replicate
        drew no comparison of a class."""
        before = self._subjects.totals(self._comparisons.take(self._others(start)))
        window, genuine = (self._comparisons.take(at) for at in (self._others(stop)[start:], self._mated[:mated]))
        step = max(1, _BUDGET // (stop - start + mated))
        for first in range(0, len(self._total), step):
            at = slice(first, first + step)
            total, right = self._total[at], np.cumsum(self._subjects.weights(genuine, at), 0)
            usable = (total > 0) & (right[-1] > 0)
            right = np.where(usable, right, 1.0).astype(np.float32, copy=False)
            sums = before[at] + np.cumsum(self._subjects.weights(window, at), 0)
            yield at, sums / np.where(usable, total, np.nan), right
