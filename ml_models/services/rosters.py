"""Everybody on a roster under one version: who can be searched, with all templates read and opened at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, compress
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .. import crypto
from ..engine.errors import InferenceFailed
from ..engine.identify import Templates
from ..engine.types import Embeddings
from ..models import EnsembleConfig, EnsembleMember

# By hand, as `selectors` has it for one subject, and in one row: one for each reference costs Python more than what is
# in it. Keys are text, because to make UUIDs of them and text of those again takes longer than to open a vector. The
# vectors are looked up by their references' keys. To join the tables the database would guess how many vectors a space
# has: it may take seconds where it guesses wrongly, and read everybody's where it guesses well. Not sorted: it would
# sort the vectors on its disk.
_ROSTER = """
WITH listed AS MATERIALIZED (
    SELECT subject.id AS subject, subject.subject_id, subject.audit_key, reference.id AS reference, reference.overridden
    FROM ml_models_subject subject
    JOIN ml_models_reference reference ON reference.subject_id = subject.id
    WHERE subject.subject_id = ANY(%(subject_ids)s)
)
SELECT * FROM (
    SELECT array_agg(subject_id), array_agg(subject::text), array_agg(audit_key), array_agg(reference::text),
           array_agg(overridden)
    FROM listed
) listed_once{members}
"""
_LISTED = 5
_MEMBER = """, (
    SELECT array_agg(reference_id::text), array_agg(id::text), array_agg(length(vector)), string_agg(vector, '')
    FROM ml_models_embedding
    WHERE reference_id = ANY(ARRAY(SELECT reference FROM listed)) AND space = %(space{n})s
) member{n}"""
_STORED = 4
_CHIPS = "SELECT id::text, chip FROM ml_models_reference WHERE id = ANY(%(references)s::uuid[])"

_Owner = tuple[int, str, str]
"""Of a reference: its place among those that are searched, its subject's key and the host's id."""


class Candidate(NamedTuple):
    """Somebody who is searched; `row` is the subject's key as text, the rest as in `selectors.Template`."""

    row: str
    subject_id: str
    audit_key: bytes | None
    overridden: bool

    @property
    def subject(self) -> UUID:
        return UUID(self.row)


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
    return reader(subject_ids, config)()


def reader(subject_ids: Sequence[str], config: EnsembleConfig) -> Callable[[], Roster]:
    """What reads them, as `read`, in any thread: with this thread's connection, which has to rest meanwhile."""
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    return partial(_read, database, subject_ids, list(config.members.all()))


def _read(database: BaseDatabaseWrapper, subject_ids: Sequence[str], members: Sequence[EnsembleMember]) -> Roster:
    listed, *stored = _stored(database, subject_ids, [member.space for member in members])
    hosts_ids, subjects, audit_keys, references, marks = listed
    complete = set(references).intersection(*(with_vector for with_vector, *_ in stored))
    overridden = set(compress(hosts_ids, marks))
    candidates: list[Candidate] = []
    owners: dict[str, _Owner] = {}
    starts: list[int] = []
    for at in sorted(range(len(references)), key=hosts_ids.__getitem__):
        if references[at] not in complete:
            continue
        subject, subject_id = subjects[at], hosts_ids[at]
        if not candidates or candidates[-1].subject_id != subject_id:
            candidates.append(Candidate(subject, subject_id, audit_keys[at], subject_id in overridden))
            starts.append(len(owners))
        owners[references[at]] = len(owners), subject, subject_id
    enrolled = len(set(hosts_ids))
    return Roster(
        tuple(candidates),
        Templates(_opened(database, members, stored, owners) if candidates else {}, np.array(starts, np.intp)),
        len(subject_ids) - enrolled,
        enrolled - len(candidates),
    )


def _stored(database: BaseDatabaseWrapper, subject_ids: Sequence[str], spaces: Sequence[str]) -> list[Sequence[Any]]:
    """The columns of `_ROSTER`: of the references, then of each member's vectors."""
    query = _ROSTER.format(members="".join(_MEMBER.format(n=n) for n in range(len(spaces))))
    asked = {"subject_ids": list(subject_ids), **{f"space{n}": space for n, space in enumerate(spaces)}}
    [row] = _fetched(database, query, asked)
    columns = [column or () for column in row]  # an aggregate of no rows is NULL
    return [columns[:_LISTED], *(columns[at : at + _STORED] for at in range(_LISTED, len(columns), _STORED))]


def _fetched(database: BaseDatabaseWrapper, query: str, asked: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    # Django's own cursor has every vector sent as hexadecimal text
    with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
        return cursor.execute(query, asked, binary=True).fetchall()


def _opened(
    database: BaseDatabaseWrapper,
    members: Sequence[EnsembleMember],
    stored: Sequence[Sequence[Any]],
    owners: Mapping[str, _Owner],
) -> dict[str, Embeddings]:
    """Each member's vectors, at their references' places."""
    opened: dict[str, Embeddings] = {}
    unbound: set[str] = set()
    for member, columns in zip(members, stored, strict=True):
        name, dimension = member.artifact.name, int(member.artifact.contract["dimension"])
        try:
            data, unproven = crypto.open_vectors(member.space, _sealed(columns, owners), len(owners), 4 * dimension)
        except ValueError:
            raise InferenceFailed(f"{name}: a stored vector has not {dimension} numbers.") from None
        opened[name] = Embeddings.of_features(np.frombuffer(data, "<f4").reshape(-1, dimension))
        unbound.update(unproven)
    if unbound:  # as `selectors.require_own_chips`
        for reference, chip in _fetched(database, _CHIPS, {"references": list(unbound)}):
            _, subject, subject_id = owners[reference]
            crypto.open_chip(reference, crypto.Owner(subject, subject_id), chip)
    return opened


def _sealed(columns: Sequence[Any], owners: Mapping[str, _Owner]) -> Iterator[crypto.SealedVector]:
    references, keys, lengths, vectors = columns
    for reference, key, length, end in zip(references, keys, lengths, accumulate(lengths), strict=True):
        if reference in owners:
            place, subject, subject_id = owners[reference]
            yield place, key, reference, subject, subject_id, vectors[end - length : end]
