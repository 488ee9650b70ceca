"""A request that is sent again with its Idempotency-Key gets the answer that was lost, and no work is done twice.

    claim = idempotency.begin(caller, "enroll", key, subject_id, body, answer)
    claim.answer                             # what was answered before; None: do the work, then one of
    idempotency.keep(claim, answer)          # a final answer
    idempotency.release(claim)               # any other: a repetition does the work

The answer and the work are not one transaction: a process that is killed between them has done the work and kept
nothing. Once the claim has lapsed, the repetition verifies anew, or finds its picture enrolled (`duplicate_reference`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from .. import crypto
from ..engine.types import canonical_json
from ..exceptions import IdempotencyConflict, StillAnswering
from ..models import KeptAnswer
from . import challenges
from .callers import Caller
from .challenges import Answer

Call = Literal["enroll", "verify"]
KEPT_FOR: dict[Call, timedelta] = {"enroll": timedelta(days=1), "verify": timedelta(minutes=10)}
# a process that says nothing for so long is replaced, and its request with it (config/gunicorn.conf.py, WEB_TIMEOUT)
LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this request has, and nobody beside it; or that has an answer already."""

    row: UUID
    call: Call
    challenge: Answer | None
    """What the request answers, so that a repetition may answer it again."""
    answer: dict[str, Any] | None = None


def begin(
    caller: Caller, call: Call, key: str, subject_id: str, body: Mapping[str, Any], challenge: Answer | None
) -> Claim:
    """Claim a key. Ask who may before that: an answer is handed out by it.

    Args:
        caller: another account or credential has other keys.
        key: the client's.
        subject_id: whose erasure deletes the answer.
        body: all that was asked, with bytes for pictures; only a keyed hash of it is kept.
        challenge: the one among it, if any.

    Raises:
        StillAnswering: the same request is being answered.
        IdempotencyConflict: another body came with this key.
    """
    asked = {**caller.identity, "call": call, "key": key}
    keys = crypto.request_hashes(canonical_json(asked))
    # a primary key of the keyset that came meanwhile does not hide what an earlier one has hashed
    bodies = crypto.request_hashes(canonical_json({**asked, "body": _digest(body)}))
    KeptAnswer.objects.filter(key_hash__in=keys, expires_at__lte=Now()).delete()
    row = KeptAnswer.objects.filter(key_hash__in=keys).first()
    if row is None:
        mine = KeptAnswer(
            key_hash=keys[0], body_hash=bodies[0], subject_hash=_subject_hashes(subject_id)[0], expires_at=Now() + LEASE
        )
        # of requests side by side one writes its row
        KeptAnswer.objects.bulk_create([mine], ignore_conflicts=True)
        row = KeptAnswer.objects.filter(key_hash=keys[0]).first()
        if row and row.pk == mine.pk:
            return Claim(mine.pk, call, challenge and replace(challenge, request_hash=bodies[0]))
    if row and row.body_hash not in bodies:
        raise IdempotencyConflict
    if row is None or row.answer is None:  # None: the other request let go just now
        raise StillAnswering
    return Claim(row.pk, call, challenge, row.answer)


def keep(claim: Claim, answer: Mapping[str, Any]) -> None:
    """Keep a final answer. Does nothing where the claim has lapsed, or the subject was erased meanwhile.

    Args:
        answer: no score, and no id of the host's: whoever repeats the request has it, and may see less by then.
    """
    with transaction.atomic():
        mine = KeptAnswer.objects.filter(pk=claim.row)
        mine.update(answer=answer, expires_at=Now() + KEPT_FOR[claim.call])
        if claim.challenge:
            challenges.settle(claim.challenge)


def release(claim: Claim) -> None:
    """Let go of a key whose request came to no final answer."""
    KeptAnswer.objects.filter(pk=claim.row).delete()


def forget(subject_id: str) -> None:
    """Delete what is kept of a subject's requests, in the transaction of its erasure."""
    rows = KeptAnswer.objects.filter(subject_hash__in=_subject_hashes(subject_id))
    rows.delete()
    # a request that came meanwhile has seen the subject, and may not keep what it says of it
    transaction.on_commit(rows.delete)


def _subject_hashes(subject_id: str) -> list[str]:
    return crypto.request_hashes(canonical_json({"subject": subject_id}))


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json({name: _plain(value) for name, value in body.items()}).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A request's field as JSON: of a picture its digest."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
