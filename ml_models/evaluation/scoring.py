"""The decision rule of `engine.fuse`, for a million comparisons at once. A test holds the two together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..engine.fuse import Centres, Condition, Fusion, Member, VoterSet, reachable_voter_sets, voter_key
from ..engine.types import Vectors
from .lists.pairs import Comparisons

Values = NDArray[np.float64]

_ROWS = 1024


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

    `quality` is the probe's score, shape (N,), NaN where an image was not acquired. `references` and `probes` are the
    vectors of what stands on the comparisons' two sides, by member, shape (I, pictures, D): one picture, or the
    references of a template and the frames of an attempt. `condition` is the one that the probes were put in on
    purpose, see `engine.fuse.Condition`, "" when in none.
    """

    name: str
    comparisons: Comparisons
    seen: Evidences
    quality: Values
    references: Mapping[str, Vectors] = field(default_factory=dict)
    probes: Mapping[str, Vectors] = field(default_factory=dict)
    condition: str = ""

    def take(self, keep: NDArray[np.bool_]) -> Labelled:
        return replace(
            self, comparisons=self.comparisons.take(keep), seen=self.seen.take(keep), quality=self.quality[keep]
        )

    def told(self, conditions: Sequence[Condition]) -> NDArray[np.intp]:
        """Which of the conditions each comparison's probe is in, as `Fusion.condition` says, −1 in none; shape (N,)."""
        if not conditions:
            return np.full(len(self.comparisons), -1)
        values = np.stack([self._values(condition) for condition in conditions])
        surest = np.where((values > 0).any(0), np.where(values > 0, values, 0).argmax(0), -1)
        return np.asarray(surest[self.comparisons.b], np.intp)

    def _values(self, condition: Condition) -> Values:
        parts = (self.probes[name].mean(1).astype(np.float64) @ np.array(d) for name, d in condition.directions.items())
        return np.asarray(sum(parts) + condition.offset)

    def within(self, here: NDArray[np.bool_], condition: Condition | None) -> Labelled:
        """The comparisons `here`, as a condition sees them; as they are in none."""
        part = self.take(here)
        return part._seen_from(condition.centres) if condition else part

    def _seen_from(self, centres: Mapping[str, Centres]) -> Labelled:
        c, moved = self.comparisons, {}
        for name, centre in centres.items():
            sides = (self.references[name], centre.references), (self.probes[name], centre.probes)
            references, probes = (_seen_from(vectors, np.array(point, np.float32)) for vectors, point in sides)
            moved[name] = cosines(references, c.a, c.b, probes)
        return replace(self, seen=Evidences({**self.seen.similarities, **moved}, self.seen.log_norms))


def _seen_from(vectors: Vectors, point: NDArray[np.float32]) -> Vectors:
    """The mean, over the pictures, of the directions from a point; shape (I, D)."""
    moved = vectors - point
    return np.asarray((moved / np.linalg.norm(moved, axis=2, keepdims=True)).mean(1))


def cosines(
    vectors: NDArray[np.float32],
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    others: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Row-wise dot products `vectors[a] · others[b]`, shape (N,), by blocks of a matrix product: gathering
    both sides would move a gigabyte a million comparisons. `others` are `vectors` when None."""
    others = vectors if others is None else others
    found = np.empty(len(a), np.float64)
    for start in range(0, len(vectors), _ROWS):
        here = np.flatnonzero((a >= start) & (a < start + _ROWS))
        if here.size:
            block = vectors[start : start + _ROWS] @ others.T
            found[here] = block[a[here] - start, b[here]]
    return found


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
    """Score every comparison as `Fusion.judge` would.

    Raises:
        KeyError: a reachable voter set has no rule.
    """
    if not fusion.conditions:
        return _by_voters(fusion, item)
    told = item.told(fusion.conditions)
    whole = Scored(np.full(len(told), -np.inf), np.zeros(len(told)))
    for number, condition in enumerate((None, *fusion.conditions), -1):
        here = told == number
        scored = _by_voters(condition.fusion if condition else fusion, item.within(here, condition))
        whole.score[here], whole.threshold[here] = scored.score, scored.threshold
    return whole


def _by_voters(fusion: Fusion, item: Labelled) -> Scored:
    found, threshold = np.full(len(item.quality), -np.inf), np.zeros(len(item.quality))
    for key, mask in voter_masks(fusion.members, item.quality).items():
        here = np.flatnonzero(mask)
        rule = fusion.voter_sets[key]
        raw = raw_scores(voting(fusion.members, key), rule, item.seen.take(here))
        found[here] = rule.calibration.a * raw + rule.calibration.b
        threshold[here] = rule.threshold
    found[np.isnan(found)] = -np.inf
    return Scored(found, threshold)
