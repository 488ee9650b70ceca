"""Around a search: its limits; whether whoever is named is still there; its audit row and event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from .. import crypto, metrics, signals
from ..engine.errors import EngineError
from ..engine.types import Decision, Quality
from ..exceptions import ConfigChanged, LockedOut, NotLive, SearchedTooMuch
from ..models import Identification, actor_id
from . import audit, limits, lockout
from .attempts import Attempt
from .callers import Caller
from .rosters import Candidate, Roster

_MANY = 50
"""Of a search among so many, a chosen one of them is hardly guessed by it; one among n counts as `_MANY`/n searches."""

ROSTER_CHANGED = "The roster changed while the picture was processed. Try again."

# by hand, as in `lockout`
_HELD = """
SELECT id, locked_until - statement_timestamp() FROM ml_models_subject
WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE
"""
_MEMBERS = "SELECT count(*) FROM ml_models_membership WHERE group_id = %s AND subject_id = ANY(%s)"


@dataclass(slots=True)
class Search:
    """What is known of an attempt so far; filled even where it fails. `shown` are whoever is named or told of, best
    first."""

    caller: Caller
    subject_ids: tuple[str, ...] = ()
    group: UUID | None = None
    roster: Roster | None = None
    read_ms: float = 0.0
    shown: tuple[Candidate, ...] = ()
    attempt: Attempt = field(default_factory=Attempt)


def begin(caller: Caller, roster_size: int) -> None:
    """Count who is asked for, and refuse whoever has searched too much already, before any picture is read.

    Raises:
        Slowed, SearchedTooMuch
    """
    lockout.require_not_slowed(caller)
    _count("candidates", caller, roster_size)
    _count("searches", caller, 0)  # how many can be searched is not known yet


def spend(caller: Caller, candidates: int) -> None:
    """Count a search among so many against the limit of the caller's credential.

    Raises:
        SearchedTooMuch
    """
    _count("searches", caller, max(1, _MANY // candidates))


def _count(scope: str, caller: Caller, uses: int) -> None:
    if wait_s := limits.spend(scope, caller.credential_id, uses):
        raise SearchedTooMuch(wait_s)


def record_decision(
    search: Search, decision: Decision, margin: float | None, quality: Quality, timings_ms: dict[str, float]
) -> Identification:
    """Write the audit row, where whoever is named is still there, on the roster and not locked, and the credential does
    not wait for them.

    Raises:
        LockedOut, Slowed, ConfigChanged
    """
    named = search.shown[0] if decision.decision == "match" else None
    with transaction.atomic():
        if search.shown:
            _require_present(search)
        metrics.identified(decision.decision, timings_ms, search.attempt.dropped)
        row = _write(
            search,
            named,
            _about(named),
            decision.decision,
            event=named is None or named.overridden,
            decision=decision.decision,
            score=decision.score,
            threshold=decision.threshold,
            margin=margin,
            condition=decision.condition,
            voters=list(decision.voters),
            quality=quality.to_json(),
            frames=len(search.attempt.frames),
            frames_dropped=list(search.attempt.dropped),
            timings_ms={step: round(ms, 2) for step, ms in timings_ms.items()},
        )
        signals.after_commit(
            signals.identification_decided,
            identification_id=row.pk,
            subject_id=named.subject_id if named else None,
            decision=decision.decision,
            config_version=row.config.version if row.config else None,
        )
    return row


def _require_present(search: Search) -> None:
    """Hold whoever is named or told of, and look again: nobody waits for a picture to be read with a lock held."""
    pks = [candidate.subject for candidate in search.shown]
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [pks])
        held = dict(cursor.fetchall())
        # after the wait for the rows: the statement that waits sees of other tables what was there when it began
        cursor.execute(_MEMBERS, [search.group, [candidate.subject_id for candidate in search.shown]])
        [(members,)] = cursor.fetchall()
    if len(held) < len(pks) or (search.group and members < len(pks)):
        raise ConfigChanged(ROSTER_CHANGED)
    lockout.require_free(held[pks[0]], lockout.slow_left(search.caller, pks[0]))


def record_failure(search: Search, error: Exception) -> None:
    """The event of a search that came to no decision; and its row, where it failed over the face or the lock."""
    code = audit.code_of(error)
    metrics.identified(code, {}, search.attempt.dropped)
    looked = isinstance(error, EngineError | LockedOut | NotLive) and not isinstance(error, SearchedTooMuch)
    if search.roster and looked:
        locked = search.shown[0] if search.shown and isinstance(error, LockedOut) else None
        dropped = list(search.attempt.dropped)
        _write(search, None, _about(locked), code, event=True, code=code, frames_dropped=dropped)
    else:
        audit.record(audit.Kind.IDENTIFY, search.caller, code=code)


def _about(named: Candidate | None) -> audit.Named:
    return audit.named_by_row(named.subject, named.subject_id, named.audit_key) if named else audit.NO_SUBJECT


def _write(
    search: Search, named: Candidate | None, about: audit.Named, outcome: str, event: bool, **facts: Any
) -> Identification:
    caller = search.caller
    with transaction.atomic(savepoint=False):
        row = Identification.objects.create(
            caller_id=actor_id(caller.account),
            credential_id=about.who(caller)[1],
            capture_point=caller.capture_point,
            group=search.group,
            roster_digest=crypto.roster_digest(search.subject_ids),
            roster_size=len(search.subject_ids),
            candidates=len(search.roster.candidates) if search.roster else 0,
            subject_id=named.subject if named else None,
            config=search.attempt.config,
            **facts,
        )
        if event:
            overridden = {"overridden": True} if named else {}
            version = search.attempt.config and search.attempt.config.version
            more = {"identification": str(row.pk), "config_version": version, **overridden}
            audit.record(audit.Kind.IDENTIFY, caller, about, outcome, **more)
    return row
