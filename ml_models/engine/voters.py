"""Who votes, how much a vote counts, and the mean that comes of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .calibrate import Affine, Calibration, Numbers
from .compare import Observation
from .errors import InferenceFailed


@dataclass(frozen=True, slots=True)
class Member:
    """A network's place in the ensemble. `weight` is in [0, 1]; `calibration` maps its observation to a log-likelihood
    ratio; it abstains when the probe's quality score is under `quality_threshold`, in [0, 1]."""

    name: str
    weight: float
    calibration: Calibration
    quality_threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class VoterSet:
    """The rule for one set of voting members: the last calibration, and the thresholds in the score's units.

    `trust` multiplies a member's weight. It is above 1 where calibration found the member's votes to be worth more than
    its weight says, under 1 where less, and 1 for a member that it does not name.
    """

    calibration: Affine
    threshold: float
    review_threshold: float
    trust: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, trust in self.trust.items():
            if not math.isfinite(trust) or trust < 0:
                raise ValueError(
                    f"The trust in {name} is {trust}. It must be finite and at least 0, or a higher similarity would "
                    "count against a match."
                )
        if not (math.isfinite(self.threshold) and math.isfinite(self.review_threshold)):
            raise ValueError(f"Thresholds must be finite, not {self.threshold} and {self.review_threshold} (review).")
        if self.review_threshold > self.threshold:
            raise ValueError(
                f"The review threshold, {self.review_threshold}, must not be above the threshold, {self.threshold}."
            )


def voter_key(names: Iterable[str]) -> str:
    """The name of a voter set: its members' names, sorted, joined by "+"."""
    return "+".join(sorted(names))


def reachable_voter_sets(members: Sequence[Member]) -> list[tuple[str, ...]]:
    """Every set of members that can vote in some attempt, by the members' quality thresholds: as the quality falls,
    members leave from the most demanding one on. Sorted names, largest set first; the empty set is left out."""
    levels = sorted({member.quality_threshold for member in members})
    sets = [tuple(sorted(m.name for m in members if m.quality_threshold <= level)) for level in reversed(levels)]
    return list(dict.fromkeys(sets))


def raw_score(observations: Mapping[str, Observation], voters: Sequence[Member], rule: VoterSet) -> Numbers:
    """The mean of the voters' log-likelihood ratios by weight · trust. It is no log-likelihood ratio itself, since the
    members are correlated: `rule.calibration` makes it one."""
    total: Numbers = 0.0
    for member in voters:
        observation = observations.get(member.name)
        if observation is None:
            raise InferenceFailed(f"{member.name} votes at this quality, but gave no similarity.")
        ratio = member.calibration(observation.similarity, observation.log_norm)
        total += member.weight * rule.trust.get(member.name, 1.0) * ratio
    return total / sum(member.weight for member in voters)
