"""The members and their fusion, measured on the same comparisons and the same draws of subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..lists.pairs import Comparisons, Flags, concatenate
from ..scoring import Labelled, Scored, Values
from .intervals import TAILS, Subjects, Totals
from .metrics import System, threshold_at_fmr

TAR_IN_TABLES = 0.001
"""The FMR at which slices and stress tables give the TAR."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The comparisons of a pool, list by list: the members' similarities, and the fused score."""

    labelled: list[Labelled]
    fused: list[Scored]

    def scored_ones(self) -> Scores:
        """Without the comparisons that cross-validation could not score: those between the parts, where it has two."""
        has_score = [~np.isnan(scored.score) for scored in self.fused]
        return Scores(
            [item.take(keep) for item, keep in zip(self.labelled, has_score, strict=True)],
            [scored.take(keep) for scored, keep in zip(self.fused, has_score, strict=True)],
        )


@dataclass(frozen=True)
class Systems:
    """Comparisons with every system's scores: the members' similarities by name, the fusion's margin and score; −inf
    where an image was not acquired. Every interval draws from `subjects`. A system's sorting and draws are costly: each
    is made once and cached."""

    comparisons: Comparisons
    similarities: dict[str, Values]
    margin: Values
    score: Values
    subjects: Subjects

    @classmethod
    def of(cls, scores: Scores, index: int, subjects: Subjects) -> Systems:
        """Those of one list."""
        item, fused = scores.labelled[index], scores.fused[index]
        similarities = {name: np.where(np.isnan(v), -np.inf, v) for name, v in item.observations.similarities.items()}
        return cls(item.comparisons, similarities, fused.margin, fused.score, subjects)

    @classmethod
    def each(cls, scores: Scores, subjects: Subjects) -> list[Systems]:
        """List by list."""
        return [cls.of(scores, index, subjects) for index in range(len(scores.labelled))]

    @classmethod
    def together(cls, each: Sequence[Systems]) -> Systems:
        """Those of all lists in one; a pair of images that is in two lists counts once."""
        if len(each) == 1:
            return each[0]
        comparisons, first = concatenate([systems.comparisons for systems in each])

        def joined(values: Iterable[Values]) -> Values:
            return np.concatenate(list(values))[first]

        similarities = {name: joined(systems.similarities[name] for systems in each) for name in each[0].similarities}
        margin, score = joined(s.margin for s in each), joined(s.score for s in each)
        return cls(comparisons, similarities, margin, score, each[0].subjects)

    def take(self, keep: Flags) -> Systems:
        similarities = {name: values[keep] for name, values in self.similarities.items()}
        return Systems(self.comparisons.take(keep), similarities, self.margin[keep], self.score[keep], self.subjects)

    @property
    def acquired(self) -> Flags:
        return np.isfinite(self.margin)

    @cached_property
    def members(self) -> dict[str, System]:
        return {name: self._system(values) for name, values in self.similarities.items()}

    @cached_property
    def fused(self) -> System:
        """Scored by margin: at least 0 is a match, whichever voter set it was."""
        return self._system(self.margin)

    @cached_property
    def scored(self) -> System:
        """Scored by the log-likelihood ratio, for figures about it."""
        return self._system(self.score)

    def _system(self, scores: Values) -> System:
        return System(self.comparisons, scores, self.subjects, self._drawn)

    @cached_property
    def _drawn(self) -> Totals:
        return Totals(self.comparisons, self.subjects)

    def thresholds(self, target_fmr: float) -> dict[str, float | None]:
        """The threshold at which each member alone holds the target FMR on these comparisons; None where they are too
        few."""
        return {
            name: threshold_at_fmr(member.non_mated, target_fmr) if len(member.non_mated) * target_fmr >= 1 else None
            for name, member in self.members.items()
        }


def advantage(systems: Systems) -> dict[str, Any] | None:
    """The fusion's gain over the member that is best on these very comparisons, a harder rival than one chosen
    beforehand. `over` is that member's name; `tar` the difference of the TARs at an FMR of TAR_IN_TABLES, in [-1, 1];
    `eer` the fusion's EER divided by the member's. Both are {"estimate", "low", "high"}, since they are no rates. None
    where there are too few comparisons."""
    fused, members = systems.fused, systems.members
    rates = {name: member.tar_at_fmr(TAR_IN_TABLES) for name, member in members.items()}
    tars = {name: rate["value"] for name, rate in rates.items() if rate}
    mine = fused.tar_at_fmr(TAR_IN_TABLES) if (fused.same & fused.acquired).any() else None
    if not tars or mine is None:
        return None
    best = max(tars, key=lambda name: tars[name])
    rival = members[best]
    gained = fused.tar_draws(TAR_IN_TABLES) - rival.tar_draws(TAR_IN_TABLES)
    some = rival.eer_draws > 0
    ratio = fused.eer_draws[some] / rival.eer_draws[some]
    eer = rival.eer()["value"]
    return {
        "over": best,
        "tar": _interval(mine["value"] - tars[best], gained),
        "eer": _interval(fused.eer()["value"] / eer, ratio) if eer and len(ratio) else None,
    }


def _interval(value: float, draws: Values) -> dict[str, float]:
    low, high = np.nanquantile(draws, TAILS)
    return {"estimate": float(value), "low": float(min(low, value)), "high": float(max(high, value))}


def row(systems: Systems, thresholds: Mapping[str, float | None], *, compared: bool = False) -> dict[str, Any]:
    """One line of a table: `subjects`, `mated`, `non_mated`, then `members.NAME`, `fused` and `advantage`.

    Each system has `fnmr` and `fmr` at its own threshold, the version's for the fusion, and `tar` at an FMR of
    TAR_IN_TABLES within the line; None where there is nothing to count. `advantage` is None unless `compared`.
    """
    comparisons = systems.comparisons
    compared = compared and bool(comparisons.same.any()) and not comparisons.same.all()
    return {
        "subjects": len(np.union1d(comparisons.subject_a, comparisons.subject_b)),
        "mated": int(comparisons.same.sum()),
        "non_mated": int((~comparisons.same).sum()),
        "members": {name: _figures(systems.members[name], threshold) for name, threshold in thresholds.items()},
        "fused": _figures(systems.fused, 0.0),
        "advantage": advantage(systems) if compared else None,
    }


def _figures(system: System, threshold: float | None) -> dict[str, Any]:
    mated, others = bool((system.same & system.acquired).any()), bool((~system.same & system.acquired).any())
    return {
        "fnmr": system.fnmr(threshold) if mated and threshold is not None else None,
        "fmr": system.fmr(threshold) if others and threshold is not None else None,
        "tar": system.tar_at_fmr(TAR_IN_TABLES) if mated and others else None,
    }
