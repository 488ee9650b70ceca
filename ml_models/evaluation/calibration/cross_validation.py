"""Numbers fitted on some people, measured on others, so that nobody has to be set aside.

Every comparison is scored by numbers fitted without the parts of *both* its subjects. So strangers from different parts
are compared too: with five parts that is four in five of all, and without them an error rate of one in a thousand hangs
on a handful of people.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...engine.fuse import Fusion, Member
from ..lists.pairs import Flags
from ..pictures.embedding import Progress
from ..scoring import Labelled, Scored, score
from . import fitting

Parts = tuple[int, int]
"""Two parts of the subjects, the lower first; the same twice is one part."""


def parts(subjects: Sequence[str], count: int) -> NDArray[np.int32]:
    """Deal subjects into `count` parts by a hash of their id: the same subject is in the same part on every
    machine and in every list."""
    digests = [hashlib.sha256(subject.encode()).digest() for subject in subjects]
    return np.array([int.from_bytes(digest[:8], "big") % count for digest in digests], np.int32)


def fit_parts(
    fit_on: Sequence[Labelled],
    part_of: NDArray[np.int32],
    members: Sequence[Member],
    target_fmr: float,
    cells: Sequence[Labelled] = (),
    progress: Progress | None = None,
) -> dict[Parts, Fusion]:
    """The numbers fitted without each part, and without each two of them. Of two parts only without each by itself:
    nobody would be left.

    Args:
        fit_on: all against all, say.
        part_of: the part of each subject.
        cells: see `fitting.fit`.
        progress: called with (fits done, fits in all).

    Raises:
        CannotCalibrate: the subjects outside some of the parts do not suffice.
    """
    numbers = [int(number) for number in np.unique(part_of)]
    pairs = itertools.combinations_with_replacement(numbers, 2)
    wanted = [pair for pair in pairs if pair[0] == pair[1] or len(numbers) > 2]
    found = {}
    for done, left_out in enumerate(wanted, 1):
        others, attempts = (
            [item.take(np.asarray(~np.isin(_parts_of(item, part_of), left_out).any(0))) for item in items]
            for items in (fit_on, cells)
        )
        found[left_out] = fitting.fit(members, others, target_fmr, attempts)
        if progress:
            progress(done, len(wanted))
    return found


def crossed(fusions: Mapping[Parts, Fusion], apply_to: Sequence[Labelled], part_of: NDArray[np.int32]) -> list[Scored]:
    """Every comparison scored with the numbers fitted without the parts of its two subjects; where there are none it
    is scored NaN and belongs to no figure.

    Args:
        fusions: from `fit_parts`.
        apply_to: lists over the same subjects.
    """
    found = [Scored.nothing(len(item.comparisons)) for item in apply_to]
    for whole, item in zip(found, apply_to, strict=True):
        low, high = np.sort(_parts_of(item, part_of), 0)
        for left_out, fusion in fusions.items():
            here: Flags = (low == left_out[0]) & (high == left_out[1])
            scored = score(fusion, item.take(here))
            whole.score[here], whole.threshold[here] = scored.score, scored.threshold
    return found


def _parts_of(item: Labelled, part_of: NDArray[np.int32]) -> NDArray[np.int32]:
    """The parts of each comparison's subjects, shape (2, N)."""
    return np.stack([part_of[item.comparisons.subject_a], part_of[item.comparisons.subject_b]])
