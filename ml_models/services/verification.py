"""Is it the subject? One attempt, from pictures to a decision and its audit row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import conf, runtime, selectors, signals
from ..engine.errors import EngineError, ImageError
from ..engine.fuse import together
from ..engine.pipeline import Pipeline
from ..engine.quality import QualityLimits, advised
from ..engine.types import Decision, Extraction, Quality
from ..exceptions import (
    InvalidRequest,
    LockedOut,
    NotEnrolled,
)
from ..models import Actor, EnsembleConfig, Verification
from ..versions import numbers
from . import audit, lockout, subject_ids


@dataclass(frozen=True, slots=True)
class Verified:
    verification: Verification
    config: EnsembleConfig
    decision: Decision
    quality: Quality
    frames_dropped: list[dict[str, Any]]
    elapsed_ms: float


def verify(caller: Actor, subject_id: str, images: Sequence[bytes]) -> Verified:
    """Is the face in these frames the subject's?

    Args:
        caller: for the audit row.
        subject_id: the host's id.
        images: 1 to `MAX_FRAMES` pictures of one attempt; the ones that cannot be used are dropped and named.

    Raises:
        InvalidRequest: the id breaks the rule, or there are too few or too many images.
        NotEnrolled: the subject has no reference, or none that the active version could embed.
        LockedOut: too many faces that were not the subject's were shown.
        NotReady: no version is active, or this process has not loaded it.
        ImageError: no frame could be used; the first one's reason.
        InferenceFailed, MissingThreshold: never a decision.
    """
    started = time.perf_counter()
    subject_ids.require(subject_id)
    if not 1 <= len(images) <= conf.get("MAX_FRAMES"):
        raise InvalidRequest(f"Send 1 to {conf.get('MAX_FRAMES')} images.")
    config = selectors.active_config()
    pipeline = runtime.pipeline(config)
    template = selectors.template(subject_id, config)
    if template is None:
        raise NotEnrolled
    dropped: list[dict[str, Any]] = []
    try:
        lockout.require_free(template.lock_left)
        frames = _frames(pipeline, images, numbers.quality_limits(config, "verify"), dropped)
        best = max((frame.quality for frame in frames), key=lambda quality: quality.score)
        decision = numbers.rule(config).judge(template.embeddings, together(frames), best.score)
        best = advised(best, decision.condition)
        lockout.settle(template.subject, subject_id, decision.decision)
    except (EngineError, LockedOut) as error:
        audit.record_failure(caller, config, template, error.code, dropped)
        raise
    timings = {step: sum(f.timings_ms[step] for f in frames) for step in frames[0].timings_ms}
    elapsed_ms = (time.perf_counter() - started) * 1000
    row = audit.record_decision(
        caller, config, template, decision, best, len(frames), dropped, {**timings, "total": elapsed_ms}
    )
    signals.after_commit(
        signals.verification_decided,
        verification_id=row.pk,
        subject_id=subject_id,
        decision=decision.decision,
        config_version=config.version,
    )
    return Verified(row, config, decision, best, dropped, elapsed_ms)


def _frames(
    pipeline: Pipeline, images: Sequence[bytes], limits: QualityLimits, dropped: list[dict[str, Any]]
) -> list[Extraction]:
    frames = []
    first: ImageError | None = None
    for index, data in enumerate(images):
        try:
            frames.append(pipeline.extract(data, limits))
        except ImageError as error:
            first = first or error
            details = [reason.to_json() for reason in getattr(error, "details", ())]
            dropped.append({"frame": index, "code": error.code, "detail": str(error), "details": details})
    if not frames and first:
        raise first
    return frames
