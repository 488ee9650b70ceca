"""Calibration: labelled comparisons → the numbers of a config version.

Five steps, each small enough to be read off the ensemble file (docs/decisions/fusion.md):
1. each member's similarity, and how much of the faces it saw, become its log-likelihood ratio;
2. each voter set learns how far to trust its members beyond the operator's weights, which are where it starts from;
3. the weighted mean becomes a log-likelihood ratio again, since the members are correlated;
4. probes in a condition, blurred or covered, get numbers of their own (conditions.py), without norms: there every
   feature is short, and how short says nothing more;
5. the threshold is the lowest that holds the target FMR on every list, and in every cell of references and frames, by
   itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...engine.calibrate import Affine, Calibration
from ...engine.fuse import Condition, Fusion, Member, VoterSet, voter_key
from ..lists.pairs import EvidenceRefused, comparisons_needed
from ..rates.metrics import threshold_at_fmr
from ..scoring import Evidences, Labelled, Values, ratios, raw_scores, score, voter_masks, voting
from . import logistic
from .conditions import learnt, tar

# The first threshold lets one impostor in `1 / target` through; an attempt is worth a second look at ten
# times that.
REVIEW_FMR_FACTOR = 10
# Strangers a list gives to the regression: more change the fourth digit and take minutes. Thresholds see
# them all.
STRANGERS = 40_000
# Members and trust are fitted for decisions near this prior of a mated comparison, as times the target FMR, and not for
# an even one: what tells strangers apart in the tail is not what tells most of them apart. Chosen on dev_eval, where
# 1 to 10 give the same TAR within half a point.
PRIOR_FACTOR = 3
# How strongly trust is held at 1, the operator's weights: enough to decide where the sample says nothing. On dev_eval
# thirty times as much costs two points of TAR behind a mask, where one member is far better than the others.
TRUST_PENALTY = 0.0001
# How much of what the norms seem to say is believed. Over all conditions together they tell a blurred or turned face
# from a clear one, and a regression pays them for that; within one condition they say less. On dev_eval the whole of it
# costs half a point of TAR behind a mask and out of focus, and half of it costs the profiles' EER.
NORM_SHARE = 0.75
# Log-norms are held within these quantiles of what was fitted: beyond them nothing is known.
HELD = (0.01, 0.99)
# In a condition a member abstains whose votes proved to be worth less than this part of its weight. On dev_eval the
# others are above 0.6, those who see little at 0.33 and below, whoever is left out.
HEARD = 0.5


class CannotCalibrate(EvidenceRefused):
    """The comparisons do not suffice; the message says what would."""

    def __init__(self, message: str) -> None:
        super().__init__("cannot_calibrate", message)


def fit_affine(x: Values, same: NDArray[np.bool_], weight: Values | None = None) -> Affine:
    """Logistic regression of `same` on `x`: a·x + b is the natural-log likelihood ratio.

    Args:
        x: similarities or raw scores, finite, shape (N,).
        same: the labels.
        weight: of each comparison within its class; all equal when None.

    Raises:
        CannotCalibrate: a class is missing, or mated comparisons do not score higher.
    """
    a, b = logistic.fit(x[:, None], _cases(same, weight))
    return Affine(_rising(a), float(b))


def _cases(same: NDArray[np.bool_], weight: Values | None = None, prior: float = 0.5) -> logistic.Cases:
    _require_both(same)
    return logistic.Cases.of(same, weight, prior)


def _require_both(same: NDArray[np.bool_]) -> None:
    if not same.any() or same.all():
        raise CannotCalibrate("Calibration needs mated and non-mated comparisons.")


def _rising(slope: float) -> float:
    if slope <= 0:
        raise CannotCalibrate("Mated comparisons do not score higher than strangers: is it the right network?")
    return float(slope)


def fit(
    members: Sequence[Member], lists: Sequence[Labelled], target_fmr: float, cells: Sequence[Labelled] = ()
) -> Fusion:
    """Calibrate members, voter sets and thresholds.

    Every list weighs by its mated comparisons, in both classes, or a set with millions of strangers would
    drown the rest. The threshold of a voter set is the highest that any list needs to hold the target FMR
    by itself: a mix of easy and hard strangers would hold it only on the mix.

    Args:
        members: names, weights and quality thresholds; their calibrations are fitted anew.
        lists: comparisons to fit on; the more strangers, the surer the threshold: give all against all.
        target_fmr: for `threshold`; `review_threshold` is at REVIEW_FMR_FACTOR times it.
        cells: attempts of several references or frames, cell by cell; thresholds hold the target in each that has
            enough strangers.

    Raises:
        CannotCalibrate: no list has the non-mated comparisons that the target takes; says how many would
        suffice.
    """
    acquired = [item.take(np.isfinite(item.quality) & item.seen.acquired) for item in lists]
    sample = _Sample([_thinned(item) for item in acquired], [*acquired, *cells], target_fmr)
    conditions = learnt(sample.chosen, members)
    while True:
        fusion = _with_conditions(members, sample, conditions)
        earned = [condition for condition in fusion.conditions if _earns_its_place(fusion, condition, sample)]
        if len(earned) == len(conditions):
            return fusion
        conditions = earned


@dataclass(frozen=True, slots=True)
class _Sample:
    """What numbers are fitted to: `chosen` comparisons for members and trust, the strangers in `all` for thresholds."""

    chosen: Sequence[Labelled]
    all: Sequence[Labelled]
    target_fmr: float

    def within(self, conditions: Sequence[Condition], number: int) -> tuple[list[Labelled], list[Evidences]]:
        """The comparisons in one of the conditions, −1 for none, and the strangers: list by list where the list was
        put in it, and those that were only told to be together, for they are few in any one list, and the worst list's
        threshold would be chance. A list put in a condition that is none of these was put in none."""
        condition = conditions[number] if number >= 0 else None
        others = {other.name for other in conditions if other is not condition}
        strangers: list[Evidences] = []
        mistaken: list[Evidences] = []
        for item in self.all:
            here = (item.told(conditions) == number) & ~item.comparisons.same
            belongs = item.condition == condition.name if condition else item.condition not in others
            (strangers if belongs else mistaken).append(item.within(here, condition).seen)
        chosen = [item.within(item.told(conditions) == number, condition) for item in self.chosen]
        return chosen, [*strangers, Evidences.together(mistaken)] if mistaken else strangers


def _with_conditions(members: Sequence[Member], sample: _Sample, conditions: Sequence[Condition]) -> Fusion:
    """The numbers for what is in no condition, and for each condition that has enough comparisons for numbers."""
    fitted = []
    for number, condition in enumerate(conditions):
        chosen, strangers = sample.within(conditions, number)
        try:
            rules = _fusion(_sighted(members, chosen), chosen, strangers, sample.target_fmr, norms=False)
            trust = rules.voter_sets[voter_key(member.name for member in rules.members)].trust
            heard = [member for member in rules.members if trust[member.name] >= HEARD]
            if len(heard) < len(rules.members):
                rules = _fusion(heard, chosen, strangers, sample.target_fmr, norms=False)
        except CannotCalibrate:
            continue
        fitted.append(replace(condition, fusion=rules))
    return replace(_fusion(members, *sample.within(conditions, -1), sample.target_fmr), conditions=tuple(fitted))


def _sighted(members: Sequence[Member], chosen: Sequence[Labelled]) -> list[Member]:
    """The members to whom mated pictures look more alike than strangers'."""
    same = np.concatenate([item.comparisons.same for item in chosen])

    _require_both(same)

    def sees(name: str) -> bool:
        similarity = np.concatenate([item.seen.similarities[name] for item in chosen])
        return bool(similarity[same].mean() > similarity[~same].mean())

    return [member for member in members if sees(member.name)]


def _earns_its_place(fusion: Fusion, condition: Condition, sample: _Sample) -> bool:
    """Whether the lists in a condition fare better with a rule of their own."""
    lists = [item for item in sample.chosen if item.condition == condition.name and _suffices(item.comparisons.same)]
    if not lists:
        return False
    without = replace(fusion, conditions=())
    own, others = (
        tar(lists, lambda item, rule=rule: score(rule, item).margin, sample.target_fmr)  # type: ignore[misc]
        for rule in (fusion, without)
    )
    return own > others


def _fusion(
    members: Sequence[Member],
    chosen: Sequence[Labelled],
    strangers: Sequence[Evidences],
    target_fmr: float,
    *,
    norms: bool = True,
) -> Fusion:
    same, weight = np.concatenate([i.comparisons.same for i in chosen]), _weights(chosen)
    quality, seen = np.concatenate([i.quality for i in chosen]), Evidences.together([i.seen for i in chosen])
    cases = _cases(same, weight, min(0.5, PRIOR_FACTOR * target_fmr))
    fitted = tuple(replace(m, calibration=_calibration(m.name, seen, cases, norms)) for m in members)
    rules = {}
    for key, mask in voter_masks(fitted, quality).items():
        # a set that votes rarely is fitted on everything: who votes is decided by the probe, not by who is in it
        used = mask if _suffices(same[mask]) else np.ones(len(mask), bool)
        rules[key] = _rule(voting(fitted, key), seen.take(used), cases.take(used), strangers, target_fmr)
    return Fusion(fitted, rules)


def _calibration(name: str, seen: Evidences, cases: logistic.Cases, norms: bool) -> Calibration:
    low, high = (float(q) for q in np.quantile(seen.log_norms[name], HELD))
    held = np.clip(seen.log_norms[name], low, high)
    if not norms or high - low < 1e-6:  # every feature is as long as any other: nothing to learn from it
        a, b = logistic.fit(seen.similarities[name][:, None], cases)
        return Calibration(_rising(a), float(b))
    similarity = seen.similarities[name]
    a, d, _ = logistic.fit(np.column_stack([similarity, held]), cases)
    believed = NORM_SHARE * d / _rising(a)
    a, b = logistic.fit((similarity + believed * held)[:, None], cases)
    return Calibration(_rising(a), float(b), float(a * believed), low, high)


def _trust(members: Sequence[Member], seen: Evidences, cases: logistic.Cases) -> dict[str, float]:
    """How far each member's vote counts beyond its weight; the weighted mean of it is 1."""
    if len(members) == 1:
        return {members[0].name: 1.0}
    weights = np.array([member.weight for member in members])
    votes = np.column_stack([ratios(member, seen) for member in members]) * weights
    trust = logistic.fit_positive(votes, cases, TRUST_PENALTY)
    trust *= weights.sum() / (weights @ trust)
    return {member.name: float(value) for member, value in zip(members, trust, strict=True)}


def _rule(
    members: Sequence[Member],
    seen: Evidences,
    cases: logistic.Cases,
    strangers: Sequence[Evidences],
    target_fmr: float,
) -> VoterSet:
    rule = VoterSet(Affine(1.0, 0.0), 0.0, 0.0, _trust(members, seen, cases))
    affine = fit_affine(raw_scores(members, rule, seen), cases.same, cases.mass)
    # what is compared with the threshold, to the last bit: a threshold carried through the affine map may round down
    scored = [affine.a * raw_scores(members, rule, part) + affine.b for part in strangers]
    threshold, review_threshold = _thresholds(scored, target_fmr)
    return replace(rule, calibration=affine, threshold=threshold, review_threshold=review_threshold)


def _thresholds(scored: Sequence[Values], target_fmr: float) -> tuple[float, float]:
    """The threshold and the review threshold: the highest that any of these impostors' scores, list by list, need."""
    usable = [np.sort(scores)[::-1] for scores in scored if len(scores) >= comparisons_needed(target_fmr)]
    if not usable:
        raise CannotCalibrate(
            f"The largest list has {max(map(len, scored))} non-mated comparisons; "
            f"{comparisons_needed(target_fmr)} would suffice for an FMR of {target_fmr:g}."
        )

    def needed(fmr: float) -> float:
        return max(threshold_at_fmr(scores, fmr) for scores in usable)

    return needed(target_fmr), needed(min(0.5, REVIEW_FMR_FACTOR * target_fmr))


def _suffices(same: NDArray[np.bool_]) -> bool:
    return bool(same.sum() >= 100 and (~same).sum() >= 1000)


def _thinned(item: Labelled) -> Labelled:
    """All mated comparisons, and at most STRANGERS others, drawn by a fixed seed."""
    others = np.flatnonzero(~item.comparisons.same)
    keep = item.comparisons.same.copy()
    keep[np.random.default_rng(0).permutation(others)[:STRANGERS]] = True
    return item.take(keep)


def _weights(lists: Sequence[Labelled]) -> Values:
    parts = []
    for item in lists:
        same = item.comparisons.same
        mated, others = same.sum(), max(1, (~same).sum())
        parts.append(np.where(same, 1.0, mated / others))
    return np.concatenate(parts)
