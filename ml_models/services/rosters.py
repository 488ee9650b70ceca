"""Everybody on a roster under one version: who can be searched, with all templates read and opened at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from django.db import connection

from .. import crypto, selectors
from ..engine.errors import InferenceFailed
from ..engine.identify import Templates
from ..engine.types import Embeddings
from ..models import EnsembleConfig, EnsembleMember

Row = tuple[Any, ...]
"""A reference with one of its vectors, as `_ROWS` has it. Subject and reference are as text, and the vector is None
where the reference has none of the version's."""
# By hand, as `selectors` has it for one subject. Not sorted: the database would sort the vectors with it, on its disk.
_ROWS = """
SELECT subject.id::text, subject.subject_id, subject.locked_until - statement_timestamp(), subject.audit_key,
       reference.id::text, reference.overridden, embedding.id::text, embedding.space, embedding.vector
FROM ml_models_subject subject
JOIN ml_models_reference reference ON reference.subject_id = subject.id
LEFT JOIN ml_models_embedding embedding ON embedding.reference_id = reference.id AND embedding.space = ANY(%(spaces)s)
WHERE subject.subject_id = ANY(%(subject_ids)s)
"""
_SUBJECT_ID, _REFERENCE, _OVERRIDDEN, _SPACE = 1, 4, 5, 7


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
    enrolled = _by_subject(_rows(subject_ids, tuple(members)))
    candidates: list[Candidate] = []
    counts: list[int] = []
    owners: dict[str, crypto.Owner] = {}
    sealed: dict[str, list[Row]] = {space: [] for space in members}
    for subject_id, references in sorted(enrolled.items()):
        complete = [rows for rows in references.values() if len(rows) == len(members) and rows[0][_SPACE]]
        if not complete:
            continue
        subject, _, lock_left, audit_key, *_ = complete[0][0]
        overridden = any(rows[0][_OVERRIDDEN] for rows in references.values())
        candidates.append(Candidate(UUID(subject), subject_id, lock_left, audit_key, overridden))
        counts.append(len(complete))
        owners[subject_id] = crypto.Owner(subject, subject_id)
        for rows in complete:
            for row in rows:
                sealed[row[_SPACE]].append(row)
    embeddings = {member.artifact.name: _opened(member, sealed[space], owners) for space, member in members.items()}
    starts = np.cumsum([0, *counts[:-1]]) if counts else np.empty(0, np.intp)
    return Roster(
        tuple(candidates),
        Templates(embeddings, starts),
        len(subject_ids) - len(enrolled),
        len(enrolled) - len(candidates),
    )


def _by_subject(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """The rows by subject and by reference."""
    subjects: dict[str, dict[str, list[Row]]] = defaultdict(dict)
    for row in rows:
        subjects[row[_SUBJECT_ID]].setdefault(row[_REFERENCE], []).append(row)
    return subjects


def _rows(subject_ids: Sequence[str], spaces: Sequence[str]) -> list[Row]:
    """Keys as text, because to make UUIDs of them and text of those again takes longer than to open the vector."""
    connection.ensure_connection()
    # Django's own cursor has every vector sent as hexadecimal text, and makes each row twice
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        asked = {"subject_ids": list(subject_ids), "spaces": list(spaces)}
        return cursor.execute(_ROWS, asked, binary=True).fetchall()


def _opened(member: EnsembleMember, rows: Sequence[Row], owners: Mapping[str, crypto.Owner]) -> Embeddings:
    """The vectors of one member, in the order of the rows."""
    dimension = int(member.artifact.contract["dimension"])
    unbound: dict[crypto.Owner, set[UUID]] = defaultdict(set)

    def sealed() -> Iterator[crypto.SealedVector]:
        for _, subject_id, _, _, reference, _, embedding, space, vector in rows:
            if crypto.is_unbound(vector):
                unbound[owners[subject_id]].add(UUID(reference))
            yield embedding, reference, space, owners[subject_id], vector

    opened = list(crypto.open_vectors(sealed()))
    for owner, references in unbound.items():
        selectors.require_own_chips(owner, references)
    if any(len(data) != 4 * dimension for data in opened):
        raise InferenceFailed(f"{member.artifact.name}: a stored vector has not {dimension} numbers.")
    return Embeddings.of_features(np.frombuffer(b"".join(opened), "<f4").reshape(-1, dimension))
