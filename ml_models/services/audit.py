"""The audit trail: what was asked and answered, never an image or a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError

from .. import metrics
from ..engine.types import Decision, Quality
from ..models import EnsembleConfig, Verification, actor_id
from ..selectors import Template
from .callers import Caller


def record_decision(
    caller: Caller,
    config: EnsembleConfig,
    template: Template,
    decision: Decision,
    quality: Quality,
    frames: int,
    dropped: Sequence[Mapping[str, Any]],
    timings_ms: Mapping[str, float],
) -> Verification:
    """The row of a verify that came to a decision."""
    metrics.verified(decision.decision, timings_ms)
    return _write(
        caller_id=actor_id(caller.account),
        subject_id=template.subject,
        config=config,
        decision=decision.decision,
        score=decision.score,
        threshold=decision.threshold,
        condition=decision.condition,
        voters=list(decision.voters),
        similarities=dict(decision.similarities),
        quality={**quality.to_json(), "log_norms": {k: round(v, 4) for k, v in decision.log_norms.items()}},
        references=len(template.references),
        frames=frames,
        frames_dropped=list(dropped),
        timings_ms={step: round(ms, 2) for step, ms in timings_ms.items()},
        artifacts={member.artifact.name: member.artifact.sha256 for member in config.members.all()},
    )


def record_failure(
    caller: Caller,
    config: EnsembleConfig,
    template: Template,
    code: str,
    dropped: Sequence[Mapping[str, Any]],
) -> Verification:
    """The row of a verify that failed to acquire a face, or failed altogether."""
    metrics.verified(code, {})
    return _write(
        caller_id=actor_id(caller.account),
        subject_id=template.subject,
        config=config,
        code=code,
        references=len(template.references),
        frames_dropped=list(dropped),
        artifacts={member.artifact.name: member.artifact.sha256 for member in config.members.all()},
    )


def _write(**facts: Any) -> Verification:
    try:
        return Verification.objects.create(**facts)
    except IntegrityError:  # the subject was erased while the picture was processed: the row no longer says whose
        return Verification.objects.create(**{**facts, "subject_id": None})
