"""Whole attempts, of several references and several frames, from lists of single pictures.

A subject's first pictures become its template, the others frames, in an order drawn by a fixed seed; every template
meets every group of frames, the subject's own and everybody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lists.pairs import Comparisons, Pool
from .pictures.embedding import Embedded
from .scoring import Evidences, Labelled

Indices = NDArray[np.int32]

CELLS = tuple((references, frames) for references in (1, 3, 5) for frames in (1, 3))
"""What verify meets: how many references, and how many frames of one attempt."""
SEED = 19795
# A cell of fewer attempts by strangers says nothing of a rate of one in a thousand.
FEWEST_STRANGERS = 3000


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts of one list in one cell: who is claimed and who came (the comparisons' images are the templates' and
    the groups' numbers), what every member saw, and the best frame's quality."""

    references: int
    frames: int
    labelled: Labelled


def every_cell(pool: Pool, embedded: Embedded, probes: Embedded | None = None, condition: str = "") -> list[Attempts]:
    """Every list's attempts in every cell that it has the pictures for; `probes` as in `attempts`, `condition` as in
    `Labelled`."""
    found = (
        attempts(name, c, embedded, pool.subject_of, references, frames, probes, condition)
        for name, c in zip(pool.names, pool.lists, strict=True)
        for references, frames in CELLS
    )
    return [cell for cell in found if cell]


def attempts(
    name: str,
    listed: Comparisons,
    embedded: Embedded,
    subject_of: Indices,
    references: int,
    frames: int,
    probes: Embedded | None = None,
    condition: str = "",
) -> Attempts | None:
    """One list's attempts in one cell.

    Args:
        listed: the list's comparisons; what stands on their first side can be a reference, on the second a frame.
        embedded, subject_of: of the images that `listed` names.
        probes: the frames when they are not as they lie on disk: under stress, say.

    Returns: None when too few of the subjects have the pictures it takes.
    """
    probes = probes or embedded
    rng = np.random.default_rng(SEED)
    both = (listed.a, embedded.acquired), (listed.b, probes.acquired)
    sides = [np.unique(side[acquired[side]]) for side, acquired in both]
    left, right = (_by_subject(rng.permutation(side), subject_of) for side in sides)
    templates = {who: images[:references] for who, images in left.items() if len(images) >= references}
    groups: list[tuple[int, list[int]]] = []
    for who, images in right.items():
        free = [image for image in images if image not in templates.get(who, ())]
        groups += [(who, free[i : i + frames]) for i in range(0, len(free) - frames + 1, frames)]
    if len(templates) < 2 or not groups:
        return None
    claimed, came = np.array(list(templates), np.int32), np.array([who for who, _ in groups], np.int32)
    refs, shown = np.array(list(templates.values())), np.array([images for _, images in groups])
    a, b = (side.ravel() for side in np.meshgrid(np.arange(len(refs)), np.arange(len(shown)), indexing="ij"))
    comparisons = Comparisons(a.astype(np.int32), b.astype(np.int32), claimed[a], came[b], np.zeros(len(a), np.int32))
    if not comparisons.same.any() or (~comparisons.same).sum() < FEWEST_STRANGERS:
        return None
    quality = probes.quality["score"][shown].max(1)[b]
    seen = _seen(embedded, probes, refs, shown)
    template, group = (
        {member: vectors[images] for member, vectors in side.vectors.items()}
        for side, images in ((embedded, refs), (probes, shown))
    )
    return Attempts(references, frames, Labelled(name, comparisons, seen, quality, template, group, condition))


def _by_subject(images: Indices, subject_of: Indices) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for image in images:
        found.setdefault(int(subject_of[image]), []).append(int(image))
    return found


def _seen(embedded: Embedded, probes: Embedded, refs: NDArray[np.int_], shown: NDArray[np.int_]) -> Evidences:
    """As `engine.fuse.compare`, for every template and every group of frames."""
    similarities, log_norms = {}, {}
    for name, vectors in embedded.vectors.items():
        similarities[name] = (vectors[refs].mean(1) @ probes.vectors[name][shown].mean(1).T).ravel().astype(np.float64)
        logs, others = np.log(embedded.norms[name]), np.log(probes.norms[name])
        pairs = [np.minimum.outer(logs[reference], others[frame]) for reference in refs.T for frame in shown.T]
        log_norms[name] = np.mean(pairs, axis=0).ravel()
    return Evidences(similarities, log_norms)
