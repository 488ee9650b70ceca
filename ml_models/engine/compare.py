"""One attempt's frames against a subject's references: what each member measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .calibrate import Numbers
from .errors import InferenceFailed
from .types import Embeddings, Extraction, Faces


@dataclass(frozen=True, slots=True)
class Observation:
    """What one member measured in one attempt, or in one attempt of each of N subjects, shape (N,).

    Both are means over every pair of a reference and a frame: `similarity` of the cosine, in [-1, 1]; `log_norm` of the
    natural logarithm of the pair's shorter feature norm.
    """

    similarity: Numbers
    log_norm: Numbers


def by_member(extractions: Sequence[Extraction]) -> Faces:
    """The faces in one or more pictures, by member."""
    embeddings = {
        name: Embeddings.of_features([extraction.feature(name) for extraction in extractions])
        for name in extractions[0].vectors
    }
    return Faces(embeddings, [extraction.quality.glasses for extraction in extractions])


def compare(template: Mapping[str, Embeddings], probes: Mapping[str, Embeddings]) -> dict[str, Observation]:
    """Each member's observation of an attempt.

    The mean, not the best: averaging narrows the non-mated scores, so that more references or frames never raise the
    FMR over that of a single pair at the same threshold.

    Args:
        template: the references, by member.
        probes: the frames, by member.

    Raises:
        InferenceFailed: a member has no vectors on one side, other dimensions, or values that are not finite.
    """
    require_same_members(template, probes)
    return {name: _observe(name, template[name], frames) for name, frames in probes.items()}


def require_same_members(template: Mapping[str, Embeddings], probes: Mapping[str, Embeddings]) -> None:
    """Raises: InferenceFailed: one side has embeddings of other members than the other, or there are none."""
    if set(template) != set(probes) or not probes:
        raise InferenceFailed(
            f"The template has embeddings of {listed(template)}, the probe of {listed(probes)}. Both need the same "
            "members: embed the one that lacks some again."
        )


def listed(names: Iterable[str]) -> str:
    """Members' names for a message."""
    return ", ".join(sorted(names)) or "no member"


def require_comparable(name: str, references: Embeddings, frames: Embeddings) -> None:
    """Raises: InferenceFailed: a side is empty, or both have not the same dimension."""
    a, b = references.vectors, frames.vectors
    if not len(a) or not len(b) or a.shape[1] != b.shape[1]:
        raise InferenceFailed(
            f"{name} has references of shape {a.shape} and frames of shape {b.shape}: at least one of each is needed, "
            "and they must have the same dimension."
        )


def _observe(name: str, references: Embeddings, frames: Embeddings) -> Observation:
    require_comparable(name, references, frames)
    a, b = references.vectors, frames.vectors
    cosine = float(a.astype(np.float64).mean(0) @ b.astype(np.float64).mean(0))
    shorter = np.minimum.outer(references.norms.astype(np.float64), frames.norms.astype(np.float64))
    require_finite(name, cosine, shorter)
    return Observation(max(-1.0, min(1.0, cosine)), float(np.log(shorter).mean()))


def require_finite(name: str, cosines: Numbers, shorter: Numbers) -> None:
    """Raises: InferenceFailed: a cosine or a norm is not finite, or a norm not above 0."""
    if not (np.isfinite(cosines).all() and np.isfinite(shorter).all() and np.greater(shorter, 0).all()):
        raise InferenceFailed(f"{name} gave a feature of length 0, or a cosine or norm that is not finite.")
