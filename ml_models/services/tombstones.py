"""What was erased, carried past a backup: exported as lines of keyed hashes, replayed where the erased came back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import models

from .. import crypto
from ..exceptions import InvalidRequest
from ..models import Erasure, Reference, Subject
from .erasure import erase_made_before, erase_reference_again

_FORMAT = 1
# rows read, or written, at once
_BATCH = 2000


def export(since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """The tombstones as lines of a file, oldest first, behind a line that names the keys of their hashes.

    Args:
        since: only those from then on.
    """
    yield {"format": _FORMAT, "keys": crypto.key_marks()}
    rows = Erasure.objects.order_by("at", "pk")
    for row in (rows.filter(at__gte=since) if since else rows).iterator(_BATCH):
        kind = {"subject": row.subject_hash} if row.subject_hash else {"reference": row.reference_hash}
        yield {**kind, "references": row.references, "at": row.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many subjects' rows and references were erased again, and how many tombstones were new to this database."""

    subjects: int
    references: int
    tombstones: int


@dataclass(slots=True)
class _Tombstones:
    """The latest time by hash, of subjects and of references; and the rows."""

    subjects: dict[str, datetime] = field(default_factory=dict)
    references: dict[str, datetime] = field(default_factory=dict)
    rows: list[Erasure] = field(default_factory=list)


def replay(lines: Iterable[str], report: Callable[[int, int], None]) -> Replayed:
    """Erase again what the lines of an export say was erased, where it was made before; a second time does nothing.

    Args:
        lines: of one export.
        report: called with (rows looked at, rows in all).

    Raises:
        InvalidRequest: a line is not one of an export, or a key of the hashes is not in this keyset; nothing is erased.
    """
    tombstones = _read(lines)
    total = Subject.objects.count() + (Reference.objects.count() if tombstones.references else 0)
    done, subjects, references = 0, 0, 0
    for pk, subject_id in _pairs(Subject.objects.all(), "subject_id"):
        if at := _latest(tombstones.subjects, crypto.subject_hashes(subject_id)):
            references += erase_made_before(pk, at)
            subjects += not Subject.objects.filter(pk=pk).exists()
        report(done := done + 1, total)
    if tombstones.references:
        for pk, _ in _pairs(Reference.objects.all(), "id"):
            if _latest(tombstones.references, crypto.reference_hashes(pk)):
                references += erase_reference_again(pk)
            report(done := done + 1, total)
    return Replayed(subjects, references, _keep(tombstones.rows))


def _pairs(rows: models.QuerySet[Any], field: str) -> Iterator[tuple[Any, Any]]:
    return rows.order_by("pk").values_list("pk", field).iterator(_BATCH)


def _latest(by_hash: Mapping[str, datetime], hashes: Iterable[str]) -> datetime | None:
    return max((by_hash[hashed] for hashed in hashes if hashed in by_hash), default=None)


def _read(lines: Iterable[str]) -> _Tombstones:
    tombstones = _Tombstones()
    numbered = enumerate(lines, 1)
    _, head = next(numbered, (1, ""))
    _require_keys(head)
    for number, line in numbered:
        try:
            row = _tombstone(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidRequest(f"Line {number} is no tombstone. Nothing was erased: export again.") from error
        by_hash = tombstones.subjects if row.subject_hash else tombstones.references
        hashed = row.subject_hash or row.reference_hash
        by_hash[hashed] = max(row.at, by_hash.get(hashed, row.at))
        tombstones.rows.append(row)
    return tombstones


def _tombstone(line: dict[str, Any]) -> Erasure:
    at, references = datetime.fromisoformat(line["at"]), int(line["references"])
    hashes = {f"{kind}_hash": line[kind] for kind in ("subject", "reference") if kind in line}
    if at.tzinfo is None or len(hashes) != 1 or any(len(bytes.fromhex(hashed)) != 32 for hashed in hashes.values()):
        raise ValueError("no time with its zone, or not one hash")
    return Erasure(at=at, references=references, **hashes)


def _require_keys(head: str) -> None:
    """Or hashes made with a key that is not here would match nobody, and nobody would notice."""
    try:
        data = json.loads(head)
        marks = dict(data["keys"]) if data["format"] == _FORMAT else {}
    except (ValueError, TypeError, KeyError):
        marks = {}
    if not marks:
        raise InvalidRequest("The first line is not that of `erasures export`. Nothing was erased.")
    present = crypto.key_marks()
    if lost := sorted(key_id for key_id, mark in marks.items() if present.get(key_id) != mark):
        raise InvalidRequest(
            f"The hashes were made with the keys {', '.join(lost)}, which this keyset does not hold. Nothing was "
            "erased: put them back into the keyset, then replay."
        )


def _keep(rows: list[Erasure]) -> int:
    """Write down the tombstones that this database does not have. Returns: how many."""
    if not rows:
        return 0
    since = Erasure.objects.filter(at__gte=min(row.at for row in rows))
    present = set(since.values_list("subject_hash", "reference_hash", "at"))
    new = {(row.subject_hash, row.reference_hash, row.at): row for row in rows}
    added = [row for key, row in new.items() if key not in present]
    Erasure.objects.bulk_create(added, batch_size=_BATCH)
    return len(added)
