"""One picture → one face's embeddings: decode → detect, upright → one face → quality → align → embed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import first_look
from .align import align, decode_chip, encode_chip, make_chip
from .decode import DecodeLimits, read
from .detect import Detector, most_prominent, the_one_face
from .errors import InferenceFailed, NotUpright
from .eyes import EyeNetwork
from .lanes import ONE_LANE, Lanes
from .presentation import PresentationDetector, together
from .quality import VERIFY_LIMITS, QualityLimits, measure, require, with_norms
from .types import Chip, DetectedFace, Embeddings, Extraction, Image, Presentation, Quality
from .upright import View, stand

T = TypeVar("T")

# among the members' names: `artifacts.publish` takes no artifact of such a name
_UPRIGHT, _PRESENTATION = "upright", "presentation"


class _Found(NamedTuple):
    """The picture upright; its one face, in its pixels and in those of the picture as it came, upright; what the
    networks that look for attacks say of it."""

    view: View
    face: DetectedFace
    as_it_came: DetectedFace
    presentation: Presentation | None


class EmbedsFaces(Protocol):
    """A member: an `Embedder` or a wrapper of one."""

    @property
    def golden_norm(self) -> float | None: ...

    def embed(self, crops: NDArray[np.uint8], flip: bool = False) -> Embeddings: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A config version's way from bytes to vectors. Safe to share between threads.

    `members` are keyed by artifact name; `flip` averages with the mirror image; `presentation` are the networks that
    look for attacks, none in most versions; of several the logits are averaged; `eyes` tells whether eyes are covered,
    `glasses` whether there are glasses before them.
    """

    detector: Detector
    members: Mapping[str, EmbedsFaces]
    flip: bool = False
    presentation: tuple[PresentationDetector, ...] = ()
    eyes: EyeNetwork | None = None
    glasses: EyeNetwork | None = None
    decode_limits: DecodeLimits = field(default_factory=DecodeLimits)
    # milliseconds of each network's last face: of works side by side the longest has to begin first
    _took_ms: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    def extract(
        self,
        data: bytes,
        limits: QualityLimits = VERIFY_LIMITS,
        stored: bool = False,
        lanes: Lanes = ONE_LANE,
        examine: bool = True,
    ) -> Extraction:
        """Find the one face in a picture and embed it with every member.

        Args:
            data: JPEG, PNG, WebP or HEIC bytes.
            limits: what the face must reach.
            stored: embed what the stored chip decodes to, not the pixels before encoding, so that re-embedding the
                chip later gives the same vectors: for enrolment.
            lanes: what runs the networks; the answer is the same, bit for bit, on any.
            examine: look for attacks, where the version has a network for it.

        Raises:
            ImageError: the picture is refused; the subclass says why.
            InferenceFailed: a network failed.
        """
        timings: dict[str, float] = {}
        detectors = self.presentation if examine else ()
        found = self._find(data, limits, timings, lanes, detectors)
        view, face, presentation = found.view, found.face, found.presentation
        with _timed(timings, "quality"):
            chip = make_chip(view.image, face.landmarks)
            if stored:
                chip = decode_chip(encode_chip(chip))
            crop = chip_crop(chip)
            quality = measure(crop, found.as_it_came, limits, self.eyes, self.glasses)
            # quality first: of a face too dark to tell which way up it is, "more light" is the useful advice
            require(quality)
            _require_upright(view)
        looks = _looks(detectors, view.image, face) if view.quarters else {}
        works: dict[str, Callable[[], Any]] = {name: partial(self._embed, name, crop) for name in self.members}
        embedded = self._run({**works, **looks}, lanes, timings)
        if looks:
            presentation = _agreed([embedded.pop(name) for name in looks])
        vectors = {name: embedded[name].vectors[0] for name in self.members}
        norms = {name: float(embedded[name].norms[0]) for name in self.members}
        quality = with_norms(quality, [(norms[name], m.golden_norm) for name, m in self.members.items()], limits)
        require(quality)
        return Extraction(chip, quality, vectors, norms, timings, presentation)

    def look(self, data: bytes, limits: QualityLimits = VERIFY_LIMITS) -> Quality:
        """What a picture is like, as far as it shows before any member embeds it. What speaks against the face is in
        the answer.

        Args:
            data: JPEG, PNG, WebP or HEIC bytes.
            limits: what the face should reach.

        Raises:
            ImageError: there is no one face to speak of; the subclass says why.
            InferenceFailed: the detector failed.
        """
        found = self._find(data, limits, {})
        crop = chip_crop(make_chip(found.view.image, found.face.landmarks))
        quality = measure(crop, found.as_it_came, limits, self.eyes)  # glasses are no reason against a face
        if not quality.details:
            _require_upright(found.view)
        return quality

    def _find(
        self,
        data: bytes,
        limits: QualityLimits,
        timings: dict[str, float],
        lanes: Lanes = ONE_LANE,
        detectors: Sequence[PresentationDetector] = (),
    ) -> _Found:
        with _timed(timings, "decode"):
            decoded = read(data, self.decode_limits)
        with _timed(timings, "detect"):
            image, faces, halvings = first_look.take(self.detector, decoded, self.decode_limits.working_side, lanes)
        # their crops need no landmarks, so they need not wait for them
        looks = _looks(detectors, image, most_prominent(faces, image.shape)) if faces else {}
        works: dict[str, Callable[[], Any]] = {_UPRIGHT: partial(stand, self.detector, image, faces), **looks}
        answers = self._run(works, lanes, timings)
        view: View = answers[_UPRIGHT]
        by = 2**halvings
        face = the_one_face(view.faces, view.image.shape, limits.min_face_px / by, limits.bystander_ratio)
        return _Found(view, face, first_look.scaled(face, by, by), _agreed([answers[name] for name in looks]))

    def _embed(self, name: str, crop: Image) -> Embeddings:
        return self.members[name].embed(crop[None], self.flip)

    def _run(self, works: Mapping[str, Callable[[], T]], lanes: Lanes, timings: dict[str, float]) -> dict[str, T]:
        """What each network says, by name, in the order of the works; the time of "STEP/1", "STEP/2" … is STEP's."""

        def timed(name: str) -> T:
            with _timed(timings, name):
                return works[name]()

        slowest_first = sorted(works, key=lambda name: -self._took_ms.get(name, 0.0))
        answers = dict(zip(slowest_first, lanes.run([partial(timed, name) for name in slowest_first]), strict=True))
        for name in works:  # in this order, whichever came first
            step, self._took_ms[name] = name.partition("/")[0], timings.pop(name)
            timings[step] = timings.get(step, 0.0) + self._took_ms[name]
        return {name: answers[name] for name in works}


def _require_upright(view: View) -> None:
    if not view.upright:
        raise NotUpright("Which way up the face is cannot be told. Hold the camera upright and take it again.")


def _looks(
    detectors: Sequence[PresentationDetector], image: Image, face: DetectedFace
) -> dict[str, Callable[[], Presentation | None]]:
    # no artifact's name has a "/"
    return {f"{_PRESENTATION}/{nth}": partial(_examined, each, image, face) for nth, each in enumerate(detectors, 1)}


def _examined(detector: PresentationDetector, image: Image, face: DetectedFace) -> Presentation | None:
    """None where the network failed: `services.liveness` says what follows from that."""
    try:
        return detector.examine(image, face)
    except InferenceFailed:
        return None


def _agreed(looks: Sequence[Presentation | None]) -> Presentation | None:
    """None where any network failed: what is left of them is not what the version was calibrated for."""
    seen = [look for look in looks if look]
    return together(seen) if seen and len(seen) == len(looks) else None


def chip_crop(chip: Chip) -> Image:
    """The networks' crop of a chip: RGB, uint8, (112, 112, 3). Probes and references take the same way through it."""
    return align(chip.image, chip.landmarks)


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[step] = (time.perf_counter() - started) * 1000
