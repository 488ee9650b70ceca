"""Embeddings of the glasses before the eyes: docs/quality.md."""

from .wrapper import FaceModel


class EyewearModel(FaceModel):
    """The same pair of glasses before two faces gives similar embeddings, whoever wears it."""

    family = "eyewear"
