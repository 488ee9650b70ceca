"""Whole attempts, of several references and several frames, made from lists of single pictures.

A subject's pictures are put in an order drawn by a fixed seed: the first become its template, the others groups of
frames. Every template is compared with every group of frames, the subject's own and everybody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lists.pairs import Comparisons, Pool
from .pictures.embedding import Embedded
from .scoring import Labelled, Observations

Indices = NDArray[np.int32]

CELLS = tuple((references, frames) for references in (1, 3, 5) for frames in (1, 3))
"""The sizes that `verify` is called with: the number of references, and of frames in one attempt."""
SEED = 19795
# Fewer non-mated attempts say nothing about a rate of one in a thousand.
FEWEST_STRANGERS = 3000


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one list in one cell.

    In `labelled`, `comparisons.a` indexes the templates, with the claimed subject, and `comparisons.b` the groups of
    frames, with the subject that they show; `quality` is the best frame's.
    """

    references: int
    frames: int
    labelled: Labelled


def every_cell(pool: Pool, embedded: Embedded, probes: Embedded | None = None, condition: str = "") -> list[Attempts]:
    """Every list's attempts, in every cell for which the list has enough pictures; `probes` as in `attempts`,
    `condition` as in `Labelled`."""
    cells = (
        attempts(name, c, embedded, pool.subject_of, references, frames, probes, condition)
        for name, c in zip(pool.names, pool.lists, strict=True)
        for references, frames in CELLS
    )
    return [cell for cell in cells if cell]


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
        listed: the list's comparisons; their first images can become references, their second ones frames.
        embedded, subject_of: of the images that `listed` names.
        probes: the same images as frames, when these differ from the references: under a stress, say.

    Returns: None when too few subjects have enough pictures.
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
    claimed, presented = np.array(list(templates), np.int32), np.array([who for who, _ in groups], np.int32)
    refs, shown = np.array(list(templates.values())), np.array([images for _, images in groups])
    a, b = (side.ravel() for side in np.meshgrid(np.arange(len(refs)), np.arange(len(shown)), indexing="ij"))
    no_folds = np.zeros(len(a), np.int32)
    comparisons = Comparisons(a.astype(np.int32), b.astype(np.int32), claimed[a], presented[b], no_folds)
    if not comparisons.same.any() or (~comparisons.same).sum() < FEWEST_STRANGERS:
        return None
    quality = probes.quality["score"][shown].max(1)[b]
    observations = _observe(embedded, probes, refs, shown)
    template, group = (
        {member: vectors[images] for member, vectors in side.vectors.items()}
        for side, images in ((embedded, refs), (probes, shown))
    )
    glasses = embedded.quality["glasses"][refs], probes.quality["glasses"][shown]
    labelled = Labelled(name, comparisons, observations, quality, template, group, condition, glasses=glasses)
    return Attempts(references, frames, labelled)


def _by_subject(images: Indices, subject_of: Indices) -> dict[int, list[int]]:
    by_subject: dict[int, list[int]] = {}
    for image in images:
        by_subject.setdefault(int(subject_of[image]), []).append(int(image))
    return by_subject


def _observe(embedded: Embedded, probes: Embedded, refs: NDArray[np.int_], shown: NDArray[np.int_]) -> Observations:
    """As `engine.compare.compare`, for every template and every group of frames."""
    similarities, log_norms = {}, {}
    for name, vectors in embedded.vectors.items():
        similarities[name] = (vectors[refs].mean(1) @ probes.vectors[name][shown].mean(1).T).ravel().astype(np.float64)
        logs, others = np.log(embedded.norms[name]), np.log(probes.norms[name])
        pairs = [np.minimum.outer(logs[reference], others[frame]) for reference in refs.T for frame in shown.T]
        log_norms[name] = np.mean(pairs, axis=0).ravel()
    return Observations(similarities, log_norms)
