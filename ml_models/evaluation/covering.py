"""Behind a mask: what tells it, and who decides then.

A network that a mask confuses shows it in its embedding: covered faces lie apart from all others, whoever they are.
Fisher's linear discriminant (1936) between the lists that were covered on purpose and all others tells them. Where most
of what the other members say is noise then, the best one decides alone, and the others tell when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..engine.calibrate import Affine
from ..engine.fuse import Cover
from .metrics import threshold_at_fmr
from .scoring import Labelled, Values

# How much of the mean variance is added to every direction's, so that a direction seen in few faces tells little.
# 0.05 to 0.3 tell the same faces on dev_eval within half a point.
SHRINKAGE = 0.3
# Fewer covered pictures than this tell nothing of covered faces.
FEWEST = 100


def best_member(lists: Sequence[Labelled], names: Sequence[str], target_fmr: float) -> tuple[str, float]:
    """The member with the highest TAR at the target, the mean over these lists; and that TAR."""
    found = {name: tar(lists, lambda item, name=name: item.seen.similarities[name], target_fmr) for name in names}  # type: ignore[misc]
    best = max(found, key=lambda name: found[name])
    return best, found[best]


def tar(lists: Sequence[Labelled], scores: Callable[[Labelled], Values], target_fmr: float) -> float:
    """The TAR at the target, the mean over these lists, each at its own threshold."""
    found = []
    for item in lists:
        values, same = scores(item), item.comparisons.same
        strangers = np.sort(values[~same])[::-1]
        found.append(float((values[same] >= threshold_at_fmr(strangers, target_fmr)).mean()))
    return float(np.mean(found))


def told(lists: Sequence[Labelled], names: Sequence[str], voter: str) -> Cover | None:
    """What tells a covered face, with numbers for `voter` that are still to be fitted; None where too few pictures are
    covered.

    Args:
        lists: comparisons that took place; every list weighs the same.
        names: of the members that tell it.
        voter: who decides then.
    """
    shown = [(item, np.unique(item.comparisons.b)) for item in lists if item.probes and len(item.comparisons)]
    if sum(len(at) for item, at in shown if item.covered) < FEWEST or all(item.covered for item, _ in shown):
        return None
    vectors = [np.concatenate([item.probes[name][at] for name in names], 1) for item, at in shown]
    covered = np.concatenate([np.full(len(at), item.covered) for item, at in shown])
    weight = np.concatenate([np.full(len(at), 1 / len(at)) for _, at in shown])
    direction, offset = _discriminant(np.concatenate(vectors).astype(np.float64), covered, weight)
    ends = np.cumsum([shown[0][0].probes[name].shape[1] for name in names])
    parts = np.split(direction, ends[:-1])
    directions = {name: tuple(part.tolist()) for name, part in zip(names, parts, strict=True)}
    return Cover(directions, offset, voter, Affine(1.0, 0.0), 0.0, 0.0)


def _discriminant(x: Values, covered: NDArray[np.bool_], weight: Values) -> tuple[Values, float]:
    """Between two classes of vectors (I, D), both alike likely: direction (D,) and offset."""
    share = np.where(covered, weight / weight[covered].sum(), weight / weight[~covered].sum()) / 2
    there, elsewhere = (2 * share[side] @ x[side] for side in (covered, ~covered))
    centred = x - np.where(covered[:, None], there, elsewhere)
    scatter = (centred * share[:, None]).T @ centred
    scatter += SHRINKAGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    # rounded as it is written into the ensemble file, so that thresholds are fitted with what will decide
    direction = np.linalg.solve(scatter, there - elsewhere).astype(np.float16).astype(np.float64)
    return direction, round(float(-direction @ (there + elsewhere) / 2), 5)
