"""Repeated `no_match` on a subject locks it for a while.

Counted in the database, under the subject's row lock: however many requests run side by side, at most
`LOCKOUT_AFTER` of them learn that a face is not the subject's before the rest are refused. NIST SP 800-63B (5.2.3)
asks for a limit of five where no presentation attack detection is in place.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now

from .. import conf, signals
from ..exceptions import LockedOut, NotEnrolled
from ..models import Subject
from . import subject_ids

_FREE = Q(locked_until__isnull=True) | Q(locked_until__lte=Now())
# the last failure of a row sets the lock and starts the count anew; failures longer ago than the window do not count
_FAIL = """
    UPDATE ml_models_subject
    SET failures = (CASE WHEN failed_at > now - span THEN failures ELSE 0 END + 1) %% most,
        locked_until = CASE
            WHEN (CASE WHEN failed_at > now - span THEN failures ELSE 0 END + 1) >= most THEN now + span
        END,
        failed_at = now
    FROM (SELECT STATEMENT_TIMESTAMP() AS now, %s * interval '1 second' AS span, %s::int AS most) AS rule
    WHERE id = %s AND (locked_until IS NULL OR locked_until <= now)
    RETURNING locked_until IS NOT NULL
"""


def require_free(left: timedelta | None) -> None:
    """Refuse a subject whose lock has still `left` to run, as `selectors.template` has read it.

    Raises:
        LockedOut
    """
    if left is not None and left > timedelta(0):
        raise LockedOut(left.total_seconds())


def settle(subject: UUID, subject_id: str, decision: str) -> None:
    """Count a decision before it is told: `no_match` adds to the row of failures, `match` ends it. One query.

    Raises:
        LockedOut: other attempts have locked the subject since this one began; the decision must not be answered.
        NotEnrolled: the subject was erased since then.
    """
    if not conf.get("LOCKOUT_AFTER"):
        return
    free = Subject.objects.filter(_FREE, pk=subject)
    if decision == "no_match":
        settled = _fail(subject, subject_id)
    elif decision == "match":
        settled = free.update(failures=0) > 0
    else:
        # a write all the same: it holds the row, so that an erasure waits for the transaction's end, if one runs
        settled = free.update(failures=F("failures")) > 0
    if not settled:
        if not Subject.objects.filter(pk=subject).exists():
            raise NotEnrolled
        raise LockedOut(conf.get("LOCKOUT_S"))


def _fail(subject: UUID, subject_id: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_FAIL, [conf.get("LOCKOUT_S"), conf.get("LOCKOUT_AFTER"), str(subject)])
        row = cursor.fetchone()
    if row and row[0]:
        signals.after_commit(signals.subject_locked_out, subject_id=subject_id, seconds=conf.get("LOCKOUT_S"))
    return row is not None


def release(subject_id: str) -> bool:
    """Lift a lock before its time, for a person on the spot who knows better. False when there was none.

    Raises: InvalidRequest
    """
    subject_ids.require(subject_id)
    return Subject.objects.filter(~_FREE, subject_id=subject_id).update(locked_until=None, failures=0) > 0
