"""Learning a condition: how blurred or covered probes are recognised, and the centroids of their embeddings.

Blur and masks move a network's embeddings towards one point, whoever the face belongs to. Two things follow.
- Such embeddings lie apart from all others: Fisher's linear discriminant (1936) classifies them.
- Two of them look alike though they show two people: a cosine is worth more when it is taken relative to the centroid.

A probe is classified by its own embedding, never by a similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engine.conditions import GLASSES, milder
from ...engine.fuse import Centroids, Condition, Fusion, Measure, Pair, log_odds
from ...engine.voters import Member
from ..scoring import Labelled, Values

# How much of the mean variance is added to the variance in every direction, so that a direction in which few faces vary
# counts little. On dev_eval 0.05 to 0.3 classify the same masked faces within half a point.
SHRINKAGE = 0.3
# How far from the origin towards the centroid a condition's `Centroids` lie. On dev_eval half of the way to the whole
# give the same TAR within half a point in blur and behind masks; the whole behind masks costs profiles some.
CENTROID_SHARE = 0.75
# At most this part of the faces in no condition, or in glasses, is classified as in a condition, every list weighing
# the same: whoever is decided by the rule of a condition that the face is not in, loses by it.
FALSELY_INSIDE = 0.02
# The same of faces in glasses alone: references with covered eyes are refused, and clear glasses are welcome.
FALSELY_GRAVER = 0.05
# Glasses decide nothing. Where both sides wear them, the thresholds rise by the lower of both discriminants, at most by
# MOST_FOR_GLASSES, so that a face that is only perhaps in glasses pays little; therefore the bar may be as low as this.
# Where a network looked for them in the picture, its log-odds are half of the discriminant (`Condition.measure`).
# Chosen on dev_eval: docs/experiments/fusion.md.
FALSELY_IN_GLASSES = 0.1
MOST_FOR_GLASSES = 5.0
# Where a network tells one pair of glasses from another, the margin counts only for the same pair: so the bar may be so
# low that nearly half of the faces are over it. The same pair is surely told from the second similarity on, another
# one up to the first.
FALSELY_IN_SOME_GLASSES = 0.45
MOST_FOR_A_PAIR = 4.0
ANOTHER_PAIR, SAME_PAIR = 0.5, 0.7
# With fewer probes in a condition than this it is not learnt.
FEWEST = 100


def learn(lists: Sequence[Labelled], members: Sequence[Member]) -> list[Condition]:
    """Learn every condition that some list names, without a decision rule yet: `Condition.fusion` has no voter sets.

    A condition is left out when fewer than FEWEST probes are in it, or all of them.

    Args:
        lists: comparisons that took place. Every list weighs the same.
        members: each contributes a direction to the discriminant, and gets centroids of its own. A network that
            observed the comparisons and is no member tells one pair of glasses from another.
    """
    lists = [item for item in lists if item.side == "probes" and item.probes and len(item.comparisons)]
    if not lists:
        return []
    faces = _Faces.of(lists, members)
    others = lists[0].observations.similarities.keys() - {member.name for member in members}
    pair = Pair(min(others), ANOTHER_PAIR, SAME_PAIR) if others else None
    in_glasses, most = (FALSELY_IN_SOME_GLASSES, MOST_FOR_A_PAIR) if pair else (FALSELY_IN_GLASSES, MOST_FOR_GLASSES)
    conditions = []
    for name in dict.fromkeys(item.condition for item in lists if item.condition):
        classifier = _classifier(faces, name, in_glasses)
        if classifier is None:
            continue
        direction, offset = classifier
        directions = _by_member(direction, lists[0], members)
        if name == GLASSES.name:
            nothing = Fusion((), {})
            measure: Measure = "glasses" if faces.measured else ""
            conditions.append(Condition(name, directions, offset, {}, nothing, "shared", most, measure, pair))
        else:
            inside = [item for item in lists if item.condition == name]
            centroids = {member.name: _centroids(inside, member.name) for member in members}
            conditions.append(Condition(name, directions, offset, centroids, Fusion(tuple(members), {}), "either"))
    return conditions


@dataclass(frozen=True, slots=True)
class _Faces:
    """All lists' probes: `vectors`, all members' embeddings one behind the other, shape (I, D), the `weight` of each
    within all, the `condition` of its list, and how likely each shows `glasses`, NaN where no network looked; shape
    (I,) each."""

    vectors: Values
    weight: Values
    condition: NDArray[np.str_]
    glasses: Values

    @classmethod
    def of(cls, lists: Sequence[Labelled], members: Sequence[Member]) -> _Faces:
        probes = [np.unique(item.comparisons.b) for item in lists]
        counts = [len(images) for images in probes]
        vectors = [
            np.concatenate([item.probes[member.name][images].mean(1) for member in members], 1)
            for item, images in zip(lists, probes, strict=True)
        ]
        return cls(
            np.concatenate(vectors).astype(np.float64),
            np.repeat([1 / count for count in counts], counts),
            np.repeat([item.condition for item in lists], counts),
            np.concatenate([item.worn()[1][images].mean(1) for item, images in zip(lists, probes, strict=True)]),
        )

    @property
    def measured(self) -> bool:
        """Whether a network looked for glasses."""
        return bool(np.isfinite(self.glasses).any())

    def bar(self, values: Values, among: NDArray[np.bool_], share: float) -> float:
        """The value above which at most this share of the faces `among` lies; `values` has one of each face."""
        return _quantile(values[among], self.weight[among], 1 - share)


def _classifier(faces: _Faces, name: str, in_glasses: float) -> tuple[Values, float] | None:
    """The direction and the offset of a condition's discriminant; None where too few faces are inside, or all.
    `in_glasses` is the share of bare faces that may be classified as in glasses."""
    # who wears dark glasses wears glasses
    graver = [condition for condition in np.unique(faces.condition) if milder(condition) == name]
    inside = np.isin(faces.condition, [name, *graver])
    # a face in another condition is no example of one outside: of two conditions the surer one holds
    bare = ~inside & np.isin(faces.condition, ["", GLASSES.name])
    if inside.sum() < FEWEST or not bare.any():
        return None
    used = inside | bare
    direction, offset = _discriminant(faces.vectors[used], inside[used], faces.weight[used])
    values = faces.vectors @ direction
    if name == GLASSES.name:
        pixels = log_odds(faces.glasses) if faces.measured else 0.0
        return direction, round(-faces.bar(values + pixels, bare, in_glasses), 5)
    bars = [faces.bar(values, bare, FALSELY_INSIDE)]
    worn = bare & (faces.condition == GLASSES.name)
    if worn.any():
        bars.append(faces.bar(values, worn, FALSELY_GRAVER))
    return direction, round(min(offset, -max(bars)), 5)


def _by_member(direction: Values, item: Labelled, members: Sequence[Member]) -> dict[str, tuple[float, ...]]:
    """Split a direction over all members' embeddings, one behind the other, into each member's part."""
    ends = np.cumsum([item.probes[member.name].shape[2] for member in members])[:-1]
    parts = zip(members, np.split(direction, ends), strict=True)
    return {member.name: tuple(part.tolist()) for member, part in parts}


def _centroids(lists: Sequence[Labelled], member: str) -> Centroids:
    probes = [item.probes[member][np.unique(item.comparisons.b)].mean((0, 1)) for item in lists]
    references = [item.references[member][np.unique(item.comparisons.a)].mean((0, 1)) for item in lists]
    return Centroids(*(tuple(_as_written(CENTROID_SHARE * np.mean(side, 0)).tolist()) for side in (probes, references)))


def _discriminant(x: Values, inside: NDArray[np.bool_], weight: Values) -> tuple[Values, float]:
    """Fisher's linear discriminant between the vectors `inside` a condition and all others, equally likely a priori.

    Args:
        x: shape (I, D).
        inside: shape (I,).
        weight: of each vector within its class, shape (I,).

    Returns: the direction, shape (D,), and the offset.
    """
    share = np.where(inside, weight / weight[inside].sum(), weight / weight[~inside].sum()) / 2
    mean_inside, mean_outside = (2 * share[side] @ x[side] for side in (inside, ~inside))
    centred = x - np.where(inside[:, None], mean_inside, mean_outside)
    scatter = (centred * share[:, None]).T @ centred
    scatter += SHRINKAGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    direction = _as_written(np.linalg.solve(scatter, mean_inside - mean_outside))
    return direction, float(-direction @ (mean_inside + mean_outside) / 2)


def _quantile(values: Values, weight: Values, share: float) -> float:
    """The value that this share of the weight does not exceed."""
    order = np.argsort(values)
    below = np.cumsum(weight[order]) / weight.sum()
    return float(values[order][min(int(np.searchsorted(below, share)), len(values) - 1)])


def _as_written(numbers: NDArray[np.floating]) -> Values:
    """Rounded as in the ensemble file, so that thresholds are fitted with the very numbers that will decide."""
    return numbers.astype(np.float16).astype(np.float64)
