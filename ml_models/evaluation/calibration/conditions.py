"""Learning a condition: how blurred or covered probes are recognised, and the centroids of their embeddings.

Blur and masks move a network's embeddings towards one point, whoever the face belongs to. Two things follow.
- Such embeddings lie apart from all others: Fisher's linear discriminant (1936) classifies them.
- Two of them look alike though they show two people: a cosine is worth more when it is taken relative to the centroid.

A probe is classified by its own embedding, never by a similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...engine.fuse import Centroids, Condition, Fusion, Member
from ..rates.metrics import threshold_at_fmr
from ..scoring import Labelled, Values

# How much of the mean variance is added to the variance in every direction, so that a direction in which few faces vary
# counts little. On dev_eval 0.05 to 0.3 classify the same masked faces within half a point.
SHRINKAGE = 0.3
# How far from the origin towards the centroid a condition's `Centroids` lie. On dev_eval half of the way to the whole
# give the same TAR within half a point in blur and behind masks; the whole behind masks costs profiles some.
CENTROID_SHARE = 0.75
# With fewer probes in a condition than this it is not learnt.
FEWEST = 100


def mean_tar(lists: Sequence[Labelled], scores: Callable[[Labelled], Values], target_fmr: float) -> float:
    """The mean over these lists of the TAR at the target FMR, each list at its own threshold."""
    tars = []
    for item in lists:
        values, same = scores(item), item.comparisons.same
        strangers = np.sort(values[~same])[::-1]
        tars.append(float((values[same] >= threshold_at_fmr(strangers, target_fmr)).mean()))
    return float(np.mean(tars))


def learn(lists: Sequence[Labelled], members: Sequence[Member]) -> list[Condition]:
    """Learn every condition that some list names, without a decision rule yet: `Condition.fusion` has no voter sets.

    A condition is left out when fewer than FEWEST probes are in it, or all of them.

    Args:
        lists: comparisons that took place. Every list weighs the same.
        members: each contributes a direction to the discriminant, and gets centroids of its own.
    """
    lists = [item for item in lists if item.probes and len(item.comparisons)]
    if not lists:
        return []
    probes = [np.unique(item.comparisons.b) for item in lists]
    counts = [len(images) for images in probes]
    vectors = np.concatenate(
        [
            np.concatenate([item.probes[member.name][images].mean(1) for member in members], 1)
            for item, images in zip(lists, probes, strict=True)
        ]
    ).astype(np.float64)
    weight = np.repeat([1 / count for count in counts], counts)
    conditions = []
    for name in dict.fromkeys(item.condition for item in lists if item.condition):
        inside = np.repeat([item.condition == name for item in lists], counts)
        if inside.sum() < FEWEST or inside.all():
            continue
        direction, offset = _discriminant(vectors, inside, weight)
        lists_inside = [item for item in lists if item.condition == name]
        conditions.append(
            Condition(
                name,
                _by_member(direction, lists[0], members),
                offset,
                {member.name: _centroids(lists_inside, member.name) for member in members},
                Fusion(tuple(members), {}),
            )
        )
    return conditions


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
    return direction, round(float(-direction @ (mean_inside + mean_outside) / 2), 5)


def _as_written(numbers: NDArray[np.floating]) -> Values:
    """Rounded as in the ensemble file, so that thresholds are fitted with the very numbers that will decide."""
    return numbers.astype(np.float16).astype(np.float64)
