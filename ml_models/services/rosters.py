"""Everybody on a roster under one version: who can be searched, with all templates read and opened at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
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

Row = tuple[Any, ...]
"""A reference as `_ROWS` has it. Keys are text, because to make UUIDs of them and text of those again takes longer than
to open a vector."""
# By hand, as `selectors` has it for one subject, and a row for a reference: rows cost more than what is in them. The
# vectors are looked up by their references' keys. To join the tables the database would guess how many vectors a space
# has: it may take seconds where it guesses wrongly, and read everybody's where it guesses well. Not sorted: it would
# sort the vectors on its disk.
_ROWS = """
WITH listed AS MATERIALIZED (
    SELECT subject.id AS subject, subject.subject_id, subject.audit_key, reference.id AS reference, reference.overridden
    FROM ml_models_subject subject
    JOIN ml_models_reference reference ON reference.subject_id = subject.id
    WHERE subject.subject_id = ANY(%(subject_ids)s)
)
SELECT subject::text, subject_id, audit_key, reference::text, overridden{columns}
FROM listed{joins}
"""
_SUBJECT, _SUBJECT_ID, _AUDIT_KEY, _REFERENCE, _OVERRIDDEN, _VECTORS = range(6)
# two for each member, None where the reference has no vector of it
_COLUMNS = ", v{n}.id::text, v{n}.vector"
_JOIN = """
LEFT JOIN (
    SELECT reference_id, id, vector FROM ml_models_embedding
    WHERE reference_id = ANY(ARRAY(SELECT reference FROM listed)) AND space = %(space{n})s
) v{n} ON v{n}.reference_id = reference"""
_CHIPS = "SELECT id::text, chip FROM ml_models_reference WHERE id = ANY(%(references)s::uuid[])"


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
    enrolled: dict[str, list[Row]] = defaultdict(list)
    for row in _rows(database, subject_ids, [member.space for member in members]):
        enrolled[row[_SUBJECT_ID]].append(row)
    candidates: list[Candidate] = []
    searched: list[list[Row]] = []
    for subject_id, references in sorted(enrolled.items()):
        complete = [row for row in references if None not in row[_VECTORS:]]
        if complete:
            first, overridden = complete[0], any(row[_OVERRIDDEN] for row in references)
            candidates.append(Candidate(first[_SUBJECT], subject_id, first[_AUDIT_KEY], overridden))
            searched.append(complete)
    counts = np.array([len(references) for references in searched], np.intp)
    columns = list(zip(*chain.from_iterable(searched), strict=True))
    return Roster(
        tuple(candidates),
        Templates(_opened(database, members, columns) if columns else {}, np.cumsum(counts) - counts),
        len(subject_ids) - len(enrolled),
        len(enrolled) - len(candidates),
    )


def _rows(database: BaseDatabaseWrapper, subject_ids: Sequence[str], spaces: Sequence[str]) -> list[Row]:
    numbers = range(len(spaces))
    columns, joins = ("".join(part.format(n=n) for n in numbers) for part in (_COLUMNS, _JOIN))
    asked = {"subject_ids": list(subject_ids), **{f"space{n}": space for n, space in enumerate(spaces)}}
    return _fetched(database, _ROWS.format(columns=columns, joins=joins), asked)


def _fetched(database: BaseDatabaseWrapper, query: str, asked: Mapping[str, Any]) -> list[Row]:
    # Django's own cursor has every vector sent as hexadecimal text, and makes each row twice
    with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
        return cursor.execute(query, asked, binary=True).fetchall()


def _opened(
    database: BaseDatabaseWrapper, members: Sequence[EnsembleMember], columns: Sequence[Sequence[Any]]
) -> dict[str, Embeddings]:
    """Each member's vectors, in the order of the rows."""
    references, subjects, subject_ids = columns[_REFERENCE], columns[_SUBJECT], columns[_SUBJECT_ID]
    opened: dict[str, Embeddings] = {}
    unbound: dict[str, crypto.Owner] = {}
    for n, member in enumerate(members):
        name, dimension = member.artifact.name, int(member.artifact.contract["dimension"])
        keys, vectors = columns[_VECTORS + 2 * n], columns[_VECTORS + 2 * n + 1]
        sealed = list(zip(keys, references, subjects, subject_ids, vectors, strict=True))
        try:
            data = crypto.open_vectors(member.space, sealed, 4 * dimension)
        except ValueError:
            raise InferenceFailed(f"{name}: a stored vector has not {dimension} numbers.") from None
        opened[name] = Embeddings.of_features(np.frombuffer(data, "<f4").reshape(-1, dimension))
        if any(map(crypto.is_unbound, vectors)):
            rows = zip(references, subjects, subject_ids, vectors, strict=True)
            unbound |= {ref: crypto.Owner(row, host) for ref, row, host, data in rows if crypto.is_unbound(data)}
    if unbound:  # as `selectors.require_own_chips`
        for reference, chip in _fetched(database, _CHIPS, {"references": list(unbound)}):
            crypto.open_chip(reference, unbound[reference], chip)
    return opened
