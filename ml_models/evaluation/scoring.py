"""The decision rule of `engine.fuse`, for a million comparisons at once. A test compares the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..engine.compare import Observation
from ..engine.conditions import milder, related
from ..engine.fuse import Centroids, Condition, Fusion
from ..engine.types import Vectors
from ..engine.voters import Member, VoterSet, raw_score, reachable_voter_sets, voter_key
from .lists.pairs import Comparisons

Values = NDArray[np.float64]
Side = Literal["probes", "references", "both"]
"""Which pictures of the comparisons are under a stress."""

_ROWS = 1024
# a product in a matrix costs about so much less than one of gathered rows
_FEW = 20


@dataclass(frozen=True, slots=True)
class Scored:
    """`score` and `threshold` in natural-log likelihood ratios, shape (N,); `score` is −inf where nothing was
    acquired or no member voted. `margin` decides: at least 0 is a match, whichever voter set it was."""

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
        quality: the probe's quality score, [0, 1], shape (N,); NaN where it was not acquired: no member votes.
    """
    votes = {member.name: quality >= member.quality_threshold for member in members}
    masks = {}
    for names in reachable_voter_sets(members):
        mask = np.logical_and.reduce([votes[name] if name in names else ~votes[name] for name in votes])
        masks[voter_key(names)] = mask & np.isfinite(quality)
    return masks


@dataclass(frozen=True, slots=True)
class Observations:
    """`engine.compare.Observation` of many comparisons: by member, each shape (N,); NaN where an image was not
    acquired."""

    similarities: Mapping[str, Values]
    log_norms: Mapping[str, Values]

    def take(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Observations:
        return Observations(
            {name: values[keep] for name, values in self.similarities.items()},
            {name: values[keep] for name, values in self.log_norms.items()},
        )

    def of(self, members: Sequence[Member]) -> Observations:
        """Those of these members."""
        names = [member.name for member in members]
        return Observations(
            {name: self.similarities[name] for name in names}, {name: self.log_norms[name] for name in names}
        )

    @property
    def by_network(self) -> dict[str, Observation]:
        """As `engine.compare.compare` gives them, shape (N,)."""
        return {name: Observation(values, self.log_norms[name]) for name, values in self.similarities.items()}

    @property
    def acquired(self) -> NDArray[np.bool_]:
        return np.asarray(np.logical_and.reduce([np.isfinite(values) for values in self.similarities.values()]))

    @classmethod
    def concatenate(cls, parts: Sequence[Observations]) -> Observations:
        """The parts' comparisons, one part after the other."""

        def joined(pick: Callable[[Observations], Mapping[str, Values]]) -> dict[str, Values]:
            return {name: np.concatenate([pick(part)[name] for part in parts]) for name in pick(parts[0])}

        return cls(joined(lambda part: part.similarities), joined(lambda part: part.log_norms))


@dataclass(frozen=True, slots=True)
class Labelled:
    """One list's comparisons with every member's observations; the subjects are the labels.

    `quality` is the probe's quality score, shape (N,), NaN where an image was not acquired. `references` and `probes`
    are the vectors of the images that `comparisons.a` and `comparisons.b` index, by member, shape (I, pictures, D): one
    picture, or all references of a template and all frames of an attempt. `condition` names the
    `engine.fuse.Condition` that the stress belongs to, "" where there is none, and `side` the pictures that are under
    it; `classify` may still say otherwise of some. `glasses`, of the references and of the probes, shape (I, pictures)
    each, are as in `engine.types.Faces`; None where no network looked.
    """

    name: str
    comparisons: Comparisons
    observations: Observations
    quality: Values
    references: Mapping[str, Vectors] = field(default_factory=dict)
    probes: Mapping[str, Vectors] = field(default_factory=dict)
    condition: str = ""
    side: Side = "probes"
    glasses: tuple[Values, Values] | None = None

    def take(self, keep: NDArray[np.bool_]) -> Labelled:
        return replace(
            self,
            comparisons=self.comparisons.take(keep),
            observations=self.observations.take(keep),
            quality=self.quality[keep],
        )

    def worn(self) -> tuple[Values, Values]:
        """`glasses`, NaN where no network looked."""
        if self.glasses:
            return self.glasses
        references, probes = (next(iter(side.values())).shape[:2] for side in (self.references, self.probes))
        return np.full(references, np.nan), np.full(probes, np.nan)

    def only_acquired(self) -> Labelled:
        """Without the comparisons of which an image was not acquired."""
        return self.take(np.isfinite(self.quality) & self.observations.acquired)

    def classify(self, conditions: Sequence[Condition]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The index of the condition that decides each comparison in `Fusion.judge`, −1 for none, and whether both
        its sides show it; shape (N,) each."""
        a, b = self.comparisons.a, self.comparisons.b
        if not conditions:
            return np.full(len(a), -1), np.zeros(len(a), bool)
        names = [condition.name for condition in conditions]
        kin = np.array([[related(first, second) for second in names] for first in names])
        graver = np.array(
            [[i if milder(first) == second else j for j, second in enumerate(names)] for i, first in enumerate(names)]
        )
        counts_alone = np.array([condition.sides != "both" for condition in conditions])
        deciding = np.array([condition.sides != "shared" for condition in conditions])
        classified = deciding & [condition.sides != "probes" for condition in conditions]
        probes = _above(self.probes, conditions, deciding)
        references = _above(self.references, conditions, classified)
        shown, shown_value = _highest(probes, names)
        stored, stored_value = _highest(references, names)
        # what does not count alone has no value against the other side's
        alone, alone_value = _counting(shown, shown_value, counts_alone)
        other, other_value = _counting(stored, stored_value, counts_alone)
        first, second = stored[a], shown[b]
        single = np.where(other_value[a] > alone_value[b], other[a], alone[b])
        decided = np.where((first >= 0) & (second >= 0) & kin[first, second], graver[first, second], single)
        shows, has = (kin @ (values > 0) for values in (probes, references))
        return decided, (decided >= 0) & has[decided, a] & shows[decided, b]

    def shared_margin(self, condition: Condition) -> Values:
        """`Condition.shared_margin` of each comparison, shape (N,); 0 where an image was not acquired."""
        (first, a), (second, b) = _used(self.comparisons.a), _used(self.comparisons.b)
        sides = (self.references, first), (self.probes, second)
        stored, shown = (
            condition.with_pixels(
                _discriminants({name: vectors[name][images] for name in condition.directions}, condition), worn[images]
            ).mean(1)
            for (vectors, images), worn in zip(sides, self.worn(), strict=True)
        )
        margin = condition.shared_margin(stored[a], shown[b], self.observations.by_network)
        return np.nan_to_num(np.asarray(margin, np.float64))

    def relative_to(self, condition: Condition) -> Labelled:
        """The same comparisons, their similarities taken relative to the condition's centroids."""
        c, similarities = self.comparisons, dict(self.observations.similarities)
        (first, a), (second, b) = _used(c.a), _used(c.b)
        sides = [
            {name: vectors[name][images] for name in condition.centroids.keys() | condition.directions.keys()}
            for vectors, images in ((self.references, first), (self.probes, second))
        ]
        insides = [np.array([[False]]), np.array([[True]])]
        if condition.sides != "probes":
            insides = [_discriminants(side, condition) > 0 for side in sides]
        for name, centroids in condition.centroids.items():
            references, probes = (
                _mean_directions(side[name], inside, centroids) for side, inside in zip(sides, insides, strict=True)
            )
            similarities[name] = dot_products(references, a, b, probes)
        return replace(self, observations=Observations(similarities, self.observations.log_norms))


def _used(images: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The images that are compared, and the place among them of each comparison's."""
    flags = np.zeros(int(images.max(initial=-1)) + 1, bool)
    flags[images] = True
    return np.flatnonzero(flags), (np.cumsum(flags, dtype=np.int32) - 1)[images]


def _discriminants(vectors: Mapping[str, Vectors], condition: Condition) -> Values:
    """`Condition.discriminants` of every picture, shape (I, pictures), by the embeddings alone."""
    parts = (vectors[name] @ np.array(direction, np.float32) for name, direction in condition.directions.items())
    return np.asarray(sum(parts) + condition.offset, np.float64)


def _above(vectors: Mapping[str, Vectors], conditions: Sequence[Condition], classified: NDArray[np.bool_]) -> Values:
    """Each image's mean discriminant by condition, (C, I); 0 where it is not above 0, or the side is not classified."""
    if not classified.any():
        return np.zeros((len(conditions), len(next(iter(vectors.values())))))
    values = np.stack([_discriminants(vectors, condition).mean(1) for condition in conditions])
    return np.where((values > 0) & classified[:, None], values, 0.0)


def _highest(values: Values, names: Sequence[str]) -> tuple[NDArray[np.intp], Values]:
    """`Fusion.condition_of` each image, as an index, −1 for none, and its discriminant, 0 for none; shape (I,) each."""
    values = values.copy()
    for index, name in enumerate(names):
        if milder(name) in names:
            values[names.index(milder(name))][values[index] > 0] = 0.0
    return np.where(values.max(0) > 0, values.argmax(0), -1), values.max(0)


def _counting(classes: NDArray[np.intp], values: Values, counts: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Values]:
    keep = (classes >= 0) & counts[classes]
    return np.where(keep, classes, -1), np.where(keep, values, 0.0)


def _mean_directions(vectors: Vectors, inside: NDArray[np.bool_], centroids: Centroids) -> Vectors:
    """`Embeddings.relative_to` by each picture's class, (I, pictures), and the mean of that over each image's pictures;
    (I, pictures, D) → (I, D)."""
    origin = np.where(
        inside[..., None], np.array(centroids.inside, np.float32), np.array(centroids.outside, np.float32)
    )
    moved = vectors - origin
    return np.asarray((moved / np.linalg.norm(moved, axis=2, keepdims=True)).mean(1))


def dot_products(
    vectors: NDArray[np.float32],
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    others: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Row-wise dot products `vectors[a] · others[b]`, shape (N,), by blocks: of many comparisons of few images a matrix
    product, since gathering both sides would move a gigabyte a million comparisons; of few comparisons their own rows.
    `others` are `vectors` when None."""
    others = vectors if others is None else others
    products = np.empty(len(a), np.float64)
    for start in range(0, len(vectors), _ROWS):
        rows = np.flatnonzero((a >= start) & (a < start + _ROWS))
        if not rows.size:
            continue
        columns, at = np.unique(b[rows], return_inverse=True)
        if rows.size * _FEW < _ROWS * len(columns):
            products[rows] = np.einsum("nd,nd->n", vectors[a[rows]], others[b[rows]])
        else:
            products[rows] = (vectors[start : start + _ROWS] @ others[columns].T)[a[rows] - start, at]
    return products


def ratios(member: Member, observations: Observations) -> Values:
    """A member's log-likelihood ratios, shape (N,)."""
    similarities, log_norms = observations.similarities[member.name], observations.log_norms[member.name]
    return np.asarray(member.calibration(similarities, log_norms))


def raw_scores(voters: Sequence[Member], rule: VoterSet, observations: Observations) -> Values:
    """The mean of the voters' log-likelihood ratios by weight · trust, shape (N,)."""
    return np.asarray(raw_score(observations.by_network, voters, rule))


def voters_of(members: Sequence[Member], key: str) -> tuple[Member, ...]:
    """The members of a voter set."""
    return tuple(member for member in members if member.name in key.split("+"))


def score(fusion: Fusion, item: Labelled) -> Scored:
    """Score every comparison as `Fusion.judge` would.

    Raises:
        KeyError: a reachable voter set has no rule.
    """
    if not fusion.conditions:
        return _score_by_voter_set(fusion, item)
    classified, two_sided = item.classify(fusion.conditions)
    whole = Scored(np.full(len(classified), -np.inf), np.zeros(len(classified)))
    for index, condition in enumerate((None, *fusion.conditions), -1):
        mask = classified == index
        part = item.take(mask)
        if condition is None:
            scored = _score_by_voter_set(fusion, part)
            margins = np.zeros(len(part.comparisons))
        else:
            scored = _score_by_voter_set(condition.fusion, part.relative_to(condition))
            margins = np.where(two_sided[mask], condition.both_margin, 0.0)
        for shared in fusion.shared_under(condition):
            margins = np.maximum(margins, part.shared_margin(shared))
        whole.score[mask], whole.threshold[mask] = scored.score, scored.threshold + margins
    return whole


def _score_by_voter_set(fusion: Fusion, item: Labelled) -> Scored:
    scores, thresholds = np.full(len(item.quality), -np.inf), np.zeros(len(item.quality))
    for key, mask in voter_masks(fusion.members, item.quality).items():
        rows = np.flatnonzero(mask)
        rule = fusion.voter_sets[key]
        raw = raw_scores(voters_of(fusion.members, key), rule, item.observations.take(rows))
        scores[rows] = rule.calibration.a * raw + rule.calibration.b
        thresholds[rows] = rule.threshold
    scores[np.isnan(scores)] = -np.inf
    return Scored(scores, thresholds)
