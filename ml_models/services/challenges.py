"""Steps that are asked of whoever stands before the camera: drawn by chance, good once, and for a short time.

A challenge belongs to its caller (account and credential), its purpose and the subject or group it was asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, cast, get_args
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from .. import conf, metrics
from ..engine.turns import STEPS, Step
from ..engine.types import canonical_json
from ..exceptions import ChallengeExpired, ChallengeUsed, NotFound
from ..models import Challenge, Subject
from . import audit
from .callers import Caller

Purpose = Literal["verify", "enroll", "identify"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
MOST_STEPS = 5
TEXTS: dict[Step, str] = {
    "front": "Look straight into the camera.",
    "left": "Turn your head to your left.",
    "right": "Turn your head to your right.",
}
# 128 bits
_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Issued:
    challenge_id: UUID
    nonce: str
    steps: tuple[Step, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller sends with the frames: which challenge they answer, and its nonce."""

    challenge_id: UUID
    nonce: str
    request_hash: str = ""
    """Of a request that may be repeated: it finds its challenge unused while it has no final answer."""


def issue(caller: Caller, purpose: Purpose, claim: str) -> Issued:
    """Draw a challenge.

    Args:
        caller: who may answer it, with the same credential.
        claim: the host's id of the subject, or of the group that the face is to be looked for in; or `among` subjects.
    """
    nonce = secrets.token_urlsafe(_NONCE_BYTES)
    exempt = purpose != "identify" and Subject.objects.filter(subject_id=claim, cannot_turn=True).exists()
    challenge = Challenge.objects.create(
        binding=_binding(nonce, caller, purpose, claim),
        steps=["front"] if exempt else draw(),
        # by the database's clock, which also says when it is too late
        expires_at=Now() + timedelta(seconds=conf.get("CHALLENGE_S")),
    )
    challenge.refresh_from_db(fields=["expires_at"])
    metrics.challenge("issued")
    return Issued(challenge.pk, nonce, tuple(challenge.steps), challenge.expires_at)


def among(subject_ids: Iterable[str]) -> str:
    """What stands for a list of subjects where a group's id would, to identify among them."""
    # an id has no line break, so that no group has this one
    return "\n".join(["", *sorted(set(subject_ids))])


def draw() -> list[Step]:
    """Three to five steps: front, left and right at least once each, never the same twice in a row."""
    chance = secrets.SystemRandom()
    most = min(MOST_STEPS, conf.get("MAX_FRAMES"))
    while True:
        steps: list[Step] = [*STEPS, *chance.choices(STEPS, k=chance.randint(0, max(0, most - len(STEPS))))]
        chance.shuffle(steps)
        if all(first != second for first, second in pairwise(steps)):
            return steps


def consume(caller: Caller, purpose: Purpose, claim: str, answer: Answer) -> tuple[Step, ...]:
    """Use a challenge up, whatever comes of the attempt. Call this before any picture is decoded.

    Returns: the steps that the frames have to show.

    Raises:
        ChallengeUsed: it was answered before.
        ChallengeExpired: too late.
        NotFound: there is none of this id and nonce for this caller, purpose and claim; whether there is one for
            somebody else, nobody learns.
    """
    binding = _binding(answer.nonce, caller, purpose, claim)
    asked = Challenge.objects.filter(pk=answer.challenge_id, binding=binding)
    # one conditional update: of requests side by side one finds the row unused
    usable = Q(used_at=None)
    if answer.request_hash:
        usable |= Q(used_by=answer.request_hash)
    claimed = asked.filter(usable, expires_at__gt=Now()).update(used_at=Now(), used_by=answer.request_hash)
    challenge = asked.first()
    if challenge is None:
        raise NotFound("There is no such challenge for this call. Ask for a new one, by POST liveness/challenges.")
    if not claimed:
        raise ChallengeUsed if challenge.used_at else ChallengeExpired
    metrics.challenge("answered")
    return tuple(cast(Sequence[Step], challenge.steps))


def settle(answer: Answer) -> None:
    """The request that answered a challenge has its final answer: not even that one may answer again."""
    Challenge.objects.filter(pk=answer.challenge_id, used_by=answer.request_hash).update(used_by="")


def exempt(caller: Caller, pk: UUID, cannot_turn: bool) -> bool:
    """Say that a subject cannot turn the head, or can again: for an operator, never for a request's caller.

    Challenges ask such a subject for no turn; where the policy enforces them, its best decision is `review`.

    Returns: whether that is new.
    Raises:
        NotFound: there is no such subject.
    """
    with transaction.atomic():
        subject = Subject.objects.select_for_update(no_key=True).filter(pk=pk).first()
        if subject is None:
            raise NotFound("There is no such subject.")
        changed = subject.cannot_turn != cannot_turn
        if changed:
            Subject.objects.filter(pk=pk).update(cannot_turn=cannot_turn)
            audit.record(audit.Kind.EXEMPT, caller, audit.named(subject), cannot_turn=cannot_turn)
    return changed


def _binding(nonce: str, caller: Caller, purpose: Purpose, claim: str) -> str:
    whose = canonical_json({**caller.identity, "purpose": purpose, "claim": claim})
    return hmac.new(nonce.encode(), whose.encode(), hashlib.sha256).hexdigest()
