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
│   └── GoldenMismatch        the network does not give the embeddings it was published with
├── InferenceFailed           inference_failed: a member raised, or gave NaN or a zero vector
└── MissingThreshold          a voter set voted for which nobody set a threshold
"""


class EngineError(Exception):
    """Base of every error the engine raises on purpose; `code` is stable and safe to show."""

    code = "engine_error"


class ImageError(EngineError):
    """The picture cannot be used; the message says what to do about it."""

    code = "invalid_image"


class UndecodableImage(ImageError):
    code = "undecodable_image"


class ImageTooLarge(ImageError):
    code = "image_too_large"


class NoFaceFound(ImageError):
    code = "no_face_found"


class MultipleFaces(ImageError):
    code = "multiple_faces"


class FaceTooSmall(ImageError):
    code = "face_too_small"


class NotUpright(ImageError):
    code = "not_upright"


class LowQuality(ImageError):
    """The face is there, but too poor to be compared; `reasons` can be shown on a phone."""

    code = "low_quality"

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        super().__init__("Take another picture: " + "; ".join(reasons) + ".")


class ArtifactRejected(EngineError):
    code = "artifact_rejected"


class ContractMismatch(ArtifactRejected):
    code = "contract_mismatch"


class GoldenMismatch(ArtifactRejected):
    code = "golden_mismatch"


class InferenceFailed(EngineError):
    code = "inference_failed"


class MissingThreshold(EngineError):
    code = "missing_threshold"
