"""Cross-validation by subject: numbers are fitted on some subjects and measured on the held-out ones.

Subjects are dealt into parts. A comparison is scored by numbers that were fitted without the parts of *both* its
subjects. So strangers from two different parts are compared too. With five parts these are four fifths of all
non-mated comparisons; without them, an error rate of one in a thousand would rest on a handful of people.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...engine.fuse import Fusion
from ...engine.voters import Member
from ..lists.pairs import Flags
from ..pictures.embedding import Progress
from ..scoring import Labelled, Scored, score
from . import fitting

Parts = tuple[int, int]
"""The held-out parts, the lower number first; twice the same number for a single part."""


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
    """Fit the numbers once without each part, and once without each two parts. With two parts in all, only the former:
    without both no subject is left.

    Args:
        fit_on: the comparisons, best all against all.
        part_of: the part of each subject.
        cells: see `fitting.fit`.
        progress: called with (fits done, fits in all).

    Raises:
        CannotCalibrate: without some of the parts the comparisons do not suffice.
    """
    numbers = [int(number) for number in np.unique(part_of)]
    pairs = itertools.combinations_with_replacement(numbers, 2)
    held_out = [pair for pair in pairs if pair[0] == pair[1] or len(numbers) > 2]
    fusions = {}
    for done, left_out in enumerate(held_out, 1):
        others, attempts = (
            [item.take(np.asarray(~np.isin(_parts_of(item, part_of), left_out).any(0))) for item in items]
            for items in (fit_on, cells)
        )
        fusions[left_out] = fitting.fit(members, others, target_fmr, attempts)
        if progress:
            progress(done, len(held_out))
    return fusions


def crossed(fusions: Mapping[Parts, Fusion], apply_to: Sequence[Labelled], part_of: NDArray[np.int32]) -> list[Scored]:
    """Score every comparison with the numbers fitted without the parts of its two subjects. Where there are no such
    numbers its score is NaN, and no figure counts it.

    Args:
        fusions: from `fit_parts`.
        apply_to: lists over the same subjects.
    """
    scored_lists = [Scored.nothing(len(item.comparisons)) for item in apply_to]
    for whole, item in zip(scored_lists, apply_to, strict=True):
        low, high = np.sort(_parts_of(item, part_of), 0)
        for left_out, fusion in fusions.items():
            mask: Flags = (low == left_out[0]) & (high == left_out[1])
            scored = score(fusion, item.take(mask))
            whole.score[mask], whole.threshold[mask] = scored.score, scored.threshold
    return scored_lists


def _parts_of(item: Labelled, part_of: NDArray[np.int32]) -> NDArray[np.int32]:
    """The parts of each comparison's subjects, shape (2, N)."""
    return np.stack([part_of[item.comparisons.subject_a], part_of[item.comparisons.subject_b]])
