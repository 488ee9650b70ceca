"""The members' similarities → one score → a decision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .calibrate import Affine
from .errors import InferenceFailed, LowQuality, MissingThreshold
from .types import Decision, Vectors, Verdict


@dataclass(frozen=True, slots=True)
class Member:
    """A network's place in the ensemble. `weight` in [0, 1]; `calibration` maps its similarity to a log-likelihood
    ratio; it abstains when the probe's quality score is under `quality_threshold`, in [0, 1]."""

    name: str
    weight: float
    calibration: Affine
    quality_threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class VoterSet:
    """What holds when just these members vote: the last calibration, and the thresholds in the score's units."""

    calibration: Affine
    threshold: float
    review_threshold: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and math.isfinite(self.review_threshold)):
            raise ValueError("Thresholds must be finite.")
        if self.review_threshold > self.threshold:
            raise ValueError("The review threshold lies above the threshold.")


def voter_key(names: Iterable[str]) -> str:
    """The name of a voter set: its members' names, sorted, joined by "+"."""
    return "+".join(sorted(names))


def reachable_voter_sets(members: Sequence[Member]) -> list[tuple[str, ...]]:
    """Every set of members that can vote in some attempt, by the members' quality thresholds: as the quality falls,
    members leave from the most demanding one on. Sorted names, largest set first; the empty set is left out."""
    levels = sorted({member.quality_threshold for member in members})
    sets = [tuple(sorted(m.name for m in members if m.quality_threshold <= level)) for level in reversed(levels)]
    return list(dict.fromkeys(sets))


def similarities(template: Mapping[str, Vectors], probes: Mapping[str, Vectors]) -> dict[str, float]:
    """Each member's mean cosine over every pair of a reference and a frame.

    The mean, not the best: averaging narrows the non-mated scores, so that more references or frames never raise the
    FMR over that of a single pair at the same threshold.

    Args:
        template: unit vectors of the references, float32 (R, D) each.
        probes: unit vectors of the frames, float32 (F, D) each.

    Returns: cosine in [-1, 1] by member.

    Raises:
        InferenceFailed: a member has no vectors on one side, other dimensions, or values that are not finite.
    """
    if set(template) != set(probes) or not probes:
        raise InferenceFailed("The template and the picture were not embedded by the same members.")
    result = {}
    for name, frames in probes.items():
        references = template[name]
        if not len(references) or not len(frames) or references.shape[1] != frames.shape[1]:
            raise InferenceFailed("The template and the picture have embeddings of different shapes.")
        cosine = float(references.astype(np.float64).mean(0) @ frames.astype(np.float64).mean(0))
        if not math.isfinite(cosine):
            raise InferenceFailed("A similarity is not finite.")
        result[name] = max(-1.0, min(1.0, cosine))
    return result


@dataclass(frozen=True, slots=True)
class Fusion:
    """A config version's decision rule: members, and thresholds per voter set (keys from `voter_key`)."""

    members: tuple[Member, ...]
    voter_sets: Mapping[str, VoterSet]

    def voters(self, quality_score: float) -> tuple[Member, ...]:
        return tuple(member for member in self.members if quality_score >= member.quality_threshold)

    def raw_score(self, similarity: Mapping[str, float], voters: Sequence[Member]) -> float:
        """The voters' calibrated log-likelihood ratios, averaged by weight; not calibrated any more, since the
        members are correlated.

        Raises:
            InferenceFailed: a voter has no similarity.
        """
        try:
            weighted = sum(member.weight * member.calibration(similarity[member.name]) for member in voters)
        except KeyError as error:
            raise InferenceFailed("A member gave no similarity.") from error
        return weighted / sum(member.weight for member in voters)

    def decide(self, similarity: Mapping[str, float], quality_score: float) -> Decision:
        """Fuse and decide.

        Args:
            similarity: cosine by member, from `similarities`.
            quality_score: the probe's, [0, 1].

        Raises:
            LowQuality: no member votes at this quality.
            MissingThreshold: nobody set a threshold for the members that vote.
            InferenceFailed: a voter has no similarity.
        """
        voters = self.voters(quality_score)
        if not voters or not sum(member.weight for member in voters):
            raise LowQuality(("better light, nearer, and look at the camera",))
        rule = self.voter_sets.get(voter_key(member.name for member in voters))
        if rule is None:
            raise MissingThreshold("No threshold is set for the members that vote at this quality.")
        score = rule.calibration(self.raw_score(similarity, voters))
        if not math.isfinite(score):
            raise InferenceFailed("The score is not finite.")
        decision: Verdict = "no_match"
        if score >= rule.review_threshold:
            decision = "match" if score >= rule.threshold else "review"
        names = tuple(sorted(member.name for member in voters))
        return Decision(
            decision,
            score,
            rule.threshold,
            rule.review_threshold,
            names,
            dict(similarity),
        )
