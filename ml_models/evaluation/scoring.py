"""The decision rule of `engine.fuse`, for a million comparisons at once. A test holds the two together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..engine.fuse import Cover, Fusion, Member, VoterSet, reachable_voter_sets, voter_key
from ..engine.types import Vectors
from .pairs import Comparisons, Flags

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


@dataclass(frozen=True, slots=True)
class Evidences:
    """`engine.fuse.Evidence` of many comparisons: by member, each shape (N,); NaN where an image was not acquired."""

    similarities: Mapping[str, Values]
    log_norms: Mapping[str, Values]

    def take(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Evidences:
        return Evidences(
            {name: values[keep] for name, values in self.similarities.items()},
            {name: values[keep] for name, values in self.log_norms.items()},
        )

    @property
    def acquired(self) -> NDArray[np.bool_]:
        return np.asarray(np.logical_and.reduce([np.isfinite(values) for values in self.similarities.values()]))

    @classmethod
    def together(cls, parts: Sequence[Evidences]) -> Evidences:
        """One behind the other."""

        def joined(pick: Callable[[Evidences], Mapping[str, Values]]) -> dict[str, Values]:
            return {name: np.concatenate([pick(part)[name] for part in parts]) for name in pick(parts[0])}

        return cls(joined(lambda part: part.similarities), joined(lambda part: part.log_norms))


@dataclass(frozen=True, slots=True)
class Labelled:
    """One list's comparisons, as every member saw them.

    `quality` is the probe's score, shape (N,), NaN where an image was not acquired. `probes` are the vectors of what
    stands on the comparisons' second side, by member, shape (I, D), the mean over the frames of an attempt. `covered`
    says that the probes' lower faces were covered on purpose.
    """

    name: str
    comparisons: Comparisons
    seen: Evidences
    quality: Values
    probes: Mapping[str, Vectors] = field(default_factory=dict)
    covered: bool = False

    def take(self, keep: NDArray[np.bool_]) -> Labelled:
        return replace(
            self, comparisons=self.comparisons.take(keep), seen=self.seen.take(keep), quality=self.quality[keep]
        )

    def behind(self, cover: Cover | None) -> Flags:
        """Which comparisons have a covered probe, as `Cover.holds` says; shape (N,)."""
        if cover is None:
            return np.zeros(len(self.comparisons), bool)
        told = sum(self.probes[name].astype(np.float64) @ np.array(d) for name, d in cover.directions.items())
        return np.asarray((told + cover.offset > 0)[self.comparisons.b])


def ratios(member: Member, seen: Evidences) -> Values:
    """A member's log-likelihood ratios, shape (N,)."""
    c = member.calibration
    held = np.clip(seen.log_norms[member.name], c.low, c.high)
    return np.asarray(c.a * seen.similarities[member.name] + c.b + c.d * held, np.float64)


def raw_scores(voting: Sequence[Member], rule: VoterSet | None, seen: Evidences) -> Values:
    """The voters' log-likelihood ratios, averaged by weight and, where there is a rule, trust; shape (N,)."""
    trust = rule.trust if rule else {}
    weighted = sum(member.weight * trust.get(member.name, 1.0) * ratios(member, seen) for member in voting)
    return np.asarray(weighted / sum(member.weight for member in voting), np.float64)


def voting(members: Sequence[Member], key: str) -> tuple[Member, ...]:
    """The members of a voter set."""
    return tuple(member for member in members if member.name in key.split("+"))


def score(fusion: Fusion, item: Labelled) -> Scored:
    """Score every comparison as `Fusion.decide` would.

    Raises:
        KeyError: a reachable voter set has no rule.
    """
    found, threshold = np.full(len(item.quality), -np.inf), np.zeros(len(item.quality))
    covered = item.behind(fusion.cover)
    for key, mask in voter_masks(fusion.members, item.quality).items():
        here = np.flatnonzero(mask & ~covered)
        rule = fusion.voter_sets[key]
        raw = raw_scores(voting(fusion.members, key), rule, item.seen.take(here))
        found[here] = rule.calibration.a * raw + rule.calibration.b
        threshold[here] = rule.threshold
    if cover := fusion.cover:
        (voter,) = (member for member in fusion.members if member.name == cover.voter)
        here = np.flatnonzero(covered & (item.quality >= voter.quality_threshold))
        found[here] = cover.calibration.a * item.seen.similarities[cover.voter][here] + cover.calibration.b
        threshold[here] = cover.threshold
    found[np.isnan(found)] = -np.inf
    return Scored(found, threshold)
