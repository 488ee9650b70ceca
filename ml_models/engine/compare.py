"""One attempt's frames against a subject's references: what each member measures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InferenceFailed
from .types import Embeddings, Extraction


@dataclass(frozen=True, slots=True)
class Observation:
    """What one member measured in one attempt.

    Both are means over every pair of a reference and a frame: `similarity` of the cosine, in [-1, 1]; `log_norm` of the
    natural logarithm of the pair's shorter feature norm.
    """

    similarity: float
    log_norm: float


def by_member(extractions: Sequence[Extraction]) -> dict[str, Embeddings]:
    """The embeddings of one or more pictures, by member."""
    return {
        name: Embeddings.of_features([extraction.feature(name) for extraction in extractions])
        for name in extractions[0].vectors
    }


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
    if set(template) != set(probes) or not probes:
        raise InferenceFailed(
            f"The template has embeddings of {listed(template)}, the probe of {listed(probes)}. Both need the same "
            "members: embed the one that lacks some again."
        )
    return {name: _observe(name, template[name], frames) for name, frames in probes.items()}


def listed(names: Iterable[str]) -> str:
    """Members' names for a message."""
    return ", ".join(sorted(names)) or "no member"


def _observe(name: str, references: Embeddings, frames: Embeddings) -> Observation:
    a, b = references.vectors, frames.vectors
    if not len(a) or not len(b) or a.shape[1] != b.shape[1]:
        raise InferenceFailed(
            f"{name} has references of shape {a.shape} and frames of shape {b.shape}: at least one of each is needed, "
            "and they must have the same dimension."
        )
    cosine = float(a.astype(np.float64).mean(0) @ b.astype(np.float64).mean(0))
    shorter = np.minimum.outer(references.norms.astype(np.float64), frames.norms.astype(np.float64))
    if not math.isfinite(cosine) or not (np.isfinite(shorter) & (shorter > 0)).all():
        raise InferenceFailed(f"{name} gave a feature of length 0, or a cosine or norm that is not finite.")
    return Observation(max(-1.0, min(1.0, cosine)), float(np.log(shorter).mean()))
