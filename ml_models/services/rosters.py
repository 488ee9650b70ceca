"""Everybody on a roster under one version: who can be searched, with all templates read and opened at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import DurationField, ExpressionWrapper, F, FilteredRelation, Q, TextField
from django.db.models.functions import Cast, Now

from .. import crypto, selectors
from ..engine.errors import InferenceFailed
from ..engine.identify import Templates
from ..engine.types import Embeddings
from ..models import EnsembleConfig, EnsembleMember, Reference


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody who is searched; fields as in `selectors.Template`."""

    subject: UUID
    subject_id: str
    lock_left: timedelta | None
    audit_key: bytes | None
    overridden: bool


@dataclass(frozen=True, slots=True)
class Roster:
    """`templates` has the candidates in their order. Of those who are not searched, `not_enrolled` have no reference,
    and `not_embedded` none with a vector of every member of the version."""

    candidates: tuple[Candidate, ...]
    templates: Templates
    not_enrolled: int
    not_embedded: int


def read(subject_ids: Sequence[str], config: EnsembleConfig) -> Roster:
    """The candidates among these subjects, in one query.

    Args:
        subject_ids: the host's, each once.

    Raises:
        CryptoError: a ciphertext does not open, or is another subject's: then nobody is searched.
        InferenceFailed: a vector is not of its member's dimension.
    """
    members = {member.space: member for member in config.members.all()}
    candidates: list[Candidate] = []
    counts: list[int] = []
    sealed: dict[str, list[tuple[str, str, str, crypto.Owner, bytes]]] = defaultdict(list)
    enrolled = 0
    for (subject, subject_id, lock_left, audit_key), by_reference in _by_subject(subject_ids, members):
        enrolled += 1
        owner = crypto.Owner(subject, subject_id)
        references = list(by_reference.values())
        complete = [vectors for vectors in references if len(vectors) == len(members) and vectors[0][3]]
        if not complete:
            continue
        overridden = any(vectors[0][2] for vectors in references)
        candidates.append(Candidate(UUID(subject), subject_id, lock_left, audit_key, overridden))
        counts.append(len(complete))
        unbound = set()
        for _, reference, _, embedding, space, data in (row for vectors in complete for row in vectors):
            sealed[space].append((embedding, reference, space, owner, bytes(data)))
            if crypto.is_unbound(bytes(data)):
                unbound.add(UUID(reference))
        if unbound:
            selectors.require_own_chips(owner, unbound)
    embeddings = {member.artifact.name: _opened(member, sealed[space]) for space, member in members.items()}
    starts = np.cumsum([0, *counts[:-1]]) if counts else np.empty(0, np.intp)
    return Roster(
        tuple(candidates), Templates(embeddings, starts), len(subject_ids) - enrolled, enrolled - len(candidates)
    )


def _by_subject(
    subject_ids: Sequence[str], spaces: dict[str, EnsembleMember]
) -> list[tuple[Any, dict[str, list[Any]]]]:
    """(subject, its id, lock and key) and its rows by reference, in the order of the ids. Sorted here: the database
    would sort the vectors with the rest, on its disk."""
    subjects: dict[str, tuple[Any, dict[str, list[Any]]]] = {}
    for row in _rows(subject_ids, spaces):
        _, by_reference = subjects.setdefault(row[0][1], (row[0], {}))
        by_reference.setdefault(row[1], []).append(row)
    return [subjects[subject_id] for subject_id in sorted(subjects)]


def _rows(subject_ids: Sequence[str], spaces: dict[str, EnsembleMember]) -> Any:
    """(subject, its id, lock and key), reference, overridden, embedding, space, vector; keys as text, because to make
    UUIDs of them and text of those again takes longer than to open the vector."""
    references = (
        Reference.objects.filter(subject__subject_id__in=subject_ids)
        .annotate(needed=FilteredRelation("embeddings", condition=Q(embeddings__space__in=list(spaces))))
        .annotate(
            owner=Cast("subject_id", TextField()),
            own=Cast("pk", TextField()),
            vector=Cast("needed__id", TextField()),
            lock_left=ExpressionWrapper(F("subject__locked_until") - Now(), DurationField()),
        )
        .order_by()
    )
    columns = ("owner", "subject__subject_id", "lock_left", "subject__audit_key", "own", "overridden")
    for *of_subject, own, overridden, embedding, space, data in references.values_list(
        *columns, "vector", "needed__space", "needed__vector"
    ):
        yield tuple(of_subject), own, overridden, embedding, space, data


def _opened(member: EnsembleMember, sealed: Sequence[tuple[str, str, str, crypto.Owner, bytes]]) -> Embeddings:
    dimension = int(member.artifact.contract["dimension"])
    opened = list(crypto.open_vectors(sealed))
    if any(len(data) != 4 * dimension for data in opened):
        raise InferenceFailed(f"{member.artifact.name}: a stored vector has not {dimension} numbers.")
    if not opened:
        return Embeddings(np.empty((0, dimension), np.float32), np.empty(0, np.float32))
    return Embeddings.of_features(list(np.frombuffer(b"".join(opened), "<f4").reshape(-1, dimension)))
