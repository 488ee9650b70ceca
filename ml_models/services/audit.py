"""The audit trail: what was asked and answered, never an image or a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError

from ..engine.types import Decision, Quality
from ..models import EnsembleConfig, Verification, actor_id
from ..selectors import Template
from .accounts import is_service
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
    return _write(
        caller,
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
    )


def record_failure(
    caller: Caller,
    config: EnsembleConfig,
    template: Template,
    code: str,
    dropped: Sequence[Mapping[str, Any]],
) -> Verification:
    """The row of a verify that failed to acquire a face, or failed altogether."""
    return _write(
        caller,
        subject_id=template.subject,
        config=config,
        code=code,
        references=len(template.references),
        frames_dropped=list(dropped),
    )


def _write(caller: Caller, **facts: Any) -> Verification:
    try:
        return Verification.objects.create(caller_id=actor_id(caller.account), **facts)
    except IntegrityError:  # the subject was erased while the picture was processed: the row no longer says whose
        # nor who asked, who may have been the subject
        by = actor_id(caller.account) if is_service(caller.account) else None
        return Verification.objects.create(**{**facts, "caller_id": by, "subject_id": None})
