"""What the service answers, as docs/openapi.yaml has it (tests/client compares the two)."""

from typing import Literal, NotRequired, TypedDict


class ReasonAnswer(TypedDict):
    code: str
    text: str
    measure: NotRequired[str]
    value: NotRequired[float]
    at_least: NotRequired[float]
    at_most: NotRequired[float]
    frame: NotRequired[int]


class QualityAnswer(TypedDict):
    score: float
    reasons: list[str]
    face_px: float
    sharpness: float
    brightness: float
    contrast: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    detector_score: float
    landmark_residual: float
    eye_contrast: float
    eyes_visible: float | None
    feature_norm: float | None
    details: list[ReasonAnswer]


class EnrollAnswer(TypedDict):
    live: NotRequired[Literal["yes", "no", "uncertain"]]
    live_reasons: NotRequired[list[ReasonAnswer]]
    subject_id: str
    reference_id: str
    config_version: int
    quality: QualityAnswer
    warnings: list[str]


class FrameDropped(TypedDict):
    frame: int
    code: str
    detail: str
    details: list[ReasonAnswer]


class MemberSimilarity(TypedDict):
    name: str
    similarity: float


class VerifyAnswer(TypedDict):
    live: NotRequired[Literal["yes", "no", "uncertain"]]
    live_reasons: NotRequired[list[ReasonAnswer]]
    verification_id: str
    decision: Literal["match", "review", "no_match"]
    score: NotRequired[float]
    threshold: NotRequired[float]
    live_score: NotRequired[float]
    config_version: int
    voters: list[str]
    quality: QualityAnswer
    frames_dropped: list[FrameDropped]
    members: NotRequired[list[MemberSimilarity]]
    elapsed_ms: float


class CandidateAnswer(TypedDict):
    subject_id: str
    score: NotRequired[float]


class IdentifyAnswer(TypedDict):
    live: NotRequired[Literal["yes", "no", "uncertain"]]
    live_reasons: NotRequired[list[ReasonAnswer]]
    identification_id: str
    decision: Literal["match", "review", "no_match"]
    subject_id: NotRequired[str]
    candidates: NotRequired[list[CandidateAnswer]]
    roster_size: int
    searched: int
    not_enrolled: int
    not_embedded: int
    score: NotRequired[float]
    threshold: NotRequired[float]
    margin: NotRequired[float]
    config_version: int
    voters: list[str]
    quality: QualityAnswer
    frames_dropped: list[FrameDropped]
    members: NotRequired[list[MemberSimilarity]]
    elapsed_ms: float


class GroupAnswer(TypedDict):
    group_id: str
    size: int
    subject_ids: list[str]
    not_enrolled: list[str]


class AssessmentAnswer(TypedDict):
    acceptable: bool
    config_version: int
    quality: QualityAnswer


class StepAnswer(TypedDict):
    step: Literal["front", "left", "right"]
    text: str


class ChallengeAnswer(TypedDict):
    challenge_id: str
    nonce: str
    steps: list[StepAnswer]
    expires_at: str


class ReferenceSummary(TypedDict):
    reference_id: str
    captured_at: str
    quality_score: float


class SubjectAnswer(TypedDict):
    subject_id: str
    enrolled_at: str
    references: list[ReferenceSummary]


class ErasedAnswer(TypedDict):
    subject_id: str
    references_erased: int
