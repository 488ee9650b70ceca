"""Faces that are not the subject's slow the credential they come with, then lock the subject, longer each time.

Three counts, all in the database:

- on a subject, over all credentials. At `LOCKOUT_AFTER` the subject is locked for everybody;
- of one credential on one subject. At `SLOW_AFTER` this credential waits for this subject. Of one credential's failures
  no more than that count towards the lock, so one credential alone does not lock a subject for everybody;
- of one credential over distinct subjects. Far above what honest people fail, the credential waits altogether, and the
  host hears of it.

A `no_match` is one failure, a `review` half of one. A day forgets one. Each further failure at its limit waits twice as
long as the one before; a day forgets half of the length. A `match` ends the counts on its subject and not the lengths.

The credential's row is taken first, then the subject's, so attempts side by side wait for each other; each is counted
before it is told, and who is refused learns nothing and is not counted. NIST SP 800-63B (5.2.3) asks for a limit of
five where no presentation attack detection is in place. How many guesses all this leaves: `services.guesses`.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from .. import conf, selectors, signals
from ..exceptions import LockedOut, NotEnrolled, NotFound, Slowed
from ..models import CredentialCount, Subject, actor_id
from . import subject_ids
from .callers import Caller

logger = logging.getLogger(__name__)

# failures are counted in halves
POINTS = {"no_match": 2, "review": 1, "match": 0}
DAY_S = 86_400
# a credential serves many: it waits long enough for somebody to look, not a day
CREDENTIAL_MAX_S = 3_600
# so far above the honest rate is suspicious: standard deviations of a Poisson count, and so many for small counts
SIGMAS, SPARE = 4, 10

# no row counts so many halves
_MOST, _NEVER = 1_000, 1_001

_FREE = Q(locked_until__isnull=True) | Q(locked_until__lte=Now())
_NOW = "STATEMENT_TIMESTAMP()"


def _since(moment: str) -> str:
    return f"GREATEST(0, EXTRACT(EPOCH FROM {_NOW} - {moment}))::float8"


def _halved(value: str, since: str) -> str:
    """What is left of a value of which each day forgets half; 60 days leave nothing, and more would underflow."""
    return f"{value} * POWER(0.5::float8, LEAST(60, {_since(since)} / %(day_s)s))"


def _failures(row: str) -> str:
    """A row's failures with this one; a whole half of a day forgets a whole half of one."""
    left = f"GREATEST(0, {row}.failures - FLOOR({_since(f'{row}.failed_at')} / (%(day_s)s / 2)))"
    return f"LEAST({_MOST}, %(keep)s * {left} + %(points)s)::int"


def _length(last_s: str, until: str, most: str) -> str:
    return f"LEAST(%({most})s, GREATEST(%(first_s)s, 2 * {_halved(last_s, until)}))"


def _wait(row: str, name: str, until: str, condition: str, most: str) -> str:
    """Two assignments: how long the row waits, and until when, where the condition holds."""
    length = _length(f"{row}.{name}", f"{row}.{until}", most)
    return f"""
        {name} = CASE WHEN {condition} THEN {length} ELSE {row}.{name} END,
        {until} = CASE WHEN {condition} THEN {_NOW} + {length} * interval '1 second' ELSE {row}.{until} END"""


_PAIR_SLOWS = f"%(points)s > 0 AND {_failures('p')} >= %(slow_after)s"
_LOCKS = f"""%(points)s > 0 AND
    GREATEST(0, {_failures("s")} - pair.failures) + LEAST(pair.failures, %(slow_after)s) >= %(lock_after)s"""
_VISITS = f"({_halved('c.visits', 'c.counted_at')} + EXCLUDED.visits)"
_FAILED = f"({_halved('c.failures', 'c.counted_at')} + EXCLUDED.failures)"
_SUSPECT = f"""EXCLUDED.failures > 0 AND %(honest)s < 1 AND
    {_FAILED} > %(honest)s * {_VISITS} + %(sigmas)s * SQRT(%(honest)s * {_VISITS}) + %(spare)s"""
# one statement, so one round trip; what it inserts over or updates, it reads as the last writer left it. What is put
# into its text are the expressions above; values are parameters
_SETTLE = f"""
WITH gate AS (
    SELECT slowed_until FROM ml_models_credentialcount WHERE credential = %(credential)s FOR NO KEY UPDATE
), held AS (
    SELECT id FROM ml_models_subject
    WHERE id = %(subject)s AND COALESCE(locked_until <= {_NOW}, true)
        AND NOT EXISTS (SELECT FROM gate WHERE slowed_until > {_NOW})
    FOR NO KEY UPDATE
), pair AS (
    INSERT INTO ml_models_paircount AS p
        (subject_id, credential, failures, failed_at, slow_s, slowed_until, counted_at)
    SELECT id, %(credential)s, %(points)s, {_NOW}, slow_s, {_NOW} + slow_s * interval '1 second', {_NOW}
    FROM held, (SELECT CASE WHEN %(points)s >= %(slow_after)s THEN %(first_s)s ELSE 0 END AS slow_s) AS first
    ON CONFLICT (subject_id, credential) DO UPDATE SET
        failures = {_failures("p")},
        failed_at = {_NOW},
        counted_at = CASE WHEN {_since("p.counted_at")} >= %(day_s)s THEN {_NOW} ELSE p.counted_at END,
        {_wait("p", "slow_s", "slowed_until", _PAIR_SLOWS, "max_s")}
    WHERE p.slowed_until <= {_NOW}
    RETURNING subject_id, failures, (counted_at = {_NOW})::int AS visit,
        CASE WHEN %(points)s > 0 AND failures = %(points)s THEN %(points)s / 2.0 ELSE 0 END AS failure
), subject AS (
    UPDATE ml_models_subject AS s SET
        failures = {_failures("s")},
        failed_at = {_NOW},
        {_wait("s", "lock_s", "locked_until", _LOCKS, "max_s")}
    FROM pair WHERE s.id = pair.subject_id
    RETURNING pair.visit, pair.failure, CASE WHEN s.locked_until > {_NOW} THEN s.lock_s END AS lock_s
), credential AS (
    INSERT INTO ml_models_credentialcount AS c (credential, visits, failures, counted_at, slow_s, slowed_until)
    SELECT %(credential)s, visit, failure, {_NOW}, 0, {_NOW} FROM subject
    ON CONFLICT (credential) DO UPDATE SET
        visits = {_VISITS},
        failures = {_FAILED},
        counted_at = {_NOW},
        {_wait("c", "slow_s", "slowed_until", _SUSPECT, "credential_max_s")}
    WHERE c.slowed_until <= {_NOW}
    RETURNING visits, failures, CASE WHEN slowed_until > {_NOW} THEN slow_s END AS slow_s
)
SELECT subject.lock_s, credential.slow_s, credential.visits, credential.failures FROM subject, credential
"""  # noqa: S608


def require_free(template: selectors.Template) -> None:
    """Refuse a subject that is locked, or a credential that is slowed, as `selectors.template` has read it.

    Raises:
        LockedOut, Slowed
    """
    _refuse(template.lock_left, template.slow_left)


def _refuse(lock_left: timedelta | None, slow_left: timedelta | None) -> None:
    for left, error in ((lock_left, LockedOut), (slow_left, Slowed)):
        if left is not None and left > timedelta(0):
            raise error(left.total_seconds())


def settle(caller: Caller, subject: UUID, subject_id: str, decision: str) -> None:
    """Count a decision before it is told. One query.

    Raises:
        LockedOut: other attempts have locked the subject since this one began; the decision must not be answered.
        Slowed: or the caller's credential.
        NotEnrolled: the subject was erased since then.
    """
    if not conf.get("LOCKOUT_AFTER"):
        return
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, _rule(caller.credential_id, POINTS[decision]) | {"subject": str(subject)})
        row = cursor.fetchone()
    if row is None:
        raise _refused(caller, subject)
    lock_s, slow_s, visits, failures = row
    if lock_s is not None:
        signals.after_commit(signals.subject_locked_out, subject_id=subject_id, seconds=lock_s)
    if slow_s is not None:
        facts = {"credential_id": caller.credential_id, "visits": visits, "failures": failures, "seconds": slow_s}
        logger.warning("credential %s suspected: %.1f of %.1f visits failed", caller.credential_id, failures, visits)
        signals.after_commit(signals.credential_suspected, **facts)


def _rule(credential: str, points: int) -> dict[str, Any]:
    lock_after, slow_after = conf.get("LOCKOUT_AFTER"), conf.get("SLOW_AFTER")
    return {
        "credential": credential,
        "points": points,
        "keep": int(points > 0),
        "lock_after": 2 * lock_after,
        "slow_after": 2 * slow_after if slow_after < lock_after else _NEVER,
        "first_s": float(conf.get("LOCKOUT_S")),
        "max_s": float(conf.get("LOCKOUT_MAX_S")),
        "credential_max_s": float(CREDENTIAL_MAX_S),
        "day_s": float(DAY_S),
        # a command has no credential that could be stolen
        "honest": float(conf.get("HONEST_FAILURE_RATE")) if credential else 1.0,
        "sigmas": SIGMAS,
        "spare": SPARE,
    }


def _refused(caller: Caller, subject: UUID) -> Exception:
    """Why nothing was counted."""
    left = selectors.waits(subject, caller.credential_id)
    if left is None:
        return NotEnrolled()
    try:
        _refuse(*left)
    except LockedOut as error:
        return error
    return LockedOut(1)  # it ended between the two reads


def is_held(subject: Subject) -> bool:
    """Whether the subject is locked, or a credential slowed for it."""
    locked = Subject.objects.filter(~_FREE, pk=subject.pk).exists()
    return locked or subject.pair_counts.filter(slowed_until__gt=Now()).exists()


def release(caller: Caller, subject_id: str) -> bool:
    """Lift a subject's lock and the waits of credentials for it, for a person on the spot who knows better.

    The counts begin anew; the lengths stay, so whoever guesses on is locked out longer than before.

    Returns: whether there was anything to lift.
    Raises:
        InvalidRequest: the id breaks the rule; `release_row` releases who has such a one.
        NotFound: there is no such subject.
    """
    subject_ids.require(subject_id)
    return _release(caller, subject_id=subject_id)


def release_row(caller: Caller, pk: UUID) -> bool:
    """As `release`, by the subject's row and whatever its id: for the panel.

    Raises:
        NotFound: there is no such subject.
    """
    return _release(caller, pk=pk)


def _release(caller: Caller, **which: Any) -> bool:
    with transaction.atomic():
        subject = Subject.objects.select_for_update(no_key=True).filter(**which).first()
        if subject is None:
            raise NotFound("There is no such subject.")
        locked = Subject.objects.filter(~_FREE, pk=subject.pk).update(locked_until=Now())
        slowed = subject.pair_counts.filter(slowed_until__gt=Now()).update(slowed_until=Now())
        Subject.objects.filter(pk=subject.pk).update(failures=0)
        subject.pair_counts.update(failures=0)
        released = locked + slowed > 0
        if released:
            signals.after_commit(signals.subject_released, subject_id=subject.subject_id)
    logger.info("account %s released subject %s: %s", actor_id(caller.account), subject.pk, released)
    return released


def release_credential(caller: Caller, credential_id: str) -> bool:
    """Forget what a credential has failed, once its camera is mended. False when it was not slowed."""
    slowed = CredentialCount.objects.filter(pk=credential_id, slowed_until__gt=Now())
    released = slowed.delete()[0] > 0
    logger.info("account %s released credential %s: %s", actor_id(caller.account), credential_id, released)
    return released
