"""The members' similarities → one score → a decision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .calibrate import Affine, Calibration
from .errors import InferenceFailed, LowQuality, MissingThreshold, Reason
from .types import Decision, Embeddings, Extraction, Verdict


@dataclass(frozen=True, slots=True)
class Member:
    """A network's place in the ensemble. `weight` in [0, 1]; `calibration` maps its evidence to a log-likelihood ratio;
    it abstains when the probe's quality score is under `quality_threshold`, in [0, 1]."""

    name: str
    weight: float
    calibration: Calibration
    quality_threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class VoterSet:
    """What holds when just these members vote: the last calibration, and the thresholds in the score's units.

    `trust` multiplies a member's weight, above or under 1 as its votes proved to be worth more or less than the weight
    says; 1 for a member that it does not name.
    """

    calibration: Affine
    threshold: float
    review_threshold: float
    trust: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(not math.isfinite(trust) or trust < 0 for trust in self.trust.values()):
            raise ValueError("A member's trust is finite and not negative, or a higher similarity would count against.")
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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one member saw of an attempt: the mean, over every pair of a reference and a frame, of the cosine, in
    [-1, 1], and of the natural logarithm of the pair's shorter feature norm."""

    similarity: float
    log_norm: float


def together(frames: Sequence[Extraction]) -> dict[str, Embeddings]:
    """What every member made of one or more pictures, to be compared."""
    return {name: Embeddings.of_features([frame.feature(name) for frame in frames]) for name in frames[0].vectors}


def compare(template: Mapping[str, Embeddings], probes: Mapping[str, Embeddings]) -> dict[str, Evidence]:
    """Each member's evidence in an attempt.

    The mean, not the best: averaging narrows the non-mated scores, so that more references or frames never raise the
    FMR over that of a single pair at the same threshold.

    Args:
        template: the references, by member.
        probes: the frames, by member.

    Raises:
        InferenceFailed: a member has no vectors on one side, other dimensions, or values that are not finite.
    """
    if set(template) != set(probes) or not probes:
        raise InferenceFailed("The template and the picture were not embedded by the same members.")
    return {name: _evidence(template[name], frames) for name, frames in probes.items()}


def _evidence(references: Embeddings, frames: Embeddings) -> Evidence:
    a, b = references.vectors, frames.vectors
    if not len(a) or not len(b) or a.shape[1] != b.shape[1]:
        raise InferenceFailed("The template and the picture have embeddings of different shapes.")
    cosine = float(a.astype(np.float64).mean(0) @ b.astype(np.float64).mean(0))
    shorter = np.minimum.outer(references.norms.astype(np.float64), frames.norms.astype(np.float64))
    if not math.isfinite(cosine) or not (np.isfinite(shorter) & (shorter > 0)).all():
        raise InferenceFailed("A similarity or a feature's norm is not finite.")
    return Evidence(max(-1.0, min(1.0, cosine)), float(np.log(shorter).mean()))


@dataclass(frozen=True, slots=True)
class Centres:
    """Where a member's embeddings lie when the probe is in a condition, the mean of many people's: of such `probes`,
    and of the `references` they are compared with; float, (D,) each."""

    probes: tuple[float, ...]
    references: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """What holds for probes that a network draws together, whoever they show: blurred ones, or covered ones.

    A probe is in the condition when `offset` plus the sum, over the members in `directions`, of embedding · direction
    is above 0 (Fisher's linear discriminant). All such probes are alike, and that is no likeness of people: where a
    member has `centres`, its similarity is the cosine of probe and reference as seen from there. `fusion` decides,
    with members, calibrations and thresholds of its own; who is not among its members abstains.
    """

    name: str
    directions: Mapping[str, tuple[float, ...]]
    offset: float
    centres: Mapping[str, Centres]
    fusion: Fusion

    def __post_init__(self) -> None:
        numbers = [number for direction in self.directions.values() for number in direction]
        centres = [
            number for pair in self.centres.values() for side in (pair.probes, pair.references) for number in side
        ]
        if not (numbers and all(map(math.isfinite, (*numbers, *centres, self.offset)))):
            raise ValueError("What tells a condition are finite directions and an offset; its centres are finite.")
        if self.fusion.conditions:
            raise ValueError("A condition has no conditions of its own.")

    def value(self, frames: Mapping[str, Embeddings]) -> float:
        """Above 0 when an attempt is in the condition, by the mean over its frames; about natural-log odds.

        Raises:
            InferenceFailed: a member that tells it has no vectors, of other dimensions, or not finite.
        """
        value = self.offset
        for name, direction in self.directions.items():
            seen = frames.get(name)
            if seen is None or seen.vectors.shape[1:] != (len(direction),):
                raise InferenceFailed("A member that tells the picture's condition gave no vector for it.")
            value += float(seen.vectors.astype(np.float64).mean(0) @ np.array(direction))
        if not math.isfinite(value):
            raise InferenceFailed("What tells the picture's condition is not finite.")
        return value

    def compare(self, template: Mapping[str, Embeddings], probes: Mapping[str, Embeddings]) -> dict[str, Evidence]:
        """As `compare`, seen from the condition's centres."""
        for name, centres in self.centres.items():
            if name in template and name in probes:
                template = {**template, name: template[name].seen_from(centres.references)}
                probes = {**probes, name: probes[name].seen_from(centres.probes)}
        return compare(template, probes)


@dataclass(frozen=True, slots=True)
class Fusion:
    """A config version's decision rule: members, thresholds per voter set (keys from `voter_key`), and the conditions
    in which something else holds."""

    members: tuple[Member, ...]
    voter_sets: Mapping[str, VoterSet]
    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        names = {member.name for member in self.members}
        for condition in self.conditions:
            voters = {member.name for member in condition.fusion.members}
            if not {*condition.directions, *condition.centres, *voters} <= names:
                raise ValueError("A condition is told, and decided in, by members of the version.")

    def voters(self, quality_score: float) -> tuple[Member, ...]:
        return tuple(member for member in self.members if quality_score >= member.quality_threshold)

    def judge(
        self, template: Mapping[str, Embeddings], frames: Mapping[str, Embeddings], quality_score: float
    ) -> Decision:
        """Compare, fuse and decide.

        Args:
            template: the references, by member.
            frames: of one attempt, by member.
            quality_score: the best frame's, [0, 1].

        Raises:
            InferenceFailed: see `compare` and `Condition.value`.
            LowQuality, MissingThreshold: see `decide`.
        """
        condition = self.condition(frames)
        if condition is None:
            return self.decide(compare(template, frames), quality_score)
        decision = condition.fusion.decide(condition.compare(template, frames), quality_score)
        return replace(decision, condition=condition.name)

    def condition(self, frames: Mapping[str, Embeddings]) -> Condition | None:
        """The condition that an attempt is in, the surest of several; None in none. Raises as `Condition.value`."""
        values = [condition.value(frames) for condition in self.conditions]
        surest = max(values, default=0.0)
        return self.conditions[values.index(surest)] if surest > 0 else None

    def decide(self, evidence: Mapping[str, Evidence], quality_score: float) -> Decision:
        """Fuse and decide.

        Args:
            evidence: by member, from `compare`.
            quality_score: the probe's, [0, 1].

        Raises:
            LowQuality: no member votes at this quality.
            MissingThreshold: nobody set a threshold for the members that vote.
            InferenceFailed: a voter has no evidence.
        """
        voters = self.voters(quality_score)
        if not sum(member.weight for member in voters):
            raise LowQuality([Reason("poor_quality", "better light, nearer, and look at the camera")])
        rule = self.voter_sets.get(voter_key(member.name for member in voters))
        if rule is None:
            raise MissingThreshold("No threshold is set for the members that vote at this quality.")
        score = rule.calibration(_raw_score(evidence, voters, rule))
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
            {name: seen.similarity for name, seen in evidence.items()},
            {name: seen.log_norm for name, seen in evidence.items()},
        )


def _raw_score(evidence: Mapping[str, Evidence], voters: Sequence[Member], rule: VoterSet) -> float:
    """The voters' log-likelihood ratios, averaged by weight and trust; not calibrated any more, since the members are
    correlated."""
    total = 0.0
    for member in voters:
        seen = evidence.get(member.name)
        if seen is None:
            raise InferenceFailed("A member gave no similarity.")
        total += member.weight * rule.trust.get(member.name, 1.0) * member.calibration(seen.similarity, seen.log_norm)
    return total / sum(member.weight for member in voters)
