"""Faces that are not the subject's slow the credential they come with, then lock the subject, longer each time.

Three counts, all in the database:

- on a subject, over all credentials. At `LOCKOUT_AFTER` the subject is locked for everybody;
- of one credential on one subject. At `SLOW_AFTER` this credential waits for this subject. Of one credential's failures
  no more than that count towards the lock, so one credential alone does not lock a subject for everybody;
- of one credential over distinct subjects. Far above what honest people fail, the credential waits altogether, and the
  host hears of it.

A `no_match` is one failure, a `review` half of one. A day forgets one. Each further failure at its limit waits twice as
long as the one before; a day forgets half of the length. A `match` ends the counts on its subject and not the lengths.

The credential's row is held first, then the subject's, so attempts side by side wait for each other; each is counted
before it is told, and who is refused learns nothing and is not counted. NIST SP 800-63B (5.2.3) asks for a limit of
five where no presentation attack detection is in place. How many guesses all this leaves: `services.guesses`.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from .. import conf, metrics, signals
from ..exceptions import LockedOut, NotEnrolled, NotFound, Slowed
from ..models import CredentialCount, PairCount, Subject, actor_id
from . import audit, counts, subject_ids
from .callers import Caller

logger = logging.getLogger(__name__)

_FREE = Q(locked_until__isnull=True) | Q(locked_until__lte=Now())

# where a match has nothing to count: nobody failed, and the credential has been seen with this subject within the day
_NOTHING_TO_COUNT = """
SELECT subject.locked_until - statement_timestamp(),
       greatest(credential.slowed_until, pair.slowed_until) - statement_timestamp()
FROM ml_models_subject subject
JOIN ml_models_paircount pair ON pair.subject_id = subject.id AND pair.credential = %(credential)s
JOIN ml_models_credentialcount credential ON credential.credential = %(credential)s
WHERE subject.id = %(subject)s::uuid AND subject.failures = 0 AND pair.failures = 0
AND pair.counted_at > statement_timestamp() - %(day)s * interval '1 second'
"""
# by hand, since every search asks both: the ORM takes longer to write them than PostgreSQL to answer
_SLOWED = "SELECT slowed_until - statement_timestamp() FROM ml_models_credentialcount WHERE credential = %s"
_SLOWED_FOR = """
SELECT slowed_until - statement_timestamp() FROM ml_models_paircount WHERE credential = %s AND subject_id = %s
"""


def require_free(lock_left: timedelta | None, slow_left: timedelta | None) -> None:
    """Refuse a subject whose lock lasts so much longer, or a credential whose wait for it does.

    Raises:
        LockedOut, Slowed
    """
    _require_over(lock_left, LockedOut)
    _require_over(slow_left, Slowed)


def require_claimed_free(caller: Caller, subject_id: str) -> None:
    """As `require_free`, by the host's id; whoever is not enrolled is free.

    Raises:
        LockedOut, Slowed
    """
    lock_left = F("locked_until") - Now()
    row = Subject.objects.filter(subject_id=subject_id).annotate(left=lock_left).values_list("pk", "left").first()
    if row:
        require_free(row[1], slow_left(caller, row[0]))


def require_not_slowed(caller: Caller) -> None:
    """Refuse a credential that is slowed altogether.

    Raises:
        Slowed
    """
    _require_over(_slow_left(_SLOWED, caller.credential_id), Slowed)


def slow_left(caller: Caller, subject: UUID) -> timedelta | None:
    """How much longer the caller's credential waits for a subject, whose row the caller holds."""
    return _slow_left(_SLOWED_FOR, caller.credential_id, subject)


def _slow_left(query: str, *asked: str | UUID) -> timedelta | None:
    with connection.cursor() as cursor:
        cursor.execute(query, asked)
        row = cursor.fetchone()
    return row[0] if row else None


def _require_over(left: timedelta | None, refusal: type[LockedOut]) -> None:
    if left is not None and left > timedelta(0):
        raise refusal(left.total_seconds())


def settle(caller: Caller, subject: UUID, subject_id: str, decision: str) -> None:
    """Count a decision. Call this before the answer is sent.

    Raises:
        LockedOut: other attempts have locked the subject since this one began; the decision must not be answered.
        Slowed: or the caller's credential.
        NotEnrolled: the subject was erased since then.
    """
    if not conf.get("LOCKOUT_AFTER"):
        return
    if decision == "match" and _nothing_to_count(caller, subject):
        return
    with transaction.atomic():
        # always in this order: attempts wait for each other, and none for ever
        credential, _ = CredentialCount.objects.select_for_update(no_key=True).get_or_create(pk=caller.credential_id)
        held = Subject.objects.select_for_update(no_key=True).annotate(now=Now()).filter(pk=subject).first()
        if held is None:
            raise NotEnrolled
        # whoever writes it holds the subject
        pair, _ = PairCount.objects.get_or_create(subject=held, credential=caller.credential_id)
        now = held.now
        for until, refusal in (
            (held.locked_until, LockedOut),
            (credential.slowed_until, Slowed),
            (pair.slowed_until, Slowed),
        ):
            _require_over(until - now if until else None, refusal)
        points = counts.POINTS[decision]
        visit, failure = _count_pair(pair, points, now)
        if _count_subject(held, pair, points, now):
            metrics.locked_out("subject")
            signals.after_commit(signals.subject_locked_out, subject_id=subject_id, seconds=held.lock_s)
        if (visit or failure) and _count_credential(credential, visit, failure, now):
            _tell_of(credential)


def _nothing_to_count(caller: Caller, subject: UUID) -> bool:
    """Most matches; they hold no row, and wait for nobody. Raises as `settle`."""
    with connection.cursor() as cursor:
        asked: dict[str, str | int] = {"credential": caller.credential_id, "subject": str(subject), "day": counts.DAY_S}
        cursor.execute(_NOTHING_TO_COUNT, asked)
        row = cursor.fetchone()
    if row is None:
        return False
    for left, refusal in zip(row, (LockedOut, Slowed), strict=True):
        _require_over(left, refusal)
    return True


def count_suspicion(caller: Caller) -> None:
    """Count an attempt whose pictures seem not to be of a person, or of two: for the credential alone. The subject may
    have nothing to do with it, and would be locked out by whoever holds a photo to a camera."""
    if not conf.get("LOCKOUT_AFTER"):
        return
    with transaction.atomic():
        credential, _ = CredentialCount.objects.select_for_update(no_key=True).get_or_create(pk=caller.credential_id)
        now = CredentialCount.objects.annotate(now=Now()).values_list("now", flat=True).get(pk=credential.pk)
        if _count_credential(credential, 1, 1.0, now):
            _tell_of(credential)


def _since(moment: datetime | None, now: datetime) -> float:
    """Seconds; so many since what never was that nothing is left of it."""
    return 1000.0 * counts.DAY_S if moment is None else (now - moment).total_seconds()


def _wait(last_s: float, until: datetime | None, now: datetime, most_s: float) -> tuple[float, datetime]:
    """The wait that begins now, after one of `last_s` seconds until then: its seconds, and its end."""
    seconds = counts.next_wait_s(last_s, _since(until, now), most_s)
    return seconds, now + timedelta(seconds=seconds)


def _failures(row: Subject | PairCount, points: int, now: datetime) -> int:
    """What a row counts with this attempt; a match ends it."""
    return counts.with_failure(row.failures, _since(row.failed_at, now), points) if points else 0


def _count_pair(pair: PairCount, points: int, now: datetime) -> tuple[int, float]:
    """Returns: what the credential is to count of it. A visit, once a day; a failure, unless it is a repeated one."""
    visit = _since(pair.counted_at, now) >= counts.DAY_S
    if not (visit or points or pair.failures):
        return 0, 0.0
    if visit:
        pair.counted_at = now
    pair.failures, pair.failed_at = _failures(pair, points, now), now
    if points and pair.failures >= counts.slow_after():
        pair.slow_s, pair.slowed_until = _wait(pair.slow_s, pair.slowed_until, now, conf.get("LOCKOUT_MAX_S"))
    pair.save()
    return int(visit), points / 2 if pair.failures == points else 0.0


def _count_subject(subject: Subject, pair: PairCount, points: int, now: datetime) -> bool:
    """Returns: whether it is locked now."""
    if not (points or subject.failures):
        return False
    subject.failures, subject.failed_at = _failures(subject, points, now), now
    locked = points > 0 and counts.locks(subject.failures, pair.failures)
    if locked:
        most_s = conf.get("LOCKOUT_MAX_S")
        subject.lock_s, subject.locked_until = _wait(subject.lock_s, subject.locked_until, now, most_s)
    subject.save(update_fields=["failures", "failed_at", "lock_s", "locked_until"])
    return locked


def _count_credential(credential: CredentialCount, visit: int, failure: float, now: datetime) -> bool:
    """Returns: whether it is slowed now. A command has no credential that could be stolen."""
    since_s = _since(credential.counted_at, now)
    credential.visits = counts.halved(credential.visits, since_s) + visit
    credential.failures = counts.halved(credential.failures, since_s) + failure
    credential.counted_at = now
    suspect = failure > 0 and credential.pk != "" and counts.is_suspect(credential.failures, credential.visits)
    if suspect:
        last_s, until = credential.slow_s, credential.slowed_until
        credential.slow_s, credential.slowed_until = _wait(last_s, until, now, counts.CREDENTIAL_MAX_S)
    credential.save()
    return suspect


def _tell_of(credential: CredentialCount) -> None:
    visits, failures = credential.visits, credential.failures
    metrics.locked_out("credential")
    logger.warning("credential %s suspected: %.1f of %.1f visits failed", credential.pk, failures, visits)
    facts = {"credential_id": credential.pk, "visits": visits, "failures": failures, "seconds": credential.slow_s}
    signals.after_commit(signals.credential_suspected, **facts)


def is_held(subject: Subject) -> bool:
    """Whether the subject is locked, or a credential slowed for it."""
    locked = Subject.objects.filter(~_FREE, pk=subject.pk).exists()
    return locked or subject.pair_counts.filter(slowed_until__gt=Now()).exists()


def release(caller: Caller, subject_id: str) -> bool:
    """Lift a subject's lock and the waits of credentials for it, for a person on the spot who knows better.

    The counts begin anew; the lengths stay, so whoever guesses on is locked out longer than before.

    Returns: whether there was anything to lift; where not, nothing is forgotten.
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
        released = locked + slowed > 0
        # only with an event: else whoever may release guesses on for ever, and is never locked
        if released:
            Subject.objects.filter(pk=subject.pk).update(failures=0)
            subject.pair_counts.update(failures=0)
            audit.record(audit.Kind.RELEASE, caller, audit.named(subject))
            signals.after_commit(signals.subject_released, subject_id=subject.subject_id)
    logger.info("account %s released subject %s: %s", actor_id(caller.account), subject.pk, released)
    return released


def release_credential(caller: Caller, credential_id: str) -> bool:
    """Forget what a credential has failed, once its camera is mended. False when it was not slowed."""
    slowed = CredentialCount.objects.filter(pk=credential_id, slowed_until__gt=Now())
    with transaction.atomic():
        released = slowed.delete()[0] > 0
        if released:
            audit.record(audit.Kind.RELEASE, caller, credential=credential_id)
    logger.info("account %s released credential %s: %s", actor_id(caller.account), credential_id, released)
    return released
