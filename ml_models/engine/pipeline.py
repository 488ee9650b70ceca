"""One picture → one face's embeddings: decode → detect, upright → one face → quality → align → embed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .align import align, decode_chip, encode_chip, make_chip
from .decode import DecodeLimits, decode
from .detect import Detector, the_one_face
from .errors import NotUpright
from .quality import VERIFY_LIMITS, QualityLimits, measure, require, with_norms
from .types import Chip, Embeddings, Extraction, Image
from .upright import stand


class EmbedsFaces(Protocol):
    """A member: an `Embedder` or a wrapper of one."""

    @property
    def golden_norm(self) -> float | None: ...

    def embed(self, crops: NDArray[np.uint8], flip: bool = False) -> Embeddings: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A config version's way from bytes to vectors. Safe to share between threads.

    `members` are keyed by artifact name; `flip` averages with the mirror image.
    """

    detector: Detector
    members: Mapping[str, EmbedsFaces]
    flip: bool = False
    decode_limits: DecodeLimits = field(default_factory=DecodeLimits)

    def extract(self, data: bytes, limits: QualityLimits = VERIFY_LIMITS, stored: bool = False) -> Extraction:
        """Find the one face in a picture and embed it with every member.

        Args:
            data: JPEG, PNG, WebP or HEIC bytes.
            limits: what the face must reach.
            stored: embed what the stored chip decodes to, not the pixels before encoding, so that re-embedding the
                chip later gives the same vectors: for enrolment.

        Raises:
            ImageError: the picture is refused; the subclass says why.
            InferenceFailed: a network failed.
        """
        timings: dict[str, float] = {}
        with _timed(timings, "decode"):
            image = decode(data, self.decode_limits)
        with _timed(timings, "detect"):
            view = stand(self.detector, image)
            face = the_one_face(view.faces, view.image.shape, limits.min_face_px, limits.bystander_ratio)
        with _timed(timings, "quality"):
            chip = make_chip(view.image, face.landmarks)
            if stored:
                chip = decode_chip(encode_chip(chip))
            crop = chip_crop(chip)
            quality = measure(crop, face, limits)
            # quality first: of a face too dark to tell which way up it is, "more light" is the useful advice
            require(quality)
            if not view.upright:
                raise NotUpright("Which way up the face is cannot be told. Hold the camera upright and take it again.")
        vectors, norms = {}, {}
        for name, member in self.members.items():
            with _timed(timings, name):
                embedded = member.embed(crop[None], self.flip)
            vectors[name], norms[name] = embedded.vectors[0], float(embedded.norms[0])
        quality = with_norms(quality, [(norms[name], m.golden_norm) for name, m in self.members.items()], limits)
        require(quality)
        return Extraction(chip, quality, vectors, norms, timings)


def chip_crop(chip: Chip) -> Image:
    """The networks' crop of a chip: RGB, uint8, (112, 112, 3). Probes and references take the same way through it."""
    return align(chip.image, chip.landmarks)


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[step] = (time.perf_counter() - started) * 1000
