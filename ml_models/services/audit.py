"""The audit trail: who asked for what, and what was answered; never an image, a vector or, in an event, a score.

An event names its subject by a pseudonym under a key in the subject's row. Erasure takes the row and the key with it:
from then on nobody can tell whose events they are, though still that they are the same person's. A subject that does
not exist has no key and no pseudonym. Nor has the event of an erasure: the tombstone of the same moment answers for the
host's id, and would lead from there to all the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from .. import crypto, metrics
from ..engine.errors import EngineError
from ..engine.types import Decision, Quality
from ..exceptions import LockedOut, NotLive, ServiceError
from ..models import AuditEvent, EnsembleConfig, Subject, Verification, actor_id
from ..selectors import Template
from . import subject_ids
from .accounts import is_own, is_service
from .callers import Caller

Kind = AuditEvent.Kind
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Named:
    """Whom an event is about: the host's id, which is not written, and the key of the pseudonym, None for nobody's."""

    subject_id: str
    key: bytes | None = None

    @property
    def pseudonym(self) -> str:
        return crypto.pseudonym(self.key, "subject") if self.key else ""

    def who(self, caller: Caller) -> tuple[str, str]:
        """The caller's account and credential, as text that does not name the subject once it is erased: people may act
        on themselves. A service whose number is the subject's by chance is named."""
        account = "" if caller.account is None else str(actor_id(caller.account) or "")
        if not is_own(caller.account, self.subject_id):
            return account, caller.credential_id
        return "self", f"self:{crypto.pseudonym(self.key, caller.credential_id)}" if self.key else ""


NO_SUBJECT = Named("")


def new_key() -> bytes:
    return os.urandom(_KEY_BYTES)


def named(subject: Subject) -> Named:
    """A subject that exists."""
    return named_by_row(subject.pk, subject.subject_id, subject.audit_key)


def named_by_row(subject: UUID, subject_id: str, key: bytes | memoryview | None) -> Named:
    """A subject that exists, with what was read of its row."""
    return Named(subject_id, _key(subject, key))


def named_by_id(subject_id: str) -> Named:
    """Whoever has this id of the host's, if anybody."""
    if subject_ids.trouble(subject_id):  # PostgreSQL takes no NUL, even in a question
        return Named(subject_id)
    row = Subject.objects.filter(subject_id=subject_id).only("subject_id", "audit_key").first()
    return named(row) if row else Named(subject_id)


def _key(subject: UUID, key: bytes | memoryview | None) -> bytes | None:
    if key is None:  # enrolled before there were keys, or by a process of an earlier release
        Subject.objects.filter(pk=subject, audit_key=None).update(audit_key=new_key())
        key = Subject.objects.filter(pk=subject).values_list("audit_key", flat=True).first()
    return None if key is None else bytes(key)


def record(kind: str, caller: Caller, about: Named = NO_SUBJECT, code: str = "", **facts: Any) -> None:
    """Write an event: in the transaction of the deed where it was done, outside of it where it was refused.

    Args:
        code: why it was refused, or the decision; empty for a deed that was done.
        facts: ids and versions; no score, vector, picture or id of the host's.
    """
    account, credential = about.who(caller)
    AuditEvent.objects.create(
        kind=kind,
        code=code,
        caller=account,
        credential_id=credential,
        capture_point=caller.capture_point,
        subject=about.pseudonym,
        facts=facts,
    )


def code_of(error: Exception) -> str:
    return error.code if isinstance(error, ServiceError | EngineError) else "internal_error"


def record_decision(
    caller: Caller,
    subject_id: str,
    config: EnsembleConfig,
    template: Template,
    decision: Decision,
    quality: Quality,
    frames: int,
    dropped: Sequence[Mapping[str, Any]],
    timings_ms: Mapping[str, float],
    liveness: Mapping[str, Any],
) -> Verification:
    """The row of a verify that came to a decision; and its event, unless the face matched references that had all
    matched when they were enrolled."""
    metrics.verified(decision.decision, timings_ms, dropped)
    return _write(
        caller,
        subject_id,
        config,
        template,
        decision.decision,
        event=decision.decision != "match" or template.overridden,
        decision=decision.decision,
        score=decision.score,
        threshold=decision.threshold,
        condition=decision.condition,
        voters=list(decision.voters),
        similarities=dict(decision.similarities),
        quality={**quality.to_json(), "log_norms": {k: round(v, 4) for k, v in decision.log_norms.items()}},
        frames=frames,
        frames_dropped=list(dropped),
        timings_ms={step: round(ms, 2) for step, ms in timings_ms.items()},
        liveness=dict(liveness),
    )


def record_failure(
    caller: Caller,
    subject_id: str,
    config: EnsembleConfig | None,
    template: Template | None,
    error: Exception,
    dropped: Sequence[Mapping[str, Any]],
) -> None:
    """The event of a verify that came to no decision; and its row, where it failed over the face or the lock."""
    code = code_of(error)
    metrics.verified(code, {}, dropped)
    if config and template and isinstance(error, EngineError | LockedOut | NotLive):
        _write(caller, subject_id, config, template, code, event=True, code=code, frames_dropped=list(dropped))
    else:
        record(Kind.VERIFY, caller, named_by_id(subject_id), code)


def _write(
    caller: Caller,
    subject_id: str,
    config: EnsembleConfig,
    template: Template,
    outcome: str,
    event: bool,
    **facts: Any,
) -> Verification:
    about = named_by_row(template.subject, subject_id, template.audit_key)
    row = Verification(
        caller_id=actor_id(caller.account),
        credential_id=about.who(caller)[1],
        capture_point=caller.capture_point,
        subject_id=template.subject,
        config=config,
        references=len(template.references),
        **facts,
    )

    def write() -> Verification:
        if not event:
            row.save(force_insert=True)
            return row
        with transaction.atomic(savepoint=False):
            row.save(force_insert=True)
            overridden = {"overridden": True} if template.overridden else {}
            more = {"verification": str(row.pk), "config_version": config.version, **overridden}
            record(Kind.VERIFY, caller, about, outcome, **more)
        return row

    try:
        return write()
    except IntegrityError:  # the subject was erased while the picture was processed: the row no longer says whose
        row.subject_id = None
        if not is_service(caller.account):  # nor who asked, who may have been the subject
            row.caller_id = None
        return write()
