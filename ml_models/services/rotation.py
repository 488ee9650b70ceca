"""Re-encrypt what older keys have encrypted. Readers need no pause: every ciphertext names its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.db.models import BinaryField, F, Func, QuerySet, Value

from .. import crypto
from ..exceptions import CryptoError
from ..models import Embedding, Reference

# rows held in memory at once; a chip has some 20 kB
_BATCH = 200

_Rows = QuerySet[Any]


def _stale(rows: _Rows, field: str) -> _Rows:
    head = crypto.header(crypto.provider().primary)
    start = Func(F(field), Value(1), Value(len(head)), function="substring", output_field=BinaryField())
    stale: _Rows = rows.annotate(head=start).exclude(head=head).order_by("pk")
    return stale


def stale_references() -> QuerySet[Reference]:
    return _stale(Reference.objects.all(), "chip")


def stale_embeddings() -> QuerySet[Embedding]:
    return _stale(Embedding.objects.all(), "vector")


def rotate(report: Callable[[int, int], None]) -> tuple[int, list[str]]:
    """Bring every chip and vector under the primary key.

    Stopped at any point it has lost nothing, and begun again it does what is left. Each row is written by itself,
    if it is still there: a batch in one transaction could wait for an erasure that waits for it.

    Args:
        report: called with (rows done, rows in all).

    Returns: how many rows were written, and the rows that no key opens, as "table id".
    """
    total = stale_references().count() + stale_embeddings().count()
    done, unreadable = 0, []
    kinds: tuple[tuple[_Rows, Callable[[Any], int]], ...] = (
        (stale_references(), _reseal_reference),
        (stale_embeddings(), _reseal_embedding),
    )
    for rows, reseal in kinds:
        for row in in_batches(rows):
            try:
                done += reseal(row)
            except CryptoError:
                unreadable.append(f"{row._meta.model_name} {row.pk}")
            report(done, total)
    return done, unreadable


def in_batches(rows: _Rows) -> Iterator[Any]:
    last = UUID(int=0)
    while batch := list(rows.filter(pk__gt=last)[:_BATCH]):
        yield from batch
        last = batch[-1].pk


def _reseal_reference(row: Reference) -> int:
    new = crypto.seal_chip(row.pk, row.subject_id, crypto.open_chip(row.pk, row.subject_id, bytes(row.chip)))
    return Reference.objects.filter(pk=row.pk).update(chip=new)


def _reseal_embedding(row: Embedding) -> int:
    vector = crypto.open_vector(row.pk, row.reference_id, row.space, bytes(row.vector))
    new = crypto.seal_vector(row.pk, row.reference_id, row.space, vector)
    return Embedding.objects.filter(pk=row.pk).update(vector=new)
