"""Erase what is kept of a subject, in every version."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from django.db import transaction

from .. import crypto, signals
from ..exceptions import NotFound
from ..models import Erasure, Reference, Subject, actor_id
from . import audit, subject_ids
from .callers import Caller

logger = logging.getLogger(__name__)


def erase_subject(caller: Caller, subject_id: str) -> int:
    """Erase a subject: chips and the embeddings of every version. Returns how many references went.

    Raises:
        InvalidRequest: the id breaks the rule; `erase_row` erases who has such a one.
        NotFound: there is no such subject.
    """
    subject_ids.require(subject_id)
    return _erase(caller, subject_id=subject_id)


def erase_row(caller: Caller, pk: uuid.UUID) -> int:
    """As `erase_subject`, by the subject's row and whatever its id: for the panel, and for ids that break the rule.

    Raises:
        NotFound: there is no such subject.
    """
    return _erase(caller, pk=pk)


def _erase(caller: Caller, **which: Any) -> int:
    with transaction.atomic():
        # waits for running enrolments and embedding tasks of this subject; later ones find it gone
        subject = Subject.objects.select_for_update().filter(**which).first()
        if subject is None:
            raise NotFound("There is no such subject.")
        pk, subject_id, count = subject.pk, subject.subject_id, subject.references.count()
        subject.delete()
        Erasure.objects.create(
            subject_hash=crypto.subject_hash(subject_id), references=count, by_id=actor_id(caller.account)
        )
        audit.record(audit.Kind.ERASE_SUBJECT, caller, audit.Named(subject_id), references=count)
        signals.after_commit(signals.subject_erased, subject_id=subject_id, references=count)
    logger.info("erased subject %s with %d references", pk, count)
    return count


def erase_reference(caller: Caller, reference_id: uuid.UUID) -> None:
    """Erase one reference and its embeddings of every version.

    Raises:
        NotFound: there is no such reference.
    """
    with transaction.atomic():
        # an embedding task holds the subject while it writes: wait for it, and let later ones find the reference gone
        subject = (
            Subject.objects.select_for_update()
            .filter(pk__in=Reference.objects.filter(pk=reference_id).values("subject_id"))
            .first()
        )
        if subject is None:
            raise NotFound("There is no such reference.")
        audit.record(audit.Kind.ERASE_REFERENCE, caller, audit.named(subject), reference=str(reference_id))
        Reference.objects.filter(pk=reference_id).delete()
