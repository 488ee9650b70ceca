"""What tells that a probe is blurred, or covered, and from where such probes are seen best.

Blur and masks draw a network's embeddings together, whoever the face belongs to: they lie apart from all others, so
that Fisher's linear discriminant (1936) tells them; and they are alike for a reason that is no likeness of people, so
that a cosine is worth more as seen from their mean. What is told of a probe comes from its own embedding, never from a
similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...engine.fuse import Centres, Condition, Fusion, Member
from ..rates.metrics import threshold_at_fmr
from ..scoring import Labelled, Values

# How much of the mean variance is added to every direction's, so that a direction seen in few faces tells little.
# 0.05 to 0.3 tell the same masked faces on dev_eval within half a point.
SHRINKAGE = 0.3
# How far from the origin towards the mean of such embeddings the centre lies. On dev_eval half of the way to the whole
# give the same TAR within half a point in blur and behind masks; the whole behind masks costs profiles some.
CENTRE_SHARE = 0.75
# Fewer pictures in a condition than this tell nothing of it.
FEWEST = 100


def tar(lists: Sequence[Labelled], scores: Callable[[Labelled], Values], target_fmr: float) -> float:
    """The TAR at the target, the mean over these lists, each at its own threshold."""
    found = []
    for item in lists:
        values, same = scores(item), item.comparisons.same
        strangers = np.sort(values[~same])[::-1]
        found.append(float((values[same] >= threshold_at_fmr(strangers, target_fmr)).mean()))
    return float(np.mean(found))


def learnt(lists: Sequence[Labelled], members: Sequence[Member]) -> list[Condition]:
    """The conditions that some lists were put in on purpose, with numbers that are still to be fitted; those that too
    few pictures show are left out.

    Args:
        lists: comparisons that took place; every list weighs the same.
        members: all tell a condition, together, and each is seen from its own centres.
    """
    lists = [item for item in lists if item.probes and len(item.comparisons)]
    if not lists:
        return []
    shown = [np.unique(item.comparisons.b) for item in lists]
    counts = [len(at) for at in shown]
    vectors = np.concatenate(
        [
            np.concatenate([item.probes[member.name][at].mean(1) for member in members], 1)
            for item, at in zip(lists, shown, strict=True)
        ]
    ).astype(np.float64)
    weight = np.repeat([1 / count for count in counts], counts)
    ends = np.cumsum([lists[0].probes[member.name].shape[2] for member in members])[:-1]
    found = []
    for name in dict.fromkeys(item.condition for item in lists if item.condition):
        inside = np.repeat([item.condition == name for item in lists], counts)
        if inside.sum() < FEWEST or inside.all():
            continue
        direction, offset = _discriminant(vectors, inside, weight)
        directions = zip(members, np.split(direction, ends), strict=True)
        there = [item for item in lists if item.condition == name]
        found.append(
            Condition(
                name,
                {member.name: tuple(part.tolist()) for member, part in directions},
                offset,
                {member.name: _centres(there, member.name) for member in members},
                Fusion(tuple(members), {}),
            )
        )
    return found


def _centres(lists: Sequence[Labelled], member: str) -> Centres:
    probes = [item.probes[member][np.unique(item.comparisons.b)].mean((0, 1)) for item in lists]
    references = [item.references[member][np.unique(item.comparisons.a)].mean((0, 1)) for item in lists]
    return Centres(*(tuple(_written(CENTRE_SHARE * np.mean(side, 0)).tolist()) for side in (probes, references)))


def _discriminant(x: Values, there: NDArray[np.bool_], weight: Values) -> tuple[Values, float]:
    """Between two classes of vectors (I, D), both alike likely: direction (D,) and offset."""
    share = np.where(there, weight / weight[there].sum(), weight / weight[~there].sum()) / 2
    inside, outside = (2 * share[side] @ x[side] for side in (there, ~there))
    centred = x - np.where(there[:, None], inside, outside)
    scatter = (centred * share[:, None]).T @ centred
    scatter += SHRINKAGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    direction = _written(np.linalg.solve(scatter, inside - outside))
    return direction, round(float(-direction @ (inside + outside) / 2), 5)


def _written(numbers: NDArray[np.floating]) -> Values:
    """Rounded as in the ensemble file, so that thresholds are fitted with what will decide."""
    return numbers.astype(np.float16).astype(np.float64)
