"""Error rates, each with a 95 % interval.

Words and formulas follow ISO/IEC 19795-1:2021: a comparison matches when its score is *at least* the
threshold; FMR and FNMR are of comparisons that took place; FAR and FRR are of attempts, where a failure to
acquire is never accepted, falsely or rightly; its score is −inf.

Every interval is over subjects: see `intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..lists.pairs import Comparisons, Flags
from .intervals import (
    FEW_ERRORS,
    LEVEL,
    SEED,
    TAILS,
    Rate,
    Subjects,
    Totals,
    clopper_pearson,
    percentiles,
    positive,
    rate,
    small_count,
)
from .replicates import Replicates

__all__ = ["LEVEL", "Rate", "Subjects", "System", "clopper_pearson", "rate", "threshold_at_fmr"]

Scores = NDArray[np.float64]
TAR_AT = (0.01, 0.001, 0.0001)


@dataclass(frozen=True)
class System:
    """One way of scoring a set of comparisons: a member, or the fusion.

    Args:
        scores: float64 (N,), higher is more alike; −inf where an image could not be acquired.
        subjects: the draws shared by all systems that are compared with each other.
        drawn: shared by all systems on the same comparisons; each its own when None.
    """

    comparisons: Comparisons
    scores: Scores
    subjects: Subjects
    drawn: Totals | None = None

    @cached_property
    def acquired(self) -> Flags:
        return np.isfinite(self.scores)

    @cached_property
    def same(self) -> Flags:
        return self.comparisons.same

    @cached_property
    def non_mated(self) -> Scores:
        """The scores of the non-mated comparisons that took place, highest first."""
        return np.sort(self.scores[~self.same & self.acquired])[::-1]

    @cached_property
    def mated(self) -> Scores:
        """The scores of the mated attempts, failures to acquire as −inf, highest first."""
        return np.sort(self.scores[self.same])[::-1]

    def share(self, hit: Flags, among: Flags) -> Rate:
        """The share of `among` that is `hit`, with its interval."""
        part, errors = self.comparisons.take(among), hit[among]
        if not len(part):
            raise ValueError("A rate needs at least one comparison, and these lists have none of the kind it counts.")
        low, high = percentiles(self.subjects.totals(part, errors), self._totals.of(among))
        value = float(errors.mean())
        few_low, few_high = small_count(part, errors)
        return rate(value, min(low, few_low), max(high, few_high))

    def fmr(self, threshold: float) -> Rate:
        return self.share(self.scores >= threshold, ~self.same & self.acquired)

    def fnmr(self, threshold: float) -> Rate:
        return self.share(self.scores < threshold, self.same & self.acquired)

    def far(self, threshold: float) -> Rate:
        return self.share(self.scores >= threshold, ~self.same)

    def frr(self, threshold: float) -> Rate:
        return self.share(self.scores < threshold, self.same)

    def tar_at_fmr(self, target: float) -> Rate | None:
        """1 − FRR where the FMR is at most `target`; None when there are too few non-mated comparisons for even one
        false match at the target.

        The interval includes the threshold's uncertainty: every replicate sets its own threshold.
        """
        if len(self.non_mated) * target < 1:
            return None
        threshold = threshold_at_fmr(self.non_mated, target)
        tars = self.tar_draws(target)
        missed = self.scores < threshold
        few_low, few_high = small_count(self.comparisons.take(self.same), missed[self.same])
        low, high = np.nanquantile(tars, TAILS)
        return rate(float((self.mated >= threshold).mean()), min(low, 1 - few_high), max(high, 1 - few_low))

    def draws(self, target: float, threshold: float) -> dict[str, Scores]:
        """In every replicate, shape (R,): TAR at the FMR `target`, EER, and FNMR and FMR at `threshold`. Systems that
        share `subjects` have the same people in the same replicate, so that their difference has an interval too. NaN
        where a replicate drew no comparison of a class."""

        def shares(wrong: Flags, among: Flags) -> Scores:
            return self.subjects.totals(self.comparisons.take(among), wrong[among]) / positive(self._totals.of(among))

        return {
            "tar": self.tar_draws(target),
            "eer": self.eer_draws,
            "fnmr": shares(self.scores < threshold, self.same & self.acquired),
            "fmr": shares(self.scores >= threshold, ~self.same & self.acquired),
        }

    def tar_draws(self, target: float) -> Scores:
        """`draws`' TAR alone; NaN where there are too few non-mated comparisons for the target."""
        if len(self.non_mated) * target < 1:
            return np.full(len(self.subjects.drawn), np.nan)
        return self._replicates.tar(target)

    def eer(self) -> Rate:
        """Where FMR and FNMR are equal, between the two thresholds around the crossing."""
        value = self._eer_value
        low, high = np.nanquantile(self.eer_draws, TAILS)
        took_place = self.same & self.acquired
        if value * took_place.sum() < FEW_ERRORS:
            missed = (self.scores < threshold_at_fmr(self.non_mated, value))[took_place]
            high = max(high, small_count(self.comparisons.take(took_place), missed)[1])
        return rate(value, low, high)

    @cached_property
    def _totals(self) -> Totals:
        return self.drawn or Totals(self.comparisons, self.subjects)

    @cached_property
    def _replicates(self) -> Replicates:
        return Replicates(self.comparisons, self.scores, self.subjects, self._totals)

    @cached_property
    def _eer_value(self) -> float:
        mated = self.mated[np.isfinite(self.mated)]
        return _eer(_ones(self.non_mated), _ones(mated), np.searchsorted(-mated, -self.non_mated, "left"))

    @cached_property
    def eer_draws(self) -> Scores:
        """`draws`' EER alone."""
        return self._replicates.eer(self._eer_value)

    def cllr(self) -> Rate:
        """Cost of the log-likelihood ratios in bits, 0 for perfect, 1 for knowing nothing, unbounded above
        (Brümmer and du Preez, 2006, eq. 17). The scores must be natural-log likelihood ratios."""
        sides = []
        for among, sign in ((self.same & self.acquired, -1), (~self.same & self.acquired, 1)):
            part, cost = (
                self.comparisons.take(among),
                np.logaddexp(0, sign * self.scores[among]) / math.log(2),
            )
            sides.append((cost.mean(), self.subjects.totals(part, cost) / positive(self._totals.of(among))))
        (mated, mated_drawn), (other, other_drawn) = sides
        low, high = np.nanquantile((mated_drawn + other_drawn) / 2, TAILS)
        return {"value": float((mated + other) / 2), "low": float(low), "high": float(high)}

    def accuracy(self) -> Rate:
        """Accuracy by LFW's protocol (Huang et al., 2007): each fold at the threshold that is best on all others.

        A list without folds is dealt into ten, by a fixed seed. A failure to acquire counts as wrong.
        """
        fold = self.comparisons.fold
        if len(np.unique(fold)) < 2:
            fold = np.random.default_rng(SEED).permutation(len(fold)).astype(np.int32) % 10
        right = np.zeros(len(fold), bool)
        for number in np.unique(fold):
            test = fold == number
            threshold = _most_accurate(self.scores[~test], self.same[~test])
            right[test] = (self.scores[test] >= threshold) == self.same[test]
        right &= self.acquired
        return self.share(right, np.ones(len(right), bool))

    def det(self, points: int = 200) -> list[dict[str, float]]:
        """The DET curve: `threshold`, `fmr`, `fnmr` at about `points` thresholds, evenly spaced in log FMR."""
        mated = self.mated[np.isfinite(self.mated)][::-1]
        at = np.unique(np.geomspace(1, len(self.non_mated), points).astype(int)) - 1
        thresholds = self.non_mated[at]
        fnmr = np.searchsorted(mated, thresholds, "left") / len(mated)
        fmr = np.searchsorted(-self.non_mated, -thresholds, "right") / len(self.non_mated)
        return [
            {"threshold": float(t), "fmr": float(x), "fnmr": float(y)}
            for t, x, y in zip(thresholds, fmr, fnmr, strict=True)
        ]


def threshold_at_fmr(non_mated: Scores, target: float) -> float:
    """The lowest threshold at which at most `target` of the non-mated scores match.

    Args:
        non_mated: finite scores, highest first, shape (N,).
        target: in [0, 1].
    """
    allowed = math.floor(len(non_mated) * target + 1e-9)
    if allowed >= len(non_mated):
        return float(non_mated[-1])
    return float(np.nextafter(non_mated[allowed], np.inf))


def _ones(scores: NDArray[np.generic]) -> Scores:
    return np.arange(1, len(scores) + 1) / max(1, len(scores))


def _eer(impostors: Scores, genuine: Scores, rank: NDArray[np.intp]) -> float:
    """The equal error rate of two cumulative curves.

    Args:
        impostors: FMR when the k+1 highest impostors match, shape (K,), rising.
        genuine: share of mated that match when the k+1 highest do, shape (M,), rising.
        rank: how many mated scores are higher than the k-th impostor, shape (K,).
    """

    def fnmr(k: int) -> float:
        return 1.0 - (float(genuine[rank[k] - 1]) if rank[k] else 0.0)

    if not len(impostors) or not len(genuine):
        return math.nan
    # bisection: with the threshold at the k-th impostor, FMR < FNMR at low and FMR ≥ FNMR at high
    low, high = -1, len(impostors) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if impostors[middle] >= fnmr(middle) else (middle, high)
    # between two impostors only the FNMR changes, at an impostor only the FMR
    fmr_before = float(impostors[low]) if low >= 0 else 0.0
    return min(max(fmr_before, fnmr(high)), float(impostors[high]))


def _most_accurate(scores: Scores, same: Flags) -> float:
    order = np.argsort(-scores, kind="stable")
    gain = np.cumsum(np.where(same[order], 1, -1))
    last = np.append(scores[order][1:] != scores[order][:-1], True)  # no threshold lies between equal scores
    best = int(np.argmax(np.where(last, gain, -len(scores))))
    return float(scores[order][best])


@dataclass(frozen=True, slots=True)
class ReportedRate:
    """A rate that a report gives for every member and for the fusion. `listed`: counted on the lists' own pairs, for a
    rate that means something only where mated pairs are about half."""

    title: str
    of: Callable[[System], Rate]
    listed: bool = False


RATES = {
    "eer": ReportedRate("EER", System.eer),
    "accuracy": ReportedRate("accuracy, 10 folds", System.accuracy, listed=True),
}
"""By its key in the report; `tar_at_fmr` comes besides, for each of TAR_AT."""
