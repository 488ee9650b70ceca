"""What the database keeps: the one place to import models from. Reads live in `selectors`, changes in `services` and
`rollouts`."""

from .answers import KeptAnswer
from .audit import AuditCheckpoint, AuditEvent, AuditKey
from .base import Actor, actor_id
from .challenges import Challenge
from .decisions import Identification, Verification
from .enrolment import Embedding, Erasure, Reference, Subject
from .groups import DuplicatePair, DuplicateSearch, Group, Membership
from .guessing import CredentialCount, PairCount
from .rollouts import JobRun, Rollout, RolloutChunk, RolloutFailure, ServingProcess, ShadowScore
from .studies import StudyJob
from .versions import (
    Artifact,
    ConfigStep,
    EnsembleConfig,
    EnsembleMember,
    EvaluationReport,
    PlacedArtifact,
    PresentationReport,
)

__all__ = [
    "Actor",
    "Artifact",
    "AuditCheckpoint",
    "AuditEvent",
    "AuditKey",
    "Challenge",
    "ConfigStep",
    "CredentialCount",
    "DuplicatePair",
    "DuplicateSearch",
    "Embedding",
    "EnsembleConfig",
    "EnsembleMember",
    "Erasure",
    "EvaluationReport",
    "Group",
    "Identification",
    "JobRun",
    "KeptAnswer",
    "Membership",
    "PairCount",
    "PlacedArtifact",
    "PresentationReport",
    "Reference",
    "Rollout",
    "RolloutChunk",
    "RolloutFailure",
    "ServingProcess",
    "ShadowScore",
    "StudyJob",
    "Subject",
    "Verification",
    "actor_id",
]
