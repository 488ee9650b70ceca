"""Erase what is kept of a subject, in every version."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from .. import crypto, signals
from ..exceptions import NotFound
from ..models import Erasure, Identification, Reference, Subject, Verification, actor_id
from . import audit, groups, idempotency, subject_ids
from .accounts import own_account
from .callers import Caller

logger = logging.getLogger(__name__)


def erase_subject(caller: Caller, subject_id: str) -> int:
    """Erase a subject: chips, the embeddings of every version, its place in every group. Returns how many references
    went.

    Raises:
        InvalidRequest: the id breaks the rule; `erase_row` erases who has such a one.
        NotFound: there is no such subject, in no group either.
    """
    subject_ids.require(subject_id)
    try:
        return _erase(caller, subject_id=subject_id)
    except NotFound:
        idempotency.forget(subject_id)  # an enrolment may have been refused
        with transaction.atomic():
            left = groups.leave_all(subject_id)  # a roster may name who was never enrolled
            if not left:
                raise
            # and no tombstone: whoever has one is enrolled by the right to override alone
            audit.record(audit.Kind.ERASE_SUBJECT, caller, audit.Named(subject_id), references=0, groups=left)
        return 0


def erase_row(caller: Caller, pk: uuid.UUID) -> int:
    """As `erase_subject`, by the subject's row and whatever its id: for the panel, and for ids that break the rule.

    Raises:
        NotFound: there is no such subject.
    """
    return _erase(caller, pk=pk)


def _erase(caller: Caller, **which: Any) -> int:
    with transaction.atomic():
        subject = _held(**which)
        if subject is None:
            raise NotFound("There is no such subject.")
        pk, subject_id = subject.pk, subject.subject_id
        own = own_account(subject_id)
        count = _delete(subject, own)
        hashed = crypto.subject_hash(subject_id)
        Erasure.objects.create(subject_hash=hashed, references=count, by_id=_unless_own(caller, own))
        audit.record(audit.Kind.ERASE_SUBJECT, caller, audit.Named(subject_id), references=count)
    logger.info("erased subject %s with %d references", pk, count)
    return count


def erasures(subject_id: str) -> QuerySet[Erasure]:
    """The tombstones of whoever had this id: when, by whom, how many references; the newest first."""
    return Erasure.objects.filter(subject_hash__in=crypto.subject_hashes(subject_id)).order_by("-at")


def erase_reference(caller: Caller, reference_id: uuid.UUID) -> None:
    """Erase one reference and its embeddings of every version.

    Raises:
        NotFound: there is no such reference.
    """
    with transaction.atomic():
        subject = _delete_reference(reference_id)
        if subject is None:
            raise NotFound("There is no such reference.")
        Erasure.objects.create(
            reference_hash=crypto.reference_hash(reference_id),
            references=1,
            by_id=_unless_own(caller, own_account(subject.subject_id)),
        )
        audit.record(audit.Kind.ERASE_REFERENCE, caller, audit.named(subject), reference=str(reference_id))


def erase_reference_again(reference_id: uuid.UUID) -> bool:
    """Erase a reference that a backup brought back; leaves no tombstone of its own. False when it is gone already."""
    with transaction.atomic():
        return _delete_reference(reference_id) is not None


def _delete_reference(reference_id: uuid.UUID) -> Subject | None:
    """Delete a reference with its embeddings. Returns: whose it was; None when there is no such reference any more."""
    # an embedding task holds the subject while it writes: wait for it, and let later ones find the reference gone
    subject = _held(pk__in=Reference.objects.filter(pk=reference_id).values("subject_id"))
    if subject is None or not Reference.objects.filter(pk=reference_id).delete()[0]:
        return None
    idempotency.forget(subject.subject_id)
    return subject


def erase_made_before(pk: uuid.UUID, at: datetime) -> int:
    """Erase again what a subject's row held at `at`, after a backup brought it back; leaves no tombstone of its own.

    References captured since then stay, and the row with them: the person was enrolled anew, with the first of them.
    The row's key is a new one, so that earlier audit events name nobody. Returns: how many references went.
    """
    with transaction.atomic():
        subject = _held(pk=pk)
        if subject is None or subject.created_at > at:
            return 0
        own = own_account(subject.subject_id)
        anew = subject.references.filter(captured_at__gt=at).order_by("captured_at").first()
        if anew is None:
            return _delete(subject, own)
        before = subject.references.filter(captured_at__lte=at)
        count = before.count()
        before.delete()
        idempotency.forget(subject.subject_id)
        subject.verifications.filter(at__lte=at).update(subject=None)
        subject.identifications.filter(at__lte=at).update(subject=None)
        _take_name_off(own, at__lte=at)
        Subject.objects.filter(pk=pk).update(created_at=anew.captured_at, audit_key=audit.new_key())
    return count


def _held(**which: Any) -> Subject | None:
    """The subject, locked: waits for running enrolments and embedding tasks; later ones find what is gone gone."""
    return Subject.objects.select_for_update().filter(**which).first()


def _delete(subject: Subject, own: Any) -> int:
    """Delete a subject that is held, and take its account's name off what that account has asked."""
    subject_id, count = subject.subject_id, subject.references.count()
    _take_name_off(own)
    subject.delete()
    groups.leave_all(subject_id)
    idempotency.forget(subject_id)
    signals.after_commit(signals.subject_erased, subject_id=subject_id, references=count)
    return count


def _take_name_off(own: Any, **when: Any) -> None:
    """Let nobody see which account asked, where it was the subject's own."""
    if own is not None:
        for table in (Verification, Identification):
            table.objects.filter(caller=own, **when).update(caller=None)


def _unless_own(caller: Caller, own: Any) -> Any:
    """Who erased, for the tombstone; nobody where it was the subject, or the tombstone would say who is gone."""
    by = actor_id(caller.account)
    return None if by == own else by
