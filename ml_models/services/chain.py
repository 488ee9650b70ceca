"""The chain over the audit events: each one's keyed hash covers the event and the hash before it.

Whoever writes an event waits for no head: events are written without a place, and one job gives places to what is
committed. So an event may come after one with a higher id, whose transaction was shorter. Retention deletes the chain's
beginning and leaves a signed checkpoint.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from datetime import timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from .. import conf, crypto, signals
from ..models import AuditCheckpoint, AuditEvent, AuditKey
from .audit import new_key

logger = logging.getLogger(__name__)

# any number, the same in every process of the deployment: "ml_audit" in ASCII, cut to 63 bits
_LOCK = int.from_bytes(b"ml_audit", "big") & (2**63 - 1)
# events in one transaction
BATCH = 1000
_PLACE = """
    UPDATE ml_models_auditevent AS event
    SET sequence = placed.sequence, digest = placed.digest, key_id = %s
    FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS placed (id, sequence, digest)
    WHERE event.id = placed.id
"""


def hold(wait: bool = False) -> bool:
    """Keep the chain still until the transaction's end; False where somebody else does, and `wait` is not set."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_{'' if wait else 'try_'}advisory_xact_lock(%s)", [_LOCK])
        return wait or bool(cursor.fetchone()[0])


def chain(limit: int = BATCH) -> int:
    """Give the oldest events without a place one each. Returns how many; 0 too where another process is at it.

    Raises:
        CryptoError: the chain's key does not open.
    """
    with transaction.atomic():
        if not hold():
            return 0
        events = list(AuditEvent.objects.filter(sequence=None).order_by("pk")[:limit])
        if not events:
            return 0
        key = _key()
        secret, (sequence, digest) = opened(key), end()
        places = []
        for event in events:
            sequence += 1
            digest = link(secret, key.pk, digest, {"sequence": sequence, **content(event)})
            places.append((event.pk, sequence, digest))
        with connection.cursor() as cursor:
            cursor.execute(_PLACE, [key.pk, *map(list, zip(*places, strict=True))])
        signals.after_commit(signals.audit_chained, sequence=sequence, digest=digest)
    # a log that is kept elsewhere is a head that is kept elsewhere
    logger.info("audit: chained to sequence %d, digest %s", sequence, digest)
    return len(events)


def chain_all() -> int:
    done = 0
    while count := chain():
        done += count
    return done


def end() -> tuple[int, str]:
    """The last place in the chain and its digest; 0 and nothing before the first event."""
    event = AuditEvent.objects.filter(sequence__isnull=False).order_by("-sequence").first()
    checkpoint = AuditCheckpoint.objects.order_by("-sequence").first()
    ends = [(last.sequence or 0, last.digest) for last in (event, checkpoint) if last]
    return max(ends, default=(0, ""))


def _key() -> AuditKey:
    primary = crypto.provider().primary
    key = AuditKey.objects.filter(primary=primary).first()
    if key is None:
        key = AuditKey(primary=primary)
        key.sealed = crypto.seal_audit_key(key.pk, new_key())
        key.save(force_insert=True)
    return key


def opened(key: AuditKey) -> bytes:
    """Raises: CryptoError"""
    return crypto.open_audit_key(key.pk, bytes(key.sealed))


def content(event: AuditEvent) -> dict[str, Any]:
    """What an event says, as JSON values; all that its digest covers besides its place."""
    return {
        "id": event.pk,
        "at": event.at.isoformat(),
        "kind": event.kind,
        "code": event.code,
        "caller": event.caller,
        "credential_id": event.credential_id,
        "capture_point": event.capture_point,
        "subject": event.subject,
        "facts": event.facts,
    }


def link(secret: bytes, key: UUID, previous: str, event: dict[str, Any]) -> str:
    """An event's digest, HMAC-SHA256 as hex."""
    return _keyed_hash(secret, ["event", str(key), previous, event])


def signature(secret: bytes, checkpoint: AuditCheckpoint) -> str:
    facts = [checkpoint.sequence, checkpoint.digest, checkpoint.count, checkpoint.at.isoformat()]
    return _keyed_hash(secret, ["checkpoint", str(checkpoint.key_id), *facts])


def _keyed_hash(secret: bytes, value: list[Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def prune(batch: int = 5000) -> int:
    """Delete the oldest events past `AUDIT_DAYS`, and leave a checkpoint. Returns how many went; 0 when none is due."""
    days = conf.get("AUDIT_DAYS") or 0
    if days <= 0:  # `check` refuses less than 0, and not everybody asks it
        return 0
    time = timedelta(days=days)
    with transaction.atomic():
        if not hold():
            return 0
        base = AuditCheckpoint.objects.order_by("-sequence").values_list("sequence", flat=True).first() or 0
        age = ExpressionWrapper(Now() - F("at"), DurationField())
        oldest = AuditEvent.objects.filter(sequence__gt=base).annotate(age=age).order_by("sequence")
        places = oldest.values_list("age", "sequence", "digest", "at")[:batch].iterator(500)
        # the beginning of the chain only: one that was chained late waits for those before it
        due = list(takewhile(lambda place: place[0] > time, places))
        if not due:
            return 0
        _, last, digest, at = due[-1]
        sequence, key = last or 0, _key()
        checkpoint = AuditCheckpoint(sequence=sequence, digest=digest, count=len(due), at=at, key=key)
        checkpoint.signature = signature(opened(key), checkpoint)
        checkpoint.save(force_insert=True)
        AuditEvent.objects.filter(sequence__lte=sequence).delete()
    logger.info("audit: %d events past their time deleted, to sequence %d", len(due), sequence)
    return len(due)
