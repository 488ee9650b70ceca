"""Reliability: are the scores the log-likelihood ratios that they claim to be? A score of 2 should be e² times as
frequent among mated comparisons as among non-mated ones. With both classes equally likely a priori, a score s claims
that the comparison is mated with the probability 1 / (1 + e^−s)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lists.pairs import Comparisons, Flags
from .intervals import TAILS, Rate, Values, rate, small_count
from .metrics import System

EDGES = (-6.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0)
FEWEST = 5


def reliability(system: System) -> list[dict[str, Any]]:
    """By bins of the score: `low` and `high` (None for no bound), `mated`, `non_mated`, `claimed` (the mean probability
    that the scores claim) and `observed` (the mated share). Both classes weigh the same; the last two are None in a bin
    with fewer than FEWEST comparisons.

    Args:
        system: scored in natural-log likelihood ratios.
    """
    sides = [_Side(system, side & system.acquired) for side in (system.same, ~system.same)]
    weights = np.where(system.same, 1 / max(1, sides[0].among.sum()), 1 / max(1, sides[1].among.sum()))
    bins = []
    for index in range(len(EDGES) + 1):
        inside = np.digitize(system.scores, EDGES) == index
        in_bin = np.flatnonzero(inside & system.acquired)
        enough = len(in_bin) >= FEWEST
        bins.append(
            {
                "low": EDGES[index - 1] if index else None,
                "high": EDGES[index] if index < len(EDGES) else None,
                "mated": int((inside & sides[0].among).sum()),
                "non_mated": int((inside & sides[1].among).sum()),
                "claimed": float(np.average(_probability(system.scores[in_bin]), weights=weights[in_bin]))
                if enough
                else None,
                "observed": _observed(*(side.shares(inside) for side in sides)) if enough else None,
            }
        )
    return bins


def _probability(scores: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-np.clip(scores, -700, 700))))


class _Side:
    """The mated or the non-mated comparisons: the share of them in a bin, with what its 95 % interval needs."""

    def __init__(self, system: System, among: Flags) -> None:
        self.among = among
        self._subjects = system.subjects
        self._part: Comparisons = system.comparisons.take(among)
        self._totals = np.maximum(self._subjects.totals(self._part), 1e-9)

    def shares(self, inside: Flags) -> tuple[float, tuple[float, float], Values]:
        """The share, the interval of `small_count` (the share itself where that has none), and the share in every
        replicate."""
        hit = inside[self.among]
        share = float(hit.mean()) if len(hit) else 0.0
        low, high = small_count(self._part, hit)
        few = (low, high) if low <= high else (share, share)
        return share, few, self._subjects.totals(self._part, hit) / self._totals


def _observed(
    mated: tuple[float, tuple[float, float], Values], other: tuple[float, tuple[float, float], Values]
) -> Rate:
    (m, (m_low, m_high), m_drawn), (o, (o_low, o_high), o_drawn) = mated, other
    drawn = m_drawn / np.maximum(m_drawn + o_drawn, 1e-12)
    low, high = np.quantile(drawn[m_drawn + o_drawn > 0], TAILS)
    return rate(m / (m + o), min(low, m_low / (m_low + o_high)), max(high, m_high / (m_high + o_low)))
