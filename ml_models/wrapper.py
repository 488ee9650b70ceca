"""What the networks' wrappers share. A wrapper adds what only its family knows."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .engine.embed import Embedder
from .engine.types import Embeddings, Image, Vector, Vectors


class FaceModel:
    """A face network: aligned crops in, unit-length embeddings out.

    Colour order, normalisation and dimension come from the artifact's contract, never from the class.

    Args:
        embedder: the loaded network; without it the active version's artifact of this family is resolved.

    Raises:
        NotReady: no version is active, or the active one has no member of this family.
    """

    family: ClassVar[str]

    def __init__(self, embedder: Embedder | None = None) -> None:
        if embedder is None:
            from . import runtime  # the runtime makes wrappers; only this convenience goes the other way

            embedder = runtime.active_embedder(self.family)
        self.embedder = embedder

    @property
    def dimension(self) -> int:
        return self.embedder.contract.dimension

    def generate_embedding(self, face_image: Image) -> Vector:
        """Embed one aligned face.

        Args:
            face_image: RGB, uint8, (112, 112, 3), aligned to the ArcFace template.

        Returns: float32, (dimension,), unit length.

        Raises:
            ValueError: another shape or type.
            InferenceFailed: the network failed.
        """
        vector: Vector = self.generate_embeddings(np.asarray(face_image)[None])[0]
        return vector

    def generate_embeddings(self, face_images: NDArray[np.uint8]) -> Vectors:
        """Embed aligned faces: RGB, uint8, (N, 112, 112, 3) → float32 (N, dimension), unit length."""
        return self.embedder.embed(face_images).vectors

    @property
    def golden_norm(self) -> float | None:
        """As `Embedder.golden_norm`."""
        return self.embedder.golden_norm

    def embed(self, crops: NDArray[np.uint8], flip: bool = False) -> Embeddings:
        """As `Embedder.embed`."""
        return self.embedder.embed(crops, flip)
