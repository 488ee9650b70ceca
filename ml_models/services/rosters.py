"""Everybody on a roster under one version: who can be searched, with all templates read and opened at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

# So many subjects a query, sent behind one another: PostgreSQL answers the next one while what came is opened.
_TOGETHER = 500
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
"""Of a reference: its place among those that were asked for together, its subject's key and the host's id."""


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
    """The candidates among these subjects. Each one is read whole, in one query.

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
    ids, reading = sorted(subject_ids), _Reading(members)
    query = _ROSTER.format(members="".join(_MEMBER.format(n=n) for n in range(len(members))))
    spaces = {f"space{n}": member.space for n, member in enumerate(members)}
    # Django's own cursor has every vector sent as hexadecimal text
    with database.wrap_database_errors, database.connection.pipeline():
        asked = [psycopg.Cursor(database.connection) for _ in range(0, len(ids), _TOGETHER)]
        for at, cursor in enumerate(asked):
            some = ids[at * _TOGETHER : (at + 1) * _TOGETHER]
            cursor.execute(query, {**spaces, "subject_ids": some}, binary=True)
        for cursor in asked:
            reading.add(*cursor.fetchall())
    if reading.unbound:  # as `selectors.require_own_chips`
        with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
            chips = cursor.execute(_CHIPS, {"references": list(reading.unbound)}, binary=True)
            for reference, chip in chips.fetchall():
                crypto.open_chip(reference, reading.unbound[reference], chip)
    return reading.roster(len(ids))


class _Reading:
    """The roster as far as it was read; its vectors are opened, each member's one behind the other."""

    def __init__(self, members: Sequence[EnsembleMember]) -> None:
        self.unbound: dict[str, crypto.Owner] = {}
        self._vectors = [(member, bytearray()) for member in members]
        self._candidates: list[Candidate] = []
        self._starts: list[int] = []
        self._references = self._enrolled = 0

    def add(self, row: Sequence[Any]) -> None:
        columns = [column or () for column in row]  # an aggregate of no rows is NULL
        subject_ids, subjects, audit_keys, references, marks = columns[:_LISTED]
        stored = [columns[at : at + _STORED] for at in range(_LISTED, len(columns), _STORED)]
        complete = set(references).intersection(*(of_member for of_member, *_ in stored))
        overridden = set(compress(subject_ids, marks))
        owners: dict[str, _Owner] = {}
        before = ""
        for at in sorted(range(len(references)), key=subject_ids.__getitem__):
            if references[at] not in complete:
                continue
            subject, subject_id = subjects[at], subject_ids[at]
            if subject_id != before:
                before = subject_id
                self._candidates.append(Candidate(subject, subject_id, audit_keys[at], subject_id in overridden))
                self._starts.append(self._references + len(owners))
            owners[references[at]] = len(owners), subject, subject_id
        for (member, vectors), of_member in zip(self._vectors, stored, strict=True):
            vectors += self._opened(member, _sealed(of_member, owners), owners)
        self._references += len(owners)
        self._enrolled += len(set(subject_ids))

    def _opened(
        self, member: EnsembleMember, sealed: Iterable[crypto.SealedVector], owners: Mapping[str, _Owner]
    ) -> bytearray:
        dimension = _dimension(member)
        try:
            opened, unbound = crypto.open_vectors(member.space, sealed, len(owners), 4 * dimension)
        except ValueError:
            name = member.artifact.name
            raise InferenceFailed(f"{name}: a stored vector has not {dimension} numbers.") from None
        for reference in unbound:
            _, subject, subject_id = owners[reference]
            self.unbound[reference] = crypto.Owner(subject, subject_id)
        return opened

    def roster(self, asked: int) -> Roster:
        embeddings = {
            member.artifact.name: Embeddings.of_features(np.frombuffer(vectors, "<f4").reshape(-1, _dimension(member)))
            for member, vectors in self._vectors
        }
        return Roster(
            tuple(self._candidates),
            Templates(embeddings, np.array(self._starts, np.intp)),
            asked - self._enrolled,
            self._enrolled - len(self._candidates),
        )


def _dimension(member: EnsembleMember) -> int:
    return int(member.artifact.contract["dimension"])


def _sealed(of_member: Sequence[Any], owners: Mapping[str, _Owner]) -> Iterator[crypto.SealedVector]:
    references, keys, lengths, vectors = of_member
    for reference, key, length, end in zip(references, keys, lengths, accumulate(lengths), strict=True):
        if reference in owners:
            place, subject, subject_id = owners[reference]
            yield place, key, reference, subject, subject_id, vectors[end - length : end]
