"""What the networks' wrappers share. A wrapper adds what only its family knows."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from . import artifacts, runtime, selectors
from .engine.embed import Embedder
from .engine.types import Embeddings, Image, Vector, Vectors
from .exceptions import NotReady


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
        self.embedder = embedder or _active_embedder(self.family)

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
    def engine(self) -> str:
        """As `Embedder.engine`."""
        return self.embedder.engine

    @property
    def golden_norm(self) -> float | None:
        """As `Embedder.golden_norm`."""
        return self.embedder.golden_norm

    def embed(self, crops: NDArray[np.uint8], flip: bool = False) -> Embeddings:
        """As `Embedder.embed`."""
        return self.embedder.embed(crops, flip)


def _active_embedder(family: str) -> Embedder:
    """The active version's network of a family; loaded now where this process has not.

    Raises:
        NotReady: no version is active, or the active one has no member of this family.
    """
    config = selectors.active_config()
    for member in config.members.all():
        if member.artifact.family == family:
            model: FaceModel = runtime.current().networks.get(member.artifact.sha256) or artifacts.load(member.artifact)
            return model.embedder
    raise NotReady(f"The active version {config.version} has no member of the family {family}.")
