"""A reference's features: made from its stored chip, encrypted for their very rows."""

from __future__ import annotations

import uuid

from .. import crypto, runtime
from ..engine.pipeline import chip_crop
from ..engine.types import Chip, Feature, Image
from ..models import Embedding, EnsembleMember


def embed_chip(chip: Chip, member: EnsembleMember, flip: bool) -> Feature:
    """A stored face in a member's space, float32 (D,).

    Raises:
        NotReady: this process has not loaded the member.
        InferenceFailed
    """
    return embed_crop(chip_crop(chip), member, flip)


def embed_crop(crop: Image, member: EnsembleMember, flip: bool) -> Feature:
    """As `embed_chip`, from a chip's crop: RGB, uint8, (112, 112, 3)."""
    feature: Feature = runtime.model(member.artifact).embed(crop[None], flip).features[0]
    return feature


def sealed(reference: uuid.UUID, owner: crypto.Owner, space: str, feature: Feature) -> Embedding:
    """An unsaved row with its feature, float32 (D,), encrypted for that row and that subject."""
    pk = uuid.uuid4()
    data = crypto.seal_vector(pk, reference, space, owner, feature.astype("<f4").tobytes())
    return Embedding(pk=pk, reference_id=reference, space=space, vector=data)
