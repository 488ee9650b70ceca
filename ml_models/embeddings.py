"""A reference's vectors: made from its stored chip, encrypted for their very rows."""

from __future__ import annotations

import uuid

from . import crypto, runtime
from .engine.pipeline import chip_crop
from .engine.types import Chip, Image, Vector
from .models import Embedding, EnsembleMember


def embed_chip(chip: Chip, member: EnsembleMember, flip: bool) -> Vector:
    """A stored face in a member's space, float32 (D,), unit length.

    Raises:
        NotReady: this process has not loaded the member.
        InferenceFailed
    """
    return embed_crop(chip_crop(chip), member, flip)


def embed_crop(crop: Image, member: EnsembleMember, flip: bool) -> Vector:
    """As `embed_chip`, from a chip's crop: RGB, uint8, (112, 112, 3)."""
    vector: Vector = runtime.model(member.artifact).embed(crop[None], flip).vectors[0]
    return vector


def sealed(reference: uuid.UUID, space: str, vector: Vector) -> Embedding:
    """An unsaved row with its vector encrypted for that row."""
    pk = uuid.uuid4()
    data = crypto.seal_vector(pk, reference, space, vector.astype("<f4").tobytes())
    return Embedding(pk=pk, reference_id=reference, space=space, vector=data)
