"""The members' similarities → one score → a decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from .calibrate import Numbers
from .compare import Observation, compare, listed
from .conditions import milder, related
from .errors import InferenceFailed, LowQuality, MissingThreshold, Reason
from .types import Decision, Embeddings, Verdict, glasses_in
from .voters import Member, VoterSet, raw_score, voter_key

T = TypeVar("T")


Sides = Literal["probes", "either", "both", "shared"]
Measure = Literal["", "glasses"]

# The log-odds that are read from a picture count at most so much, for or against: docs/experiments/fusion.md.
_SUREST = 4.0


def log_odds(glasses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The natural log-odds of what is as likely as `glasses`, [0, 1], at most _SUREST either way. NaN, where nobody
    knows, counts as surely in glasses."""
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 and 1 are as sure as anything may be
        odds = np.log(glasses) - np.log1p(-glasses)
    return np.asarray(np.nan_to_num(np.clip(odds, -_SUREST, _SUREST), nan=_SUREST))


@dataclass(frozen=True, slots=True)
class Centroids:
    """Where a member's embeddings lie on average over many people: of faces `inside` a condition, and of the faces
    `outside` that they are compared with; float, (D,) each. Calibration may shrink both towards the origin."""

    inside: tuple[float, ...]
    outside: tuple[float, ...]
    # as arrays: made once, not with every attempt
    _arrays: tuple[NDArray[np.float64], NDArray[np.float64]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_arrays", (np.array(self.inside), np.array(self.outside)))

    def of(self, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Each face's own, float (N, D), where `inside`, shape (N,), says which are in the condition."""
        return np.where(inside[:, None], *self._arrays)


@dataclass(frozen=True, slots=True)
class Pair:
    """Whether both sides wear the same pair of glasses, by the similarity that the network `by` gives of them: surely
    not up to `another`, surely from `same` on."""

    by: str
    another: float
    same: float

    def __post_init__(self) -> None:
        if not -1 <= self.another < self.same <= 1:
            raise ValueError(f"{self.by}: another pair is less similar than the same one, both within -1 and 1.")

    def share(self, observed: Mapping[str, Observation]) -> Numbers:
        """In [0, 1], in between linear in the similarity; 1 where nobody compared the pairs."""
        if self.by not in observed:
            return 1.0
        return np.clip((observed[self.by].similarity - self.another) / (self.same - self.another), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Condition:
    """A decision rule for one kind of face, blurred or covered ones say, and the classifier that recognises it.

    Blur or a mask moves a network's embeddings towards one point, whoever the face belongs to. So the embedding itself
    shows the condition: a face is classified as in it when Fisher's linear discriminant is above 0, which is `offset`
    plus the sum, over the members in `directions`, of embedding · direction. And two such embeddings look alike though
    they show two people: so a member in `centroids` measures its cosine relative to them.

    `sides` says where the condition counts. "probes": the probes alone are classified and taken to be inside, the
    references outside, as before version 4. "either": the references are classified, too; either side is enough, each
    embedding is taken relative to the centroid of its own class, and where both sides show it, even centred strangers
    look alike: `both_margin` is added to the thresholds, in their units. "both": it counts only where both sides show
    it. "shared": as "both", but it decides nothing: it has no `fusion` and no centroids of its own, and the surer it is
    that both sides show it, the higher are the thresholds of the rule that decides (`shared_margin`). Where `measure`
    is "glasses", the discriminant is the mean of that of the embeddings and of the log-odds for glasses that a network
    reads from the picture (`with_pixels`); a picture that was not measured counts as one in glasses. With a `pair` the
    margin counts only as far as both sides wear the same one: two who wear different glasses look no more alike for it.

    `fusion` decides such attempts, with members, calibrations and thresholds of its own. A member of the version that
    is not among them abstains.
    """

    name: str
    directions: Mapping[str, tuple[float, ...]]
    offset: float
    centroids: Mapping[str, Centroids]
    fusion: Fusion
    sides: Sides = "probes"
    both_margin: float = 0.0
    measure: Measure = ""
    pair: Pair | None = None
    # as arrays: made once, not with every attempt
    _arrays: Mapping[str, NDArray[np.float64]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        directions = [number for direction in self.directions.values() for number in direction]
        centroids = [
            number for pair in self.centroids.values() for side in (pair.inside, pair.outside) for number in side
        ]
        if not (directions and all(map(math.isfinite, (*directions, *centroids, self.offset)))):
            raise ValueError(
                f"{self.name}: a condition needs a direction for at least one member, and directions, offset and "
                "centroids that are finite."
            )
        if self.sides not in get_args(Sides) or not (math.isfinite(self.both_margin) and self.both_margin >= 0):
            raise ValueError(
                f"{self.name}: sides must be one of {', '.join(get_args(Sides))}, not {self.sides}, and the margin for "
                f"both sides finite and at least 0, not {self.both_margin}."
            )
        object.__setattr__(self, "_arrays", {name: np.array(numbers) for name, numbers in self.directions.items()})
        if self.measure not in get_args(Measure) or ((self.measure or self.pair) and self.sides != "shared"):
            raise ValueError(f"{self.name}: only a shared condition has a measure, which is glasses, or a pair.")
        if self.sides == "shared" and (self.fusion.members or self.fusion.voter_sets or self.centroids):
            raise ValueError(
                f"{self.name}: a shared condition decides nothing and has no members, thresholds or centroids."
            )
        if self.sides != "shared" and not self.fusion.members:
            raise ValueError(f"{self.name}: a condition that decides needs members.")
        if self.fusion.conditions:
            raise ValueError(f"{self.name}: a condition cannot have conditions of its own; list all in the version.")

    def direction(self, name: str) -> NDArray[np.float64] | None:
        """What a member's vectors are multiplied with for the discriminant, shape (D,); None where it takes no part."""
        return self._arrays.get(name)

    def discriminants(self, faces: Mapping[str, Embeddings]) -> NDArray[np.float64]:
        """Fisher's discriminant of each face, shape (N,): above 0 it is in the condition. About the natural logarithm
        of the odds for that.

        Raises:
            InferenceFailed: a member in `directions` has no vectors, of other dimensions, or not finite.
        """
        values: NDArray[np.float64] = np.float64(self.offset) + np.zeros(1)
        for name, direction in self._arrays.items():
            if name not in faces or faces[name].vectors.shape[1:] != direction.shape:
                raise InferenceFailed(
                    f"{self.name}: classifying the face needs an embedding of {name} with {len(direction)} numbers."
                )
            values = values + faces[name].vectors.astype(np.float64) @ direction
        if not np.isfinite(values).all():
            raise InferenceFailed(f"{self.name}: the embeddings give a discriminant that is not finite.")
        return self.with_pixels(values, glasses_in(faces))

    def with_pixels(self, values: NDArray[np.float64], glasses: NDArray[np.float64]) -> NDArray[np.float64]:
        """The discriminant of each picture whose embeddings alone give `values`: with a `measure` the mean of these and
        of the `log_odds` of `glasses`. No sum, for the two are no independent witnesses.
        """
        return (values + log_odds(glasses)) / 2 if self.measure else values

    def shared_margin(self, stored: Numbers, shown: Numbers, observed: Mapping[str, Observation]) -> Numbers:
        """What a "shared" condition adds to the thresholds: the lower of both sides' discriminants, at most
        `both_margin`, and nothing under 0; of that the `pair`'s share, by what was `observed` of both sides."""
        margin = np.clip(np.minimum(stored, shown), 0.0, self.both_margin)
        return margin * self.pair.share(observed) if self.pair else margin

    def relative(
        self, template: Mapping[str, Embeddings], probes: Mapping[str, Embeddings]
    ) -> tuple[Mapping[str, Embeddings], Mapping[str, Embeddings]]:
        """Both sides relative to the condition's centroids, to be compared then."""
        references_inside, probes_inside = np.array([False]), np.array([True])
        if self.sides != "probes":
            references_inside, probes_inside = (self.discriminants(side) > 0 for side in (template, probes))
        for name, centroids in self.centroids.items():
            if name in template and name in probes:
                template = {**template, name: template[name].relative_to(centroids.of(references_inside))}
                probes = {**probes, name: probes[name].relative_to(centroids.of(probes_inside))}
        return template, probes

    def compare(self, template: Mapping[str, Embeddings], probes: Mapping[str, Embeddings]) -> dict[str, Observation]:
        """As the module's `compare`, with similarities relative to the condition's centroids."""
        return compare(*self.relative(template, probes))


def discriminants(faces: Mapping[str, Embeddings], conditions: Sequence[Condition]) -> dict[str, float]:
    """By condition the mean discriminant of one side's pictures, where it is above 0."""
    means = {condition.name: float(condition.discriminants(faces).mean()) for condition in conditions}
    return {name: value for name, value in means.items() if value > 0}


@dataclass(frozen=True, slots=True)
class Fusion:
    """A config version's decision rule: its members, one rule for each voter set (keys from `voter_key`), and the
    conditions with a rule of their own."""

    members: tuple[Member, ...]
    voter_sets: Mapping[str, VoterSet]
    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        names = {member.name for member in self.members}
        for condition in self.conditions:
            voters = {member.name for member in condition.fusion.members}
            unknown = {*condition.directions, *condition.centroids, *voters} - names
            if unknown:
                raise ValueError(
                    f"{condition.name}: {listed(unknown)} cannot take part, not being among the version's members "
                    f"({listed(names)})."
                )

    @property
    def foremost(self) -> Member:
        """The member whose vote counts most where all of them vote by the plain rule."""
        rule = self.voter_sets.get(voter_key(member.name for member in self.members))
        trust = rule.trust if rule else {}
        return max(self.members, key=lambda member: member.weight * trust.get(member.name, 1.0))

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
            InferenceFailed: see `compare` and `Condition.discriminants`.
            LowQuality, MissingThreshold: see `decide`.
        """
        stored, shown = discriminants(template, self.of_references), discriminants(frames, self.conditions)
        condition, margin = self.deciding(stored, shown)
        observed = condition.compare(template, frames) if condition else compare(template, frames)
        for shared in self.shared_under(condition):
            added = shared.shared_margin(stored.get(shared.name, 0.0), shown.get(shared.name, 0.0), observed)
            margin = max(margin, float(added))
        rule = condition.fusion if condition else self
        decision = rule.decide(self.of_members(observed), quality_score, margin)
        if condition is None:
            return decision
        probe = self._strongest(self.without_shared(shown))
        return replace(decision, condition=condition.name, probe_condition=probe.name if probe else "")

    def condition_of(self, faces: Mapping[str, Embeddings]) -> Condition | None:
        """The condition that pictures of one face show by themselves, of those that decide, None when none. Raises as
        `Condition.discriminants`."""
        return self._strongest(self.without_shared(discriminants(faces, self.conditions)))

    @property
    def of_references(self) -> list[Condition]:
        """The conditions that references are classified for."""
        return [condition for condition in self.conditions if condition.sides != "probes"]

    def shared_under(self, deciding: Condition | None) -> list[Condition]:
        """The shared conditions that raise the thresholds of the plain rule (None) or of a condition's: those `related`
        to it. Blurred or masked faces are told apart by other features."""
        return [c for c in self.conditions if c.sides == "shared" and (not deciding or related(c.name, deciding.name))]

    def of_members(self, by_network: Mapping[str, T]) -> dict[str, T]:
        """What is known by network, of those that are members: others only tell one pair of glasses from another."""
        names = {member.name for member in self.members}
        return {name: value for name, value in by_network.items() if name in names}

    def deciding(self, stored: Mapping[str, float], shown: Mapping[str, float]) -> tuple[Condition | None, float]:
        """The condition whose rule decides an attempt, None when the plain rule does, and the margin that is added to
        its thresholds, where both sides show it or a related one; a shared one may raise them further. `stored` and
        `shown` are the references' and the frames' `discriminants`.

        Of two `related` conditions the graver counts, of two others the one with the higher discriminant.
        """
        stored, shown = self.without_shared(stored), self.without_shared(shown)
        first, second = self._strongest(shown), self._strongest(stored)
        if first and second and related(first.name, second.name):
            graver = second if first.name == milder(second.name) else first
            return graver, graver.both_margin
        counting = [(side[c.name], c) for side, c in ((shown, first), (stored, second)) if c and c.sides != "both"]
        if not counting:
            return None, 0.0
        _, condition = max(counting, key=lambda of_side: of_side[0])
        both = all(any(related(name, condition.name) for name in side) for side in (shown, stored))
        return condition, condition.both_margin if both else 0.0

    def without_shared(self, by_condition: Mapping[str, T]) -> dict[str, T]:
        """What is known by condition, of those that decide."""
        names = {condition.name for condition in self.shared_under(None)}
        return {name: value for name, value in by_condition.items() if name not in names}

    def _strongest(self, discriminants: Mapping[str, float]) -> Condition | None:
        """The condition with the highest discriminant; of two `related` ones the graver."""
        mild = {milder(name) for name in discriminants}
        names = [name for name in discriminants if name not in mild]
        best = max(names, key=lambda name: discriminants[name], default=None)
        return next((condition for condition in self.conditions if condition.name == best), None)

    def decide(self, observations: Mapping[str, Observation], quality_score: float, margin: float = 0.0) -> Decision:
        """Fuse and decide.

        Args:
            observations: by member, from `compare`.
            quality_score: the probe's, [0, 1].
            margin: added to both thresholds.

        Raises:
            LowQuality: no member votes at this quality.
            MissingThreshold: no threshold is set for the members that vote.
            InferenceFailed: a voter has no observation, or the score is not finite.
        """
        voters, rule = self.voting(quality_score)
        score = float(rule.calibration(raw_score(observations, voters, rule)))
        key = voter_key(member.name for member in voters)
        if not math.isfinite(score):
            raise InferenceFailed(f"The score of the voter set {key} is not finite.")
        threshold, review_threshold = rule.threshold + margin, rule.review_threshold + margin
        decision: Verdict = "no_match"
        if score >= review_threshold:
            decision = "match" if score >= threshold else "review"
        names = tuple(sorted(member.name for member in voters))
        return Decision(
            decision,
            score,
            threshold,
            review_threshold,
            names,
            {name: float(observation.similarity) for name, observation in observations.items()},
            {name: float(observation.log_norm) for name, observation in observations.items()},
        )

    def voting(self, quality_score: float) -> tuple[tuple[Member, ...], VoterSet]:
        """Who votes at this quality, and their rule. Raises: LowQuality, MissingThreshold; see `decide`."""
        voters = self.voters(quality_score)
        if not sum(member.weight for member in voters):
            raise LowQuality([Reason("poor_quality", "better light, nearer, and look at the camera")])
        key = voter_key(member.name for member in voters)
        rule = self.voter_sets.get(key)
        if rule is None:
            raise MissingThreshold(f"No threshold is set for the voter set {key}: run calibrate.")
        return voters, rule
