"""The admin panel: versions and rollouts with their buttons, and what may be looked at and never changed."""

from .audit import (
    AuditEventAdmin,
    ErasureAdmin,
    EvaluationReportAdmin,
    IdentificationAdmin,
    ServingProcessAdmin,
    VerificationAdmin,
)
from .enrolment import ReferenceAdmin, SubjectAdmin
from .groups import GroupAdmin
from .guessing import CredentialCountAdmin
from .registry import ArtifactAdmin
from .rollouts import RolloutAdmin, RolloutFailureAdmin
from .studies import StudyJobAdmin
from .versions import EnsembleConfigAdmin

__all__ = [
    "ArtifactAdmin",
    "AuditEventAdmin",
    "CredentialCountAdmin",
    "EnsembleConfigAdmin",
    "ErasureAdmin",
    "EvaluationReportAdmin",
    "GroupAdmin",
    "IdentificationAdmin",
    "ReferenceAdmin",
    "RolloutAdmin",
    "RolloutFailureAdmin",
    "ServingProcessAdmin",
    "StudyJobAdmin",
    "SubjectAdmin",
    "VerificationAdmin",
]
