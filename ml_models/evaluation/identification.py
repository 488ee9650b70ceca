"""Identification on rosters made from lists of single pictures: the offsets of a version, and what comes of them.

Each subject of a list has one picture as its template; every other picture of the list searches the templates. A roster
of N is N of them at random: rates are expectations over all such rosters, counted and not drawn. In the words of
ISO/IEC 19795-1:2021: FPIR is the share of searches by somebody who is not on the roster in which a candidate reaches
the threshold; FNIR the share of searches by somebody who is on it and is not named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.identify import MAX_CANDIDATES, IdentificationRule, Offset
from .calibration.rules import REVIEW_FMR_FACTOR, CannotCalibrate
from .lists.pairs import Comparisons, Pool, comparisons_needed
from .pictures.embedding import Embedded
from .rates.intervals import FEW_ERRORS, Rate, Subjects, clopper_pearson, percentiles, rate
from .scoring import Labelled, Observations

Values = NDArray[np.float64]
SIZES = (1, 10, 50, 200, 1000, MAX_CANDIDATES)
"""The rosters that offsets are fitted for."""
SEED = 19795
# a roster that holds most of a list's people says little that the next one of them does not
MOST_OF_A_LIST = 0.5
# Beyond it a handful of pairs decides, among them people who are in a benchmark under two names.
MEASURED_TO = 200
# 1, 10 and 50: from fewer nothing is extrapolated
FEWEST_SIZES = 3


def searches(name: str, listed: Comparisons, embedded: Embedded, subject_of: NDArray[np.int32]) -> Labelled:
    """One list's searches: every picture of its second side against a template, one picture, of everybody on its first.
    In `comparisons` a indexes the templates and b the pictures; a template is not compared with itself."""
    first, second = (np.unique(side[embedded.acquired[side]]) for side in (listed.a, listed.b))
    templates: dict[int, int] = {}
    for image in np.random.default_rng(SEED).permutation(first):
        templates.setdefault(int(subject_of[image]), int(image))
    refs, people = np.array(list(templates.values()), np.int32), np.array(list(templates), np.int32)
    a, b = (side.ravel() for side in np.meshgrid(np.arange(len(refs)), np.arange(len(second)), indexing="ij"))
    others = refs[a] != second[b]
    a, b = a[others].astype(np.int32), b[others].astype(np.int32)
    similarities, log_norms = {}, {}
    for member, vectors in embedded.vectors.items():
        similarities[member] = (vectors[refs] @ vectors[second].T)[a, b].astype(np.float64)
        logs = np.log(embedded.norms[member])
        log_norms[member] = np.minimum(logs[refs][a], logs[second][b]).astype(np.float64)
    glasses = embedded.quality["glasses"][:, None]
    return Labelled(
        name,
        Comparisons(a, b, people[a], subject_of[second][b], np.zeros(len(a), np.int32)),
        Observations(similarities, log_norms),
        embedded.quality["score"][second][b],
        {member: vectors[refs][:, None] for member, vectors in embedded.vectors.items()},
        {member: vectors[second][:, None] for member, vectors in embedded.vectors.items()},
        glasses=(glasses[refs], glasses[second]),
    )


def every_list(pool: Pool, embedded: Embedded) -> list[Labelled]:
    """The searches of every list; `pool` has every picture against every other."""
    lists = zip(pool.names, pool.lists, strict=True)
    return [searches(name, listed, embedded, pool.subject_of) for name, listed in lists]


@dataclass(frozen=True, slots=True)
class Searches:
    """A list's searches as matrices: `margin` and `same`, shape (searches, templates), margin −inf where a picture is
    not compared; whose the pictures and the templates are."""

    margin: Values
    same: NDArray[np.bool_]
    searcher: NDArray[np.int32]
    template: NDArray[np.int32]

    @classmethod
    def of(cls, item: Labelled, margin: Values) -> Searches:
        c = item.comparisons
        shape = (int(c.b.max()) + 1, int(c.a.max()) + 1)
        margins, same = np.full(shape, -np.inf), np.zeros(shape, bool)
        margins[c.b, c.a], same[c.b, c.a] = np.nan_to_num(margin, nan=-np.inf), c.same
        searcher, template = np.empty(shape[0], np.int32), np.empty(shape[1], np.int32)
        searcher[c.b], template[c.a] = c.subject_b, c.subject_a
        return cls(margins, same, searcher, template)

    def take(self, searchers: NDArray[np.bool_], templates: NDArray[np.bool_]) -> Searches:
        block = np.ix_(searchers, templates)
        return Searches(self.margin[block], self.same[block], self.searcher[searchers], self.template[templates])

    @property
    def own(self) -> Values:
        """Each search's margin with the searcher's own template, NaN where there is none."""
        mated = self.same & np.isfinite(self.margin)
        return np.where(mated.any(1), np.where(mated, self.margin, -np.inf).max(1), np.nan)

    def reaching(self, offset: Values | float) -> NDArray[np.bool_]:
        """Which other people's templates reach the threshold, shape (searches, templates)."""
        return np.asarray((self.margin >= np.reshape(offset, (-1, 1))) & ~self.same)


_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])


def some_reach(reaching: Values, among: Values | int, size: int) -> Values:
    """The probability that a roster of `size`, at random, has one of those that reach the threshold.

    Args:
        reaching: how many of all do; counts may be weighted.
        among: how many there are. Where these are fewer than `size`, as if each were there several times.
    """
    reaching, total = np.broadcast_arrays(np.asarray(reaching, np.float64), np.asarray(among, np.float64))
    result = np.zeros(reaching.shape)
    some = reaching > 0
    k, m = reaching[some], total[some]
    log_none = np.full(len(k), -np.inf)
    fits, larger = m - k >= size, m < size
    # the hypergeometric C(m - k, size) / C(m, size)
    k_, m_ = k[fits], m[fits]
    if k_.size:
        log_none[fits] = (
            _log_gamma(m_ - k_ + 1) + _log_gamma(m_ - size + 1) - _log_gamma(m_ - k_ - size + 1) - _log_gamma(m_ + 1)
        )
    with np.errstate(divide="ignore"):
        log_none[larger] = size * np.log1p(-np.minimum(k[larger] / m[larger], 1.0))
    result[some] = 1 - np.exp(log_none)
    return result


def needed(lists: Sequence[Searches], size: int, fpir: float) -> float:
    """The lowest offset at which strangers' searches of rosters of `size` have at most this FPIR: in the largest list,
    and in all lists that have enough people, together.

    Raises:
        CannotCalibrate: no list has enough people for this size.
    """
    usable = [item for item in lists if item.margin.shape[1] * MOST_OF_A_LIST >= size]
    if not usable:
        raise CannotCalibrate(f"No list has {math.ceil(size / MOST_OF_A_LIST)} people, for rosters of {size}.")
    largest = max(usable, key=lambda item: len(item.margin))
    low, high = -20.0, 40.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        rates = [_fpirs(item, middle, size) for item in usable]
        over = _fpirs(largest, middle, size).mean() > fpir or np.concatenate(rates).mean() > fpir
        low, high = (middle, high) if over else (low, middle)
    return high


def _fpirs(item: Searches, offset: Values | float, size: int) -> Values:
    """Each search's probability that a stranger's template reaches the threshold, on a roster without the searcher."""
    others = np.isfinite(item.margin) & ~item.same
    return some_reach(item.reaching(offset).sum(1), others.sum(1), size)


def fit(lists: Sequence[Searches], target_fpir: float) -> IdentificationRule | None:
    """The plain rule: the best score, against a threshold for the roster's size; docs/decisions/identify.md.

    Sizes for which no list has enough people are extrapolated from the two before, linearly in the logarithm.

    Returns: None where there are too few searches, or people for rosters of 50.
    """
    strangers = sum(len(item.margin) for item in lists)
    if strangers < comparisons_needed(target_fpir):
        return None
    offsets: list[Offset] = []
    for size in SIZES:
        if size <= MEASURED_TO and any(item.margin.shape[1] * MOST_OF_A_LIST >= size for item in lists):
            both = (needed(lists, size, fpir) for fpir in (target_fpir, min(0.4, REVIEW_FMR_FACTOR * target_fpir)))
            match, review = both
        elif len(offsets) >= FEWEST_SIZES:
            match, review = (_beyond(offsets, size, name) for name in ("match", "review"))
        else:
            return None
        before = offsets[-1] if offsets else Offset(0, 0.0, -math.inf)
        # never more easily than verify, nor than on a smaller roster
        offsets.append(
            Offset(size, max(match, before.match), min(max(review, before.review), max(match, before.match)))
        )
    return IdentificationRule(target_fpir, tuple(offsets))


def _beyond(offsets: Sequence[Offset], size: int, name: str) -> float:
    first, second = offsets[-2:]
    slope = (getattr(second, name) - getattr(first, name)) / math.log(second.candidates / first.candidates)
    return float(getattr(second, name) + slope * math.log(size / second.candidates))


@dataclass(frozen=True, slots=True)
class _Errors:
    """Searches of one kind, each with its probability of an error: in the sample, shape (S,), and in every replicate
    of the bootstrap, (S, R), with the searcher's weight there."""

    probability: Values
    replicates: Values
    weights: Values
    searcher: NDArray[np.int32]

    def take(self, rows: NDArray[np.bool_]) -> _Errors:
        return _Errors(self.probability[rows], self.replicates[rows], self.weights[rows], self.searcher[rows])

    def where(self, sure: NDArray[np.bool_], value: float) -> _Errors:
        """With this probability where it is `sure`."""
        return _Errors(
            np.where(sure, value, self.probability),
            np.where(sure[:, None], value, self.replicates),
            self.weights,
            self.searcher,
        )


def rates(item: Searches, offset: Values, subjects: Subjects, size: int) -> dict[str, Any]:
    """What comes of searches of rosters of `size`, with intervals over subjects, searchers and templates alike.

    Args:
        offset: each search's, for this size, shape (searches,).
        subjects: the bootstrap's draws.

    Returns: `candidates`; `extrapolated`, where the list has too few people for such rosters: as if there were more of
    them; `strangers` and `members`, the searches of either kind; `fpir`; `fnir`; `misidentified`, the part of it in
    which somebody else reaches the threshold and the searcher does not. The latter are None where nobody is on both
    sides.
    """
    own = item.own
    member = np.isfinite(own)
    beside_own = _stranger_reaches(item, offset, subjects, size - 1).take(member)
    missed = (own < offset)[member]
    return {
        "candidates": size,
        "extrapolated": item.margin.shape[1] * MOST_OF_A_LIST < size,
        "strangers": len(own),
        "members": int(member.sum()),
        "fpir": _rate(_stranger_reaches(item, offset, subjects, size)),
        "fnir": _rate(beside_own.where(missed, 1.0)) if member.any() else None,
        "misidentified": _rate(beside_own.where(~missed, 0.0)) if member.any() else None,
    }


def _stranger_reaches(item: Searches, offset: Values, subjects: Subjects, size: int) -> _Errors:
    """The error that somebody else's template reaches the threshold, on a roster of `size` others."""
    reaching, others = item.reaching(offset), np.isfinite(item.margin) & ~item.same
    draws = np.ascontiguousarray(subjects.drawn.T)
    weights = draws[item.searcher].astype(np.float64)
    replicates = np.zeros((len(offset), draws.shape[1]))
    # most searches meet nobody
    met = np.flatnonzero(reaching.any(1))
    if not size:
        return _Errors(np.zeros(len(offset)), replicates, weights, item.searcher)
    reach, among = (
        np.asarray(part[met].astype(np.float32) @ draws[item.template], np.float64) for part in (reaching, others)
    )
    replicates[met] = some_reach(reach, among, size)
    probability = some_reach(reaching.sum(1), others.sum(1), size)
    return _Errors(probability, replicates, weights, item.searcher)


def _rate(part: _Errors) -> Rate:
    hits, totals = (part.replicates * part.weights).sum(0), part.weights.sum(0)
    low, high = percentiles(hits, totals.astype(np.float64))
    wrong, people = len(np.unique(part.searcher[part.probability > 0])), len(np.unique(part.searcher))
    if wrong < FEW_ERRORS:  # the bootstrap underestimates the tail
        few_low, few_high = clopper_pearson(wrong, people)
        low, high = min(low, few_low), max(high, few_high)
    return rate(float(part.probability.mean()), low, high)
