"""What is read from the database, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.db import connection
from django.db.models import Prefetch, Q, QuerySet
from django.db.models.functions import Now

from . import crypto
from .engine.types import Embeddings, Faces, Feature
from .exceptions import NotFound, NotReady, ReferencesLost
from .models import (
    EnsembleConfig,
    EnsembleMember,
    PlacedArtifact,
    Reference,
    Rollout,
    RolloutFailure,
    Subject,
    Verification,
)

State = EnsembleConfig.State
# by hand: every request asks it, and the ORM takes longer to write it than PostgreSQL to answer
_ACTIVE = "SELECT id FROM ml_models_ensembleconfig WHERE state = %s"
_NONE_ACTIVE = "No version is active. An operator activates one with activate_config."


def configs() -> QuerySet[EnsembleConfig]:
    """Versions with their members and artifacts, in three queries."""
    members = EnsembleMember.objects.select_related("artifact")
    placements = PlacedArtifact.objects.select_related("artifact")
    return EnsembleConfig.objects.select_related(*EnsembleConfig.RELATIONS).prefetch_related(
        Prefetch("members", members), Prefetch("placements", placements)
    )


def get_config(version: int) -> EnsembleConfig:
    """A version by its number.

    Raises:
        NotFound
    """
    config = configs().filter(version=version).first()
    if config is None:
        raise NotFound("There is no such version. Load one with load_ensemble.")
    return config


def get_rollout(rollout_id: UUID | None = None) -> Rollout:
    """A rollout by its id, or the latest one.

    Raises:
        NotFound
    """
    rollouts = Rollout.objects.select_related("config")
    rollout = rollouts.filter(pk=rollout_id).first() if rollout_id else rollouts.first()
    if rollout is None:
        raise NotFound("There is no such rollout.")
    return rollout


def active_config() -> EnsembleConfig:
    """The active version.

    Raises:
        NotReady: none is active yet.
    """
    config = configs().filter(state=State.ACTIVE).first()
    if config is None:
        raise NotReady(_NONE_ACTIVE)
    return config


def active_pk() -> int:
    """Which version is active, by primary key.

    Raises:
        NotReady: none is active yet.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ACTIVE, [State.ACTIVE])
        row = cursor.fetchone()
    if row is None:
        raise NotReady(_NONE_ACTIVE)
    return int(row[0])


def served_states() -> dict[int, str]:
    """The versions that processes keep loaded and enrolments embed for (active, rolling out, and warm ones): state by
    primary key."""
    return dict(_served().values_list("pk", "state"))


def served_configs() -> list[EnsembleConfig]:
    """The same versions with their members and artifacts."""
    return list(_served(configs()))


def _served(rows: QuerySet[EnsembleConfig] | None = None) -> QuerySet[EnsembleConfig]:
    rows = EnsembleConfig.objects.all() if rows is None else rows
    return rows.filter(Q(state__in=[State.ACTIVE, State.ROLLING_OUT]) | warm())


def warm() -> Q:
    """Versions that a rollback could still lead to."""
    return Q(state=State.RETIRED, warm_until__gt=Now())


def rollback_target() -> EnsembleConfig | None:
    """The version that a rollback would make active again: of the warm ones the one that was retired last."""
    return EnsembleConfig.objects.filter(warm()).order_by("-warm_until").first()


def members_by_space(served: list[EnsembleConfig]) -> dict[str, tuple[EnsembleMember, bool]]:
    """Every embedding space that is needed: a member that makes its vectors, and whether it flips."""
    return {member.space: (member, config.flip) for config in served for member in config.members.all()}


# By hand: every verify asks it, and the ORM takes longer to write it than PostgreSQL to answer. One query, so that an
# enrolment committed meanwhile is seen whole or not at all. The last four columns are the same in every row. OFFSET 0
# keeps vectors looked up by their reference's key: a table that was filled quickly PostgreSQL takes for small until it
# has counted it, and would read everybody's.
_TEMPLATE = """
SELECT reference.id, embedding.id, embedding.space, embedding.vector, reference.overridden,
       (reference.quality->>'glasses')::float8,
       subject.id, subject.locked_until - statement_timestamp(),
       greatest(pair.slowed_until, credential.slowed_until) - statement_timestamp(),
       subject.audit_key
FROM ml_models_subject subject
JOIN ml_models_reference reference ON reference.subject_id = subject.id
LEFT JOIN LATERAL (
    SELECT id, space, vector FROM ml_models_embedding
    WHERE reference_id = reference.id AND space = ANY(%(spaces)s) OFFSET 0
) embedding ON true
LEFT JOIN ml_models_paircount pair ON pair.subject_id = subject.id AND pair.credential = %(credential)s
LEFT JOIN ml_models_credentialcount credential ON credential.credential = %(credential)s
WHERE subject.subject_id = %(subject_id)s
ORDER BY reference.captured_at, reference.id
"""


@dataclass(frozen=True, slots=True)
class Template:
    """A subject's embeddings under one version: by member name, references in one order."""

    subject: UUID
    references: tuple[UUID, ...]
    embeddings: Faces
    lock_left: timedelta | None = None
    """How much longer the subject is locked out; None or not positive when it is not."""
    slow_left: timedelta | None = None
    """How much longer the caller's credential is slowed, altogether or for this subject; the same."""
    audit_key: bytes | None = None
    """What the subject's pseudonym in audit events is made with."""
    overridden: bool = False
    """Whether a reference was enrolled although it did not match the others."""


def template(subject_id: str, config: EnsembleConfig, credential: str = "") -> Template | None:
    """A subject's template, or None when it has no reference; one query.

    Args:
        credential: the caller's, to know whether it is slowed.

    Raises:
        NotReady: it has references, but none has a vector of every member yet.
        ReferencesLost: nor ever will: the version's rollout failed on each of them.
        CryptoError: a ciphertext does not open, or is another subject's.
    """
    names = {member.space: member.artifact.name for member in config.members.all()}
    with connection.cursor() as cursor:
        cursor.execute(_TEMPLATE, {"spaces": list(names), "credential": credential, "subject_id": subject_id})
        rows = cursor.fetchall()
    by_reference: dict[UUID, dict[str, Feature]] = {}
    of_the_subject: list[Any] = []
    any_overridden = False
    unbound: set[UUID] = set()
    glasses: dict[UUID, float | None] = {}
    for reference, pk, space, data, overridden, worn, *of_the_subject in rows:
        features = by_reference.setdefault(reference, {})
        glasses[reference] = worn
        if pk is not None:
            opened = crypto.open_vector(pk, reference, space, crypto.Owner(of_the_subject[0], subject_id), bytes(data))
            features[space] = np.frombuffer(opened, "<f4").astype(np.float32)
            if crypto.is_unbound(bytes(data)):
                unbound.add(reference)
        any_overridden |= overridden
    if not of_the_subject:
        return None
    subject, lock_left, slow_left, audit_key = of_the_subject
    if unbound:
        require_own_chips(crypto.Owner(subject, subject_id), unbound)
    complete = {ref: features for ref, features in by_reference.items() if len(features) == len(names)}
    if not complete:
        failed = RolloutFailure.objects.filter(
            RolloutFailure.GIVEN_UP, rollout__config=config, reference__in=by_reference
        )
        if by_reference.keys() <= set(failed.values_list("reference", flat=True)):
            raise ReferencesLost
        raise NotReady("The subject's references are not embedded for the active version yet.")
    together = {name: Embeddings.of_features([f[space] for f in complete.values()]) for space, name in names.items()}
    faces = Faces(together, [glasses[reference] for reference in complete])
    return Template(subject, tuple(complete), faces, lock_left, slow_left, audit_key, any_overridden)


def require_own_chips(owner: crypto.Owner, references: set[UUID]) -> None:
    """A vector of before the binding does not name its subject, but the chip of its reference does.

    Raises: CryptoError
    """
    for pk, chip in Reference.objects.filter(pk__in=references).values_list("pk", "chip"):
        crypto.open_chip(pk, owner, bytes(chip))


def subject(subject_id: str) -> Subject:
    """An enrolled subject with its references.

    Raises:
        NotFound
    """
    enrolled = Subject.objects.prefetch_related("references").filter(subject_id=subject_id).first()
    if enrolled is None:
        raise NotFound("There is no such subject.")
    return enrolled


def verification(pk: str) -> Verification:
    """The audit row of a verify.

    Raises:
        NotFound: its time is over.
    """
    row = Verification.objects.filter(pk=pk).first()
    if row is None:
        raise NotFound("There is no such verification any more.")
    return row


def subject_id_of(reference: UUID) -> str | None:
    """Whose reference it is, by the host's id; None when there is no such reference."""
    return Reference.objects.filter(pk=reference).values_list("subject__subject_id", flat=True).first()
