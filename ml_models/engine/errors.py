"""What can go wrong in the engine.

EngineError
├── ImageError                what a picture can be refused for; the caller may take another one
│   ├── UndecodableImage      undecodable_image
│   ├── ImageTooLarge         image_too_large
│   ├── NoFaceFound           no_face_found
│   ├── MultipleFaces         multiple_faces
│   ├── FaceTooSmall          face_too_small
│   ├── NotUpright            not_upright
│   └── LowQuality            low_quality
├── ArtifactRejected          a model file that is not what its contract says
│   ├── ContractMismatch      names, shapes, types or dimension differ
│   ├── GraphRefused          operators that are not ONNX's own, or weights in another file
│   └── GoldenMismatch        the network does not give the embeddings it was published with
├── InferenceFailed           inference_failed: a member raised, or gave NaN or a zero vector
└── MissingThreshold          a voter set voted for which nobody set a threshold
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


class EngineError(Exception):
    """Base of every error the engine raises on purpose; `code` is stable and safe to show."""

    code = "engine_error"


class ImageError(EngineError):
    """The picture cannot be used; the message says what to do about it, `details` what speaks against the face."""

    code = "invalid_image"
    details: tuple[Reason, ...] = ()


class UndecodableImage(ImageError):
    code = "undecodable_image"


class ImageTooLarge(ImageError):
    code = "image_too_large"

    def __init__(self, what: str) -> None:
        smaller = "Choose a smaller picture size in the camera's settings (12 megapixels are plenty) and take it again."
        super().__init__(f"{what} {smaller}")


class NoFaceFound(ImageError):
    code = "no_face_found"


class MultipleFaces(ImageError):
    code = "multiple_faces"


class FaceTooSmall(ImageError):
    code = "face_too_small"


class NotUpright(ImageError):
    code = "not_upright"


@dataclass(frozen=True, slots=True)
class Reason:
    """What speaks against a picture: a stable code, words that a phone can show, and the measure with the limit that it
    misses, in the units of `quality.measure`; without a measure where the embeddings were classified as a condition.
    `frame` is the picture's place in the request, from 0, where several were asked for."""

    code: str
    text: str
    measure: str = ""
    value: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    frame: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What there is of it; numbers with four decimals."""
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return {key: value for key, value in rounded.items() if value not in ("", None)}


class LowQuality(ImageError):
    """The face is there, but too poor to be compared. `details` say why, `reasons` are their words, each once."""

    code = "low_quality"

    def __init__(self, details: Sequence[Reason]) -> None:
        self.details = tuple(details)
        self.reasons = tuple(dict.fromkeys(reason.text for reason in details))
        super().__init__("Take another picture: " + "; ".join(self.reasons) + ".")


class ArtifactRejected(EngineError):
    code = "artifact_rejected"


class ContractMismatch(ArtifactRejected):
    code = "contract_mismatch"


class GraphRefused(ArtifactRejected):
    code = "graph_refused"


class GoldenMismatch(ArtifactRejected):
    code = "golden_mismatch"


class InferenceFailed(EngineError):
    code = "inference_failed"


class MissingThreshold(EngineError):
    code = "missing_threshold"
