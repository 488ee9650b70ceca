"""One decision rule fitted on one sample: its members' calibrations, trust, voter sets and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...engine.calibrate import Affine, Calibration
from ...engine.fuse import Fusion
from ...engine.voters import Member, VoterSet
from ..errors import StudyRefused
from ..lists.pairs import comparisons_needed
from ..rates.metrics import threshold_at_fmr
from ..scoring import Labelled, Observations, Values, ratios, raw_scores, voter_masks, voters_of
from . import logistic

# The review threshold is set at this times the target FMR: an attempt between the two is worth another picture.
REVIEW_FMR_FACTOR = 10
# Members and trust are fitted for decisions near this prior of a mated comparison, as times the target FMR. An even
# prior would fit the bulk of the strangers, and the threshold lies in their tail. Chosen on dev_eval, where 1 to 10
# give the same TAR within half a point.
PRIOR_FACTOR = 3
# The penalty that holds trust near 1, that is at the operator's weights, where the sample is too small to say more. On
# dev_eval thirty times as much costs two points of TAR behind a mask, where one member is far better than the others.
TRUST_PENALTY = 0.0001
# The part of the fitted norm coefficient that is used. Over all conditions together norms separate a blurred or turned
# face from a clear one, and the regression rewards that; within one condition they say less. On dev_eval the whole
# coefficient costs half a point of TAR behind a mask and out of focus, and half of it costs the profiles' EER.
NORM_SHARE = 0.75
# Log-norms are clipped to these quantiles of the sample: nothing is known beyond them.
NORM_QUANTILES = (0.01, 0.99)


# The margin for both sides is set at this part of the target FMR: the coverings of the fit are a few of all that there
# are, and two strangers may share one of a shape that nobody drew.
BOTH_FMR_FACTOR = 1 / 3


class CannotCalibrate(StudyRefused):
    """The comparisons do not suffice; the message says how many would."""

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
    require_both(same)
    return logistic.Cases.of(same, weight, prior)


def require_both(same: NDArray[np.bool_]) -> None:
    if not same.any() or same.all():
        raise CannotCalibrate(
            f"Calibration needs mated and non-mated comparisons, and has {int(same.sum())} and {int((~same).sum())}: "
            "give lists with both."
        )


def _rising(slope: float) -> float:
    if slope <= 0:
        raise CannotCalibrate(
            f"Mated comparisons do not score higher than non-mated ones (slope {slope:.3g}): check the labels, and "
            "whether it is the right network, with the right colour order."
        )
    return float(slope)


def fit_rule(
    members: Sequence[Member],
    comparisons: Sequence[Labelled],
    strangers: Sequence[Observations],
    target_fmr: float,
    *,
    norms: bool = True,
) -> Fusion:
    """Members and voter sets of one rule, without conditions; `norms` says whether the features' norms count."""
    same, weight = np.concatenate([item.comparisons.same for item in comparisons]), _weights(comparisons)
    quality = np.concatenate([item.quality for item in comparisons])
    observations = Observations.concatenate([item.observations for item in comparisons])
    cases = _cases(same, weight, min(0.5, PRIOR_FACTOR * target_fmr))
    fitted = tuple(replace(m, calibration=_calibration(m.name, observations, cases, norms)) for m in members)
    rules = {}
    for key, mask in voter_masks(fitted, quality).items():
        # a set that votes rarely is fitted on everything: the probe's quality decides who votes, not whose face it is
        used = mask if suffices(same[mask]) else np.ones(len(mask), bool)
        rules[key] = _fit_voter_set(
            voters_of(fitted, key), observations.take(used), cases.take(used), strangers, target_fmr
        )
    return Fusion(fitted, rules)


def _calibration(name: str, observations: Observations, cases: logistic.Cases, norms: bool) -> Calibration:
    similarity, log_norm = observations.similarities[name], observations.log_norms[name]
    low, high = (float(q) for q in np.quantile(log_norm, NORM_QUANTILES))
    log_norm = np.clip(log_norm, low, high)
    if not norms or high - low < 1e-6:  # features of one length have no coefficient
        a, b = logistic.fit(similarity[:, None], cases)
        return Calibration(_rising(a), float(b))
    a, d, _ = logistic.fit(np.column_stack([similarity, log_norm]), cases)
    relative = NORM_SHARE * d / _rising(a)
    a, b = logistic.fit((similarity + relative * log_norm)[:, None], cases)
    return Calibration(_rising(a), float(b), float(a * relative), low, high)


def _trust(members: Sequence[Member], observations: Observations, cases: logistic.Cases) -> dict[str, float]:
    """How much each member's vote counts beyond its weight; the mean by weight is 1."""
    if len(members) == 1:
        return {members[0].name: 1.0}
    weights = np.array([member.weight for member in members])
    votes = np.column_stack([ratios(member, observations) for member in members]) * weights
    trust = logistic.fit_positive(votes, cases, TRUST_PENALTY)
    trust *= weights.sum() / (weights @ trust)
    return {member.name: float(value) for member, value in zip(members, trust, strict=True)}


def _fit_voter_set(
    voters: Sequence[Member],
    observations: Observations,
    cases: logistic.Cases,
    strangers: Sequence[Observations],
    target_fmr: float,
) -> VoterSet:
    rule = VoterSet(Affine(1.0, 0.0), 0.0, 0.0, _trust(voters, observations, cases))
    affine = fit_affine(raw_scores(voters, rule, observations), cases.same, cases.mass)
    # the very scores that will be compared with the threshold: one carried through the affine map may round down
    scores = [affine.a * raw_scores(voters, rule, part) + affine.b for part in strangers]
    threshold, review_threshold = _thresholds(scores, target_fmr)
    return replace(rule, calibration=affine, threshold=threshold, review_threshold=review_threshold)


def margin(fusion: Fusion, strangers: Sequence[Observations], target_fmr: float) -> float:
    """What the thresholds of a fitted rule lack to hold BOTH_FMR_FACTOR times the target FMR on these strangers, at
    least 0. Parts with too few strangers are left out."""
    lacking = [0.0]
    for key, rule in fusion.voter_sets.items():
        voters = voters_of(fusion.members, key)
        scores = [rule.calibration.a * raw_scores(voters, rule, part) + rule.calibration.b for part in strangers]
        if usable := _usable(scores, target_fmr):
            lacking.append(_needed(usable, BOTH_FMR_FACTOR * target_fmr) - rule.threshold)
    return max(lacking)


def _thresholds(strangers: Sequence[Values], target_fmr: float) -> tuple[float, float]:
    """The threshold and the review threshold: each the highest that any part of the strangers' scores needs."""
    usable = _usable(strangers, target_fmr)
    if not usable:
        raise CannotCalibrate(
            f"The largest list has {max(map(len, strangers))} non-mated comparisons; "
            f"{comparisons_needed(target_fmr)} would suffice for an FMR of {target_fmr:g}."
        )
    return _needed(usable, target_fmr), _needed(usable, min(0.5, REVIEW_FMR_FACTOR * target_fmr))


def _usable(strangers: Sequence[Values], target_fmr: float) -> list[Values]:
    """The parts with enough strangers to bound the target FMR, highest scores first."""
    return [np.sort(scores)[::-1] for scores in strangers if len(scores) >= comparisons_needed(target_fmr)]


def _needed(usable: Sequence[Values], fmr: float) -> float:
    return max(threshold_at_fmr(scores, fmr) for scores in usable)


def suffices(same: NDArray[np.bool_]) -> bool:
    """Whether there are enough comparisons of both classes for a fit or a TAR."""
    return bool(same.sum() >= 100 and (~same).sum() >= 1000)


def _weights(lists: Sequence[Labelled]) -> Values:
    """Of each comparison: in every list both classes weigh as much as the list has mated comparisons."""
    parts = []
    for item in lists:
        same = item.comparisons.same
        mated, others = same.sum(), max(1, (~same).sum())
        parts.append(np.where(same, 1.0, mated / others))
    return np.concatenate(parts)
