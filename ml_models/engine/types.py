"""The values that flow through the engine, one way: bytes → DetectedFace → Extraction → Decision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import ContractMismatch, InferenceFailed, Reason

Image: TypeAlias = NDArray[np.uint8]
"""RGB, shape (H, W, 3), 0–255."""
Landmarks: TypeAlias = NDArray[np.float32]
"""Left eye, right eye, nose, left and right mouth corner as seen in the picture, in pixels, shape (5, 2)."""
Vector: TypeAlias = NDArray[np.float32]
"""One embedding, unit length, shape (D,)."""
Vectors: TypeAlias = NDArray[np.float32]
"""Embeddings, unit length, shape (N, D)."""
Feature: TypeAlias = NDArray[np.float32]
"""A network's output, shape (D,): its direction is the embedding, its length grows with the face's quality."""
ColorOrder: TypeAlias = Literal["RGB", "BGR"]
Layout: TypeAlias = Literal["NCHW", "NHWC"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
"""`bfloat16`: a processor that multiplies bfloat16 numbers may do so, in half the time and with products of eight bits;
others compute in float32. An embedding of the one may meet one of the other."""
Verdict: TypeAlias = Literal["match", "review", "no_match"]


@dataclass(frozen=True, slots=True)
class InputContract:
    """How an embedder wants its crops and what it gives back; it travels with the file, never with a class name.

    The engine feeds `(crop - mean) / std`, channels in `color_order`, shape (N, 3, H, W) or (N, H, W, 3) by `layout`.
    """

    input: str
    output: str
    color_order: ColorOrder
    mean: float
    std: float
    dimension: int
    norm_output: str | None = None
    layout: Layout = "NCHW"
    size: tuple[int, int] = (112, 112)
    alignment: str = "arcface5-112"
    kind: Literal["embedder"] = "embedder"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.color_order not in ("RGB", "BGR") or self.layout not in (
            "NCHW",
            "NHWC",
        ):
            raise ContractMismatch(f"Unknown colour order or layout: {self.color_order}, {self.layout}.")
        if self.precision not in get_args(Precision):
            raise ContractMismatch(f"Unknown precision: {self.precision}. There are: {', '.join(get_args(Precision))}.")
        if str(self.kind) != "embedder" or self.std <= 0 or self.dimension < 1:
            raise ContractMismatch(
                f"A contract needs the kind embedder, a std above 0 and a dimension of at least 1, not {self.kind}, "
                f"{self.std} and {self.dimension}."
            )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputContract:
        """Read a contract.

        Raises:
            ContractMismatch: a field is missing, unknown or out of range.
        """
        known = {f.name for f in fields(cls)}
        if unknown := set(data) - known:
            raise ContractMismatch(f"Unknown contract fields: {', '.join(sorted(unknown))}.")
        try:
            return cls(**{**data, "size": tuple(data.get("size", (112, 112)))})
        except TypeError as error:
            raise ContractMismatch(f"The contract is incomplete: {error}.") from error

    def to_json(self) -> dict[str, Any]:
        whole = {**asdict(self), "size": list(self.size)}
        # spaces are named after this, and were before there was a choice
        return {key: value for key, value in whole.items() if (key, value) != ("precision", "float32")}


def canonical_json(data: Mapping[str, Any]) -> str:
    """JSON with one spelling, so that equal values have equal digests."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """A face in a picture: `box` is x, y, width, height in pixels; `score` the detector's own, [0, 1]."""

    box: tuple[float, float, float, float]
    landmarks: Landmarks
    score: float

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]

    @property
    def middle(self) -> tuple[float, float]:
        x, y, width, height = self.box
        return x + width / 2, y + height / 2


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors` unit length, float32 (N, D); `norms` the lengths before normalisation, float32 (N,)."""

    vectors: Vectors
    norms: NDArray[np.float32]

    @classmethod
    def of_features(cls, features: Sequence[Feature] | NDArray[np.float32]) -> Embeddings:
        """Features of one network, each float32 (D,), or all in one array (N, D)."""
        stacked = np.asarray(features, np.float32)
        norms = np.linalg.norm(stacked, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # a feature without direction is refused when compared
            return cls(stacked / norms[:, None], norms)

    def relative_to(self, centroids: NDArray[np.float64]) -> Embeddings:
        """The embeddings relative to centroids, (1, D) or one for each, (N, D): their differences from it, at unit
        length. `norms` stay as they are.

        Raises:
            InferenceFailed: the centroid has another dimension.
        """
        if self.vectors.shape[1:] != centroids.shape[1:]:
            raise InferenceFailed(
                f"The condition's centroid has {centroids.shape[1]} numbers, the embeddings have the shape "
                f"{self.vectors.shape}: calibrate the version again."
            )
        moved = self.vectors.astype(np.float64) - centroids
        with np.errstate(divide="ignore", invalid="ignore"):  # a vector without direction is refused when compared
            return Embeddings((moved / np.linalg.norm(moved, axis=1)[:, None]).astype(np.float32), self.norms)

    @property
    def features(self) -> NDArray[np.float32]:
        """float32 (N, D)."""
        return np.asarray(self.vectors * self.norms[:, None], np.float32)


class Faces(dict[str, Embeddings]):
    """One side of a comparison: the embeddings of some pictures by member, and how likely each of them shows glasses,
    `glasses`, float (N,) in [0, 1], NaN where nobody knows."""

    def __init__(self, embeddings: Mapping[str, Embeddings], glasses: Sequence[float | None]) -> None:
        super().__init__(embeddings)
        self.glasses = np.array(glasses, np.float64)


def glasses_in(faces: Mapping[str, Embeddings]) -> NDArray[np.float64]:
    """`Faces.glasses`; of plain embeddings one NaN."""
    return faces.glasses if isinstance(faces, Faces) else np.array([np.nan])


@dataclass(frozen=True, slots=True)
class Quality:
    """What one face alone shows, before any comparison; see `quality.measure` for each formula.

    `score` is in [0, 1]; `reasons` are sentences a phone can show, `details` their codes and numbers. `feature_norm` is
    None until the face is embedded, and where every network's graph has normalised it away; `eyes_visible` and
    `glasses`, how likely they are worn, where the version has no network that tells.
    """

    score: float
    reasons: tuple[str, ...]
    face_px: float
    sharpness: float
    brightness: float
    contrast: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    detector_score: float
    landmark_residual: float
    feature_norm: float | None = None
    details: tuple[Reason, ...] = ()
    eye_contrast: float = 1.0
    eyes_visible: float | None = None
    glasses: float | None = None

    def to_json(self) -> dict[str, Any]:
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}
        details = [reason.to_json() for reason in self.details]
        return {**rounded, "reasons": list(self.reasons), "details": details}


@dataclass(frozen=True, slots=True)
class Chip:
    """The face as it is stored: aligned RGB pixels, larger than the networks' crop, with its landmarks. `encoded` are
    bytes that decode to just these pixels, None where there are none yet."""

    image: Image
    landmarks: Landmarks
    encoded: bytes | None = None


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a network that looks for presentation attacks makes of one face, or several together.

    `logit` is the natural log-odds of the live class, ln(p / (1 - p)); `crop_px` the shorter side in pixels of what was
    cut out of the picture, and `enough` whether that had at least as many pixels as the network takes: a smaller one
    shows nothing of a print's grain or a screen's pixels.
    """

    logit: float
    crop_px: int
    enough: bool


@dataclass(frozen=True, slots=True)
class Extraction:
    """One picture's face: `vectors[name]` is float32 (D,), unit length; `norms[name]` its length before that;
    `presentation` what the attack detector makes of it, None without one."""

    chip: Chip
    quality: Quality
    vectors: Mapping[str, NDArray[np.float32]]
    norms: Mapping[str, float]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    presentation: Presentation | None = None

    def feature(self, name: str) -> Feature:
        """A member's feature, float32 (D,)."""
        return np.asarray(self.vectors[name] * np.float32(self.norms[name]), np.float32)


@dataclass(frozen=True, slots=True)
class Decision:
    """`score` and both thresholds are natural-log likelihood ratios; `voters` are the members that voted;
    `similarities` and `log_norms` are each member's `compare.Observation`; `condition` is the name of the
    `fuse.Condition` that the attempt was classified as, "" when in none; `probe_condition` of the one that the frames
    show by themselves, "" where it is the references that are in a condition."""

    decision: Verdict
    score: float
    threshold: float
    review_threshold: float
    voters: tuple[str, ...]
    similarities: Mapping[str, float]
    log_norms: Mapping[str, float] = field(default_factory=dict)
    condition: str = ""
    probe_condition: str = ""
