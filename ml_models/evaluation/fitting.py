"""Calibration: labelled comparisons → the numbers of a config version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..engine.calibrate import Affine
from ..engine.fuse import Fusion, Member, VoterSet
from .metrics import threshold_at_fmr
from .pairs import Comparisons, EvidenceRefused, comparisons_needed
from .scoring import Scored, Values, raw_scores, score, voter_masks

# The first threshold lets one impostor in `1 / target` through; an attempt is worth a second look at ten
# times that.
REVIEW_FMR_FACTOR = 10
# Strangers a list gives to the regression: more change the fourth digit and take minutes. Thresholds see
# them all.
STRANGERS = 200_000


class CannotCalibrate(EvidenceRefused):
    """The comparisons do not suffice; the message says what would."""

    def __init__(self, message: str) -> None:
        super().__init__("cannot_calibrate", message)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One list's comparisons, scored by every member.

    `similarities[member]` is a cosine, shape (N,), NaN where an image was not acquired; `quality` the
    probe's score.
    """

    name: str
    comparisons: Comparisons
    similarities: Mapping[str, Values]
    quality: Values

    def take(self, keep: NDArray[np.bool_]) -> Labelled:
        part = {name: values[keep] for name, values in self.similarities.items()}
        return replace(self, comparisons=self.comparisons.take(keep), similarities=part, quality=self.quality[keep])


def fit_affine(x: Values, same: NDArray[np.bool_], weight: Values | None = None) -> Affine:
    """Logistic regression of `same` on `x`: a·x + b is the natural-log likelihood ratio.

    Mated and non-mated comparisons get the same total mass, which takes the prior's log-odds off (Brümmer
    and du Preez, 2006, sec. 5). Targets are smoothed as by Platt (1999), so that separable scores have a
    finite slope. Newton's method with step halving, on two parameters.

    Args:
        x: similarities or raw scores, finite, shape (N,).
        same: the labels.
        weight: of each comparison within its class; all equal when None.

    Raises:
        CannotCalibrate: a class is missing, or mated comparisons do not score higher.
    """
    mated, others = int(same.sum()), int((~same).sum())
    if not mated or not others:
        raise CannotCalibrate("Calibration needs mated and non-mated comparisons.")
    mass = np.ones(len(x)) if weight is None else weight.astype(np.float64)
    mass = np.where(same, mass / mass[same].sum(), mass / mass[~same].sum()) / 2
    target = np.where(same, (mated + 1) / (mated + 2), 1 / (others + 2))
    centre, spread = float(x.mean()), float(x.std()) or 1.0
    design = np.column_stack([(x - centre) / spread, np.ones(len(x))])

    def loss(beta: NDArray[np.float64]) -> float:
        z = design @ beta
        return float(mass @ (np.logaddexp(0, z) - target * z))

    beta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -700, 700)))
        gradient = design.T @ (mass * (p - target))
        step = np.linalg.solve((design.T * (mass * p * (1 - p))) @ design + 1e-12 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-6 and loss(beta - size * step) > loss(beta):
            size /= 2
        beta = beta - size * step
        if np.abs(size * step).max() < 1e-7:
            break
    slope = float(beta[0]) / spread
    if slope <= 0:
        raise CannotCalibrate("Mated comparisons do not score higher than strangers: is it the right network?")
    return Affine(slope, float(beta[1]) - slope * centre)


def fit(members: Sequence[Member], lists: Sequence[Labelled], target_fmr: float) -> Fusion:
    """Calibrate members, voter sets and thresholds.

    Every list weighs by its mated comparisons, in both classes, or a set with millions of strangers would
    drown the rest. The threshold of a voter set is the highest that any list needs to hold the target FMR
    by itself: a mix of easy and hard strangers would hold it only on the mix.

    Args:
        members: names, weights and quality thresholds; their calibrations are fitted anew.
        lists: comparisons to fit on; the more strangers, the surer the threshold: give all against all.
        target_fmr: for `threshold`; `review_threshold` is at REVIEW_FMR_FACTOR times it.

    Raises:
        CannotCalibrate: no list has the non-mated comparisons that the target takes; says how many would
        suffice.
    """
    acquired = [item.take(np.isfinite(item.quality) & _finite(item.similarities)) for item in lists]
    chosen = [_thinned(item) for item in acquired]
    same, weight = np.concatenate([i.comparisons.same for i in chosen]), _weights(chosen)
    quality = np.concatenate([item.quality for item in chosen])
    similarities = {m.name: np.concatenate([i.similarities[m.name] for i in chosen]) for m in members}
    fitted = tuple(replace(m, calibration=fit_affine(similarities[m.name], same, weight)) for m in members)
    rules = {}
    for key, mask in voter_masks(fitted, quality).items():
        # a set that votes rarely is fitted on everything: who votes is decided by the probe, not by who is
        # in it
        seen = mask if _suffices(same[mask]) else np.ones(len(mask), bool)
        part = {name: values[seen] for name, values in similarities.items()}
        affine = fit_affine(raw_scores(fitted, key, part), same[seen], weight[seen])
        rules[key] = _rule(affine, [raw_scores(fitted, key, i.similarities) for i in acquired], acquired, target_fmr)
    return Fusion(fitted, rules)


def _rule(affine: Affine, raws: Sequence[Values], lists: Sequence[Labelled], target_fmr: float) -> VoterSet:
    def needed(fmr: float) -> float:
        strangers = [raw[~item.comparisons.same] for raw, item in zip(raws, lists, strict=True)]
        usable = [raw for raw in strangers if len(raw) >= comparisons_needed(target_fmr)]
        if not usable:
            raise CannotCalibrate(
                f"The largest list has {max(map(len, strangers))} non-mated comparisons; "
                f"{comparisons_needed(target_fmr)} would suffice for an FMR of {target_fmr:g}."
            )
        return max(threshold_at_fmr(np.sort(raw)[::-1], fmr) for raw in usable)

    review_fmr = min(0.5, REVIEW_FMR_FACTOR * target_fmr)
    return VoterSet(affine, affine(needed(target_fmr)), affine(needed(review_fmr)))


def _finite(similarities: Mapping[str, Values]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_and.reduce([np.isfinite(values) for values in similarities.values()]))


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


def crossed(
    fit_on: Sequence[Labelled],
    apply_to: Sequence[Labelled],
    part_of: NDArray[np.int32],
    members: Sequence[Member],
    target_fmr: float,
) -> list[Scored]:
    """Cross-validate by subject: every comparison scored with numbers fitted on other subjects.

    Args:
        fit_on, apply_to: lists over the same subjects; all against all and the lists' own pairs, say.
        part_of: the part of each subject; comparisons across parts are scored NaN and belong to no figure.

    Returns: scores of `apply_to`.

    Raises:
        CannotCalibrate: the subjects outside one of the parts do not suffice.
    """
    found = [Scored.nothing(len(item.comparisons)) for item in apply_to]
    for part in np.unique(part_of):
        fusion = fit(members, [i.take(np.asarray(~_touches(i, part_of == part).any(0))) for i in fit_on], target_fmr)
        for whole, item in zip(found, apply_to, strict=True):
            inside = np.asarray(_touches(item, part_of == part).all(0))
            test = item.take(inside)
            scored = score(fusion, test.similarities, test.quality)
            whole.score[inside], whole.threshold[inside] = scored.score, scored.threshold
    return found


def _touches(item: Labelled, subjects: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each side of each comparison is one of the subjects, shape (2, N)."""
    return np.stack([subjects[item.comparisons.subject_a], subjects[item.comparisons.subject_b]])


def parts(subjects: Sequence[str], count: int) -> NDArray[np.int32]:
    """Deal subjects into `count` parts by a hash of their id: the same subject is in the same part on every
    machine and in every list."""
    digests = [hashlib.sha256(subject.encode()).digest() for subject in subjects]
    return np.array([int.from_bytes(digest[:8], "big") % count for digest in digests], np.int32)
