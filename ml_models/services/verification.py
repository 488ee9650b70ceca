"""Is it the subject? One attempt, from pictures to a decision and its audit row."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import DatabaseError

from .. import runtime, selectors, signals, tracing
from ..engine.quality import advised
from ..engine.types import Decision, Quality
from ..exceptions import NotEnrolled, Overloaded
from ..models import EnsembleConfig, Verification
from . import audit, liveness, lockout, shadow, subject_ids
from .attempts import Attempt, require_frames, steps_ms
from .callers import Caller
from .challenges import Answer
from .liveness import Live


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of an attempt, and its audit row."""

    verification: Verification
    config: EnsembleConfig
    decision: Decision
    quality: Quality
    frames_dropped: list[dict[str, Any]]
    elapsed_ms: float
    afterwards: Callable[[], None]
    """To be called once the answer is out; it returns at once."""
    live: Live


def verify(caller: Caller, subject_id: str, images: Sequence[bytes], answer: Answer | None = None) -> Verified:
    """Is the face in these frames the subject's?

    Args:
        caller: for the audit row and the event.
        subject_id: the host's id.
        images: 1 to `MAX_FRAMES` pictures of one attempt; the ones that cannot be used are dropped and named. With a
            challenge one of each step, in their order, and each must be usable.
        answer: the challenge that the pictures answer.

    Raises:
        InvalidRequest: the id breaks the rule, or there are too few or too many images.
        NotEnrolled: the subject has no reference, or none that the active version could embed.
        LockedOut: too many faces that were not the subject's were shown.
        Slowed: too many of them with the caller's credential.
        NotReady: no version is active, or this process has not loaded it.
        Overloaded: it would have waited too long for a core.
        ImageError: no frame could be used; the first one's reason.
        NotLive, ChallengeUsed, ChallengeExpired, NotFound: see `liveness`.
        InferenceFailed, MissingThreshold: never a decision.
    """
    attempt = Attempt()
    try:
        subject_ids.require(subject_id)
        require_frames(images)
        with tracing.span("verify"):
            return _verify(caller, subject_id, images, answer, attempt)
    except (DatabaseError, Overloaded):  # nor would the event be written; nobody looked at the pictures
        raise
    except Exception as error:
        audit.record_failure(caller, subject_id, attempt.config, attempt.template, error, attempt.dropped)
        raise


def _verify(
    caller: Caller, subject_id: str, images: Sequence[bytes], answer: Answer | None, attempt: Attempt
) -> Verified:
    started = time.perf_counter()
    version = runtime.active()
    config = attempt.config = version.config
    with tracing.span("verify.template"):
        template = attempt.template = selectors.template(subject_id, config, caller.credential_id)
    if template is None:
        raise NotEnrolled
    dropped = attempt.dropped
    lockout.require_free(template.lock_left, template.slow_left)
    with tracing.span("verify.pictures"):
        began = time.perf_counter()
        live, shown = liveness.take(attempt, caller, version, "verify", subject_id, answer, images)
        timings = steps_ms(shown) | {"pictures": (time.perf_counter() - began) * 1000}
        tracing.note_steps(timings)
    with tracing.span("verify.decide"):
        decision = attempt.decide(version, template)
    if decision.decision == "match":
        live.require_subject(caller, version, shown, template.embeddings)
    best = advised(attempt.quality, decision.probe_condition)
    lockout.settle(caller, template.subject, subject_id, decision.decision)
    decision = live.reviewed(decision)
    elapsed_ms = (time.perf_counter() - started) * 1000
    timings["total"] = elapsed_ms
    with tracing.span("verify.audit"):
        row = audit.record_decision(
            caller, subject_id, config, template, decision, best, len(shown), dropped, timings, live.to_json()
        )
    tracing.note(decision=decision.decision, config_version=config.version, frames=len(images), dropped=len(dropped))
    signals.after_commit(
        signals.verification_decided,
        verification_id=row.pk,
        subject_id=subject_id,
        decision=decision.decision,
        config_version=config.version,
    )
    afterwards = partial(shadow.offer, row, subject_id, live.front(images))
    return Verified(row, config, decision, best, dropped, elapsed_ms, afterwards, live)
