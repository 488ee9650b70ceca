"""The decision rule of `engine.fuse`, for a million comparisons at once. A test holds the two together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..engine.fuse import Fusion, Member, reachable_voter_sets, voter_key

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """`score` and `threshold` in natural-log likelihood ratios, shape (N,); `score` is −inf where nothing was
    acquired or nobody voted. `margin` is what decides: at least 0 is a match, whoever voted."""

    score: Values
    threshold: Values

    @classmethod
    def nothing(cls, count: int) -> Scored:
        return cls(np.full(count, np.nan), np.zeros(count))

    def take(self, keep: NDArray[np.bool_]) -> Scored:
        return Scored(self.score[keep], self.threshold[keep])

    @property
    def margin(self) -> Values:
        return self.score - self.threshold


def voter_masks(members: Sequence[Member], quality: Values) -> dict[str, NDArray[np.bool_]]:
    """Which voter set votes in which comparison, by its key.

    Args:
        members: with their quality thresholds.
        quality: the probe's quality score, [0, 1], shape (N,); NaN where it was not acquired: nobody votes.
    """
    votes = {member.name: quality >= member.quality_threshold for member in members}
    masks = {}
    for names in reachable_voter_sets(members):
        mask = np.logical_and.reduce([votes[name] if name in names else ~votes[name] for name in votes])
        masks[voter_key(names)] = mask & np.isfinite(quality)
    return masks


def raw_scores(members: Sequence[Member], voters: str, similarities: Mapping[str, Values]) -> Values:
    """The voters' calibrated log-likelihood ratios, averaged by weight, shape (N,)."""
    voting = [member for member in members if member.name in voters.split("+")]
    weighted = sum(
        member.weight * (member.calibration.a * similarities[member.name] + member.calibration.b) for member in voting
    )
    return np.asarray(weighted / sum(member.weight for member in voting), np.float64)


def score(fusion: Fusion, similarities: Mapping[str, Values], quality: Values) -> Scored:
    """Score every comparison as `Fusion.decide` would.

    Args:
        similarities: cosine by member, shape (N,), NaN where an image was not acquired.
        quality: the probe's quality score, shape (N,).

    Raises:
        KeyError: a reachable voter set has no rule.
    """
    found, threshold = np.full(len(quality), -np.inf), np.zeros(len(quality))
    for key, mask in voter_masks(fusion.members, quality).items():
        here = np.flatnonzero(mask)
        rule = fusion.voter_sets[key]
        part = {name: values[here] for name, values in similarities.items()}
        found[here] = rule.calibration.a * raw_scores(fusion.members, key, part) + rule.calibration.b
        threshold[here] = rule.threshold
    found[np.isnan(found)] = -np.inf
    return Scored(found, threshold)
