"""Everybody on a roster under one version: who can be searched, with all templates read and opened at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any, NamedTuple, cast
from uuid import UUID

import numpy as np
import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from numpy.typing import NDArray

from .. import crypto
from ..engine.errors import InferenceFailed
from ..engine.identify import Templates
from ..engine.types import Embeddings, Faces
from ..models import EnsembleConfig, EnsembleMember

# So many rows are taken from the connection at a time, and opened while PostgreSQL finds the next ones.
_TOGETHER = 20
# By hand, as `selectors` has it for one subject: a row for each reference, with its vector of every member. Keys are
# text, because to make UUIDs of them and text of those again takes longer than to open a vector. References are sorted
# without their vectors, which the database would sort on its disk. Each vector is looked up by its reference's key
# (OFFSET 0 keeps it so), each reference by its subject's and each subject by its id: to join the tables the database
# would guess how many rows there are. It may take seconds where it guesses wrongly, and read everybody's where it
# guesses well. Nor does it see how many subjects are asked for: many would seem worth compiling the query for. `= ANY`
# of the ids, in a table of a few thousand subjects, would compare each subject with each id. Spaces that are looked up
# together are no key (`|| ''`): by the index that begins with the space each would be looked up by itself.
_ROSTER = """
WITH listed AS MATERIALIZED (
    SELECT subject.subject_id COLLATE "C" AS subject_id, subject.id AS subject, subject.audit_key, reference.overridden,
           reference.id AS reference, (reference.quality->>'glasses')::float8 AS glasses
    FROM unnest(ARRAY(SELECT unnest(%(subject_ids)s::text[]))) AS asked(subject_id)
    CROSS JOIN LATERAL (
        SELECT id, subject_id, audit_key FROM ml_models_subject WHERE subject_id = asked.subject_id OFFSET 0
    ) subject
    CROSS JOIN LATERAL (
        SELECT id, overridden, quality FROM ml_models_reference WHERE subject_id = subject.id OFFSET 0
    ) reference
    ORDER BY 1
)
SELECT subject_id, subject::text, audit_key, overridden, reference::text, glasses{vectors}
FROM listed{members}
ORDER BY subject_id
"""
_REFERENCE, _LISTED = 4, 6
_VECTOR = ", member{n}.id::text, member{n}.vector"
_MEMBER = """
LEFT JOIN LATERAL (
    SELECT id, vector FROM ml_models_embedding
    WHERE reference_id = listed.reference AND space = %(space{n})s OFFSET 0
) member{n} ON true"""
_PRESENT = ", CASE WHEN others.present = cardinality(%(others)s::text[]) THEN true END"
_OTHERS = """
CROSS JOIN LATERAL (
    SELECT count(*) AS present FROM ml_models_embedding
    WHERE reference_id = listed.reference AND space || '' = ANY(%(others)s) OFFSET 0
) others"""
# Of references whose keys are known; each looked up by its key, as above.
_FURTHER = """
SELECT asked.reference::text, embedding.space, embedding.id::text, embedding.vector
FROM unnest(%(references)s::uuid[]) AS asked(reference)
CROSS JOIN LATERAL (
    SELECT id, space, vector FROM ml_models_embedding
    WHERE reference_id = asked.reference AND space || '' = ANY(%(spaces)s) OFFSET 0
) embedding
"""
_CHIPS = "SELECT id::text, chip FROM ml_models_reference WHERE id = ANY(%(references)s::uuid[])"

_Row = tuple[Any, ...]


class Candidate(NamedTuple):
    """Somebody who is searched; `row` is the subject's key as text, `references` are the keys of what is compared, the
    rest as in `selectors.Template`."""

    row: str
    subject_id: str
    audit_key: bytes | None
    overridden: bool
    references: tuple[str, ...]

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


def read(subject_ids: Sequence[str], config: EnsembleConfig, only: str | None = None) -> Roster:
    """The candidates among these subjects, in one query.

    Args:
        subject_ids: the host's, each once.
        only: the member whose vectors are read; of the others it is only seen that they are there. Of all members by
            default.

    Raises:
        CryptoError: a ciphertext does not open, or is another subject's: then nobody is searched.
        InferenceFailed: a vector is not of its member's dimension.
    """
    return reader(subject_ids, config, only)()


def reader(subject_ids: Sequence[str], config: EnsembleConfig, only: str | None = None) -> Callable[[], Roster]:
    """What reads them, as `read`, in any thread: with this thread's connection, which has to rest meanwhile."""
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    members = list(config.members.all())
    opened = [member for member in members if only in (None, member.artifact.name)]
    return partial(_read, database, subject_ids, opened, [member for member in members if member not in opened])


def completed(roster: Roster, near: NDArray[np.intp], config: EnsembleConfig) -> Roster:
    """Some candidates of a roster of which one member's vectors were read, with those of every member, in one query.

    Args:
        near: their places on the roster, in the order that they are wanted in.

    Returns: whoever of them still has a reference; anew where any vector is gone.

    Raises: as `read`.
    """
    templates, candidates = roster.templates.take(near), tuple(roster.candidates[place] for place in near)
    members = list(config.members.all())
    further = [member for member in members if member.artifact.name not in templates.embeddings]
    owners = {reference: candidate for candidate in candidates for reference in candidate.references}
    vectors = _further([member.space for member in further], owners)
    try:
        opened = [[vectors[reference, member.space] for reference in owners] for member in further]
    except KeyError:
        return read([candidate.subject_id for candidate in candidates], config)
    embeddings = {**templates.embeddings, **dict(map(_embeddings, further, opened))}
    faces = Faces(
        {member.artifact.name: embeddings[member.artifact.name] for member in members}, list(templates.glasses)
    )
    return Roster(candidates, Templates(faces, templates.starts), 0, 0)


def _further(spaces: Sequence[str], owners: Mapping[str, Candidate]) -> dict[tuple[str, str], bytes]:
    """The references' vectors in these spaces, by reference and space. Whose each reference is was proven by the vector
    that was read first."""
    database, opener = connections[DEFAULT_DB_ALIAS], crypto.VectorOpener()
    asked = {"references": list(owners), "spaces": list(spaces)}
    with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
        rows = cursor.execute(_FURTHER, asked, binary=True).fetchall()
    return {
        (reference, space): opener.open(
            key, reference, space, owners[reference].row, owners[reference].subject_id, vector
        )
        for reference, space, key, vector in rows
    }


def _read(
    database: BaseDatabaseWrapper,
    subject_ids: Sequence[str],
    members: Sequence[EnsembleMember],
    present: Sequence[EnsembleMember],
) -> Roster:
    reading = _Reading(members)
    query = _ROSTER.format(
        vectors="".join(_VECTOR.format(n=n) for n in range(len(members))) + (_PRESENT if present else ""),
        members="".join(_MEMBER.format(n=n) for n in range(len(members))) + (_OTHERS if present else ""),
    )
    spaces = {f"space{n}": member.space for n, member in enumerate(members)}
    asked = {**spaces, "others": [member.space for member in present], "subject_ids": list(subject_ids)}
    # Django's own cursor has every vector sent as hexadecimal text. After a stream libpq gives rows in pieces until the
    # next query outside a pipeline: the service has no pipelines
    with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
        stream = cursor.stream(query, asked, binary=True, size=_TOGETHER)
        with closing(cast(Generator[_Row], stream)) as rows:
            for subject_id, references in groupby(rows, key=itemgetter(0)):
                reading.add(subject_id, list(references))
            reading.open_waiting()
        if unbound := reading.opener.unbound:  # as `selectors.require_own_chips`
            chips = cursor.execute(_CHIPS, {"references": list(unbound)}, binary=True)
            for reference, chip in chips.fetchall():
                crypto.open_chip(reference, unbound[reference], chip)
    return reading.roster(len(subject_ids))


class _Reading:
    """The roster as far as it was read."""

    def __init__(self, members: Sequence[EnsembleMember]) -> None:
        self.opener = crypto.VectorOpener()
        self._members = members
        self._opened: list[list[bytes]] = [[] for _ in members]
        self._glasses: list[float | None] = []
        self._waiting: list[_Row] = []  # whose vectors are still to be opened
        self._candidates: list[Candidate] = []
        self._starts: list[int] = []
        self._enrolled = 0

    def add(self, subject_id: str, references: Sequence[_Row]) -> None:
        """One subject, with all of its references."""
        self._enrolled += 1
        complete = [row for row in references if None not in row[_LISTED:]]
        if not complete:
            return
        _, subject, audit_key, *_ = complete[0]
        overridden = any(overridden for _, _, _, overridden, *_ in references)
        own = tuple(row[_REFERENCE] for row in complete)
        self._candidates.append(Candidate(subject, subject_id, audit_key, overridden, own))
        self._starts.append(len(self._glasses) + len(self._waiting))
        self._waiting += complete
        if len(self._waiting) >= _TOGETHER:
            self.open_waiting()

    def open_waiting(self) -> None:
        if not self._waiting:
            return
        # by columns: a loop over the vectors takes a third as long as the cipher
        subject_ids, subjects, _, _, references, glasses, *stored = zip(*self._waiting, strict=True)
        self._waiting.clear()
        self._glasses += glasses
        vectors_of = 2 * len(self._members)  # what comes after says that the other members' are there
        columns = zip(self._members, self._opened, stored[:vectors_of:2], stored[1:vectors_of:2], strict=True)
        for member, opened, keys, vectors in columns:
            opened += map(self.opener.open, keys, references, repeat(member.space), subjects, subject_ids, vectors)

    def roster(self, asked: int) -> Roster:
        faces = Faces(dict(map(_embeddings, self._members, self._opened)), self._glasses)
        return Roster(
            tuple(self._candidates),
            Templates(faces, np.array(self._starts, np.intp)),
            asked - self._enrolled,
            self._enrolled - len(self._candidates),
        )


def _embeddings(member: EnsembleMember, opened: Sequence[bytes]) -> tuple[str, Embeddings]:
    dimension = int(member.artifact.contract["dimension"])
    if any(len(vector) != 4 * dimension for vector in opened):
        raise InferenceFailed(f"{member.artifact.name}: a stored vector has not {dimension} numbers.")
    features = np.frombuffer(b"".join(opened), "<f4").reshape(-1, dimension)
    return member.artifact.name, Embeddings.of_features(features)
