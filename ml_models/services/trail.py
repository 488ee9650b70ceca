"""Reading the audit trail: is it all there, and out with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from ..exceptions import CryptoError
from ..models import AuditCheckpoint, AuditEvent, AuditKey
from . import chain

# what one report names; more of the same tells nobody more
_MOST = 50


@dataclass(slots=True)
class Verdict:
    """What `verify` has found: the trail is whole where there are no `problems`."""

    events: int = 0
    unchained: int = 0
    deleted_by_retention: int = 0
    sequence: int = 0
    digest: str = ""
    problems: list[str] = field(default_factory=list)

    def blame(self, problem: str) -> None:
        if len(self.problems) < _MOST:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain stood when it was looked at: kept elsewhere, it shows a cut tail and a chain written anew."""

    sequence: int
    digest: str


def head() -> Head:
    """The end of the chain, once every committed event is chained. Raises: CryptoError"""
    chain.chain_all()
    return Head(*chain.end())


def verify(known: Head | None = None) -> Verdict:
    """Look for removed, altered, moved and inserted events, from the first checkpoint to the chain's end.

    Nothing is chained or pruned meanwhile.

    Args:
        known: a head that was kept elsewhere. Without one a cut tail cannot be seen.
    """
    verdict = Verdict()
    with transaction.atomic():
        chain.hold(wait=True)
        keys = _Keys(verdict)
        _verify_checkpoints(verdict, keys)
        base = verdict.sequence
        met = known is not None and known == Head(base, verdict.digest)
        for event in _chained().iterator(2000):
            verdict.events += 1
            _verify_event(verdict, keys, event, base)
            met = met or (known is not None and known == Head(event.sequence or 0, event.digest))
        verdict.unchained = AuditEvent.objects.filter(sequence=None).count()
    if known and known.sequence > verdict.sequence:
        verdict.blame(f"The end is cut off: the trail ends at {verdict.sequence}, the head kept is {known.sequence}.")
    elif known and known.sequence < base:
        verdict.blame(f"The head kept, {known.sequence}, is older than what retention has left: use a newer one.")
    elif known and not met:
        verdict.blame(f"Event {known.sequence} is not the one of the head kept: the trail was written anew.")
    return verdict


def _chained() -> Any:
    return AuditEvent.objects.filter(sequence__isnull=False).order_by("sequence")


class _Keys:
    """The chain's keys; one that does not open is a problem, told once."""

    def __init__(self, verdict: Verdict) -> None:
        self._secrets: dict[UUID, bytes | None] = {}
        for key in AuditKey.objects.all():
            try:
                self._secrets[key.pk] = chain.opened(key)
            except CryptoError:
                self._secrets[key.pk] = None
                verdict.blame(f"Key {key.pk} of the chain does not open: what it has signed cannot be trusted.")

    def secret(self, key: UUID | None) -> bytes | None:
        return self._secrets.get(key) if key else None


def _verify_checkpoints(verdict: Verdict, keys: _Keys) -> None:
    for checkpoint in AuditCheckpoint.objects.order_by("sequence"):
        secret = keys.secret(checkpoint.key_id)
        if secret is None or checkpoint.signature != chain.signature(secret, checkpoint):
            verdict.blame(f"Checkpoint {checkpoint.sequence} was altered or forged.")
        if checkpoint.count != checkpoint.sequence - verdict.sequence:
            verdict.blame(f"A checkpoint between {verdict.sequence} and {checkpoint.sequence} is missing.")
        verdict.deleted_by_retention += checkpoint.count
        verdict.sequence, verdict.digest = checkpoint.sequence, checkpoint.digest


def _verify_event(verdict: Verdict, keys: _Keys, event: AuditEvent, base: int) -> None:
    sequence = event.sequence or 0
    if sequence <= base:
        verdict.blame(f"Event {sequence} is from before the last checkpoint, {base}: it was put back.")
        return
    if sequence != verdict.sequence + 1:
        verdict.blame(f"Events {verdict.sequence + 1} to {sequence - 1} were removed.")
    else:
        secret = keys.secret(event.key_id)
        record = {"sequence": sequence, **chain.content(event)}
        if not (secret and event.key_id) or chain.link(secret, event.key_id, verdict.digest, record) != event.digest:
            verdict.blame(f"Event {sequence} was altered, moved or forged.")
    verdict.sequence, verdict.digest = sequence, event.digest


def export(since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """The trail as JSON objects: checkpoints, events in the chain's order, and the head last.

    Args:
        since: events that happened before are left out.
    """
    chain.chain_all()
    for checkpoint in AuditCheckpoint.objects.order_by("sequence"):
        facts = {name: getattr(checkpoint, name) for name in ("sequence", "digest", "count", "signature")}
        yield {"type": "checkpoint", **facts, "at": checkpoint.at.isoformat(), "key": str(checkpoint.key_id)}
    last = Head(*chain.end())
    events = _chained().filter(sequence__lte=last.sequence)
    for event in (events.filter(at__gte=since) if since else events).iterator(2000):
        place = {"sequence": event.sequence, "digest": event.digest, "key": str(event.key_id)}
        yield {"type": "event", **place, **chain.content(event)}
    yield {"type": "head", "sequence": last.sequence, "digest": last.digest}
