"""Re-encrypt what older keys have encrypted, or what is not bound to its subject yet. Readers need no pause: every
ciphertext names its key and its version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.db.models import BinaryField, F, Func, QuerySet, Value

from .. import crypto
from ..exceptions import CryptoError
from ..models import AuditKey, Embedding, Reference
from . import audit
from .callers import NOBODY, Caller

# rows held in memory at once; a chip has some 20 kB
_BATCH = 200

_Rows = QuerySet[Any]


def _stale(rows: _Rows, field: str, head: bytes | None = None) -> _Rows:
    head = head or crypto.header(crypto.provider().primary)
    start = Func(F(field), Value(1), Value(len(head)), function="substring", output_field=BinaryField())
    stale: _Rows = rows.annotate(head=start).exclude(head=head).order_by("pk")
    return stale


def stale_references() -> QuerySet[Reference]:
    return _stale(Reference.objects.select_related("subject"), "chip")


def stale_embeddings() -> QuerySet[Embedding]:
    return _stale(Embedding.objects.select_related("reference__subject").defer("reference__chip"), "vector")


def stale_audit_keys() -> QuerySet[AuditKey]:
    """These are no subject's, so that BINDING does not matter to them."""
    return _stale(AuditKey.objects.all(), "sealed", crypto.header(crypto.provider().primary, crypto.BOUND))


def left() -> int:
    """How many rows are still to be rotated."""
    return stale_references().count() + stale_embeddings().count() + stale_audit_keys().count()


def rotate(report: Callable[[int, int], None], caller: Caller = NOBODY) -> tuple[int, list[str]]:
    """Bring every chip and vector under the primary key, and bind it to its subject; and the keys of the audit chain.

    Stopped at any point it has lost nothing, and begun again it does what is left. Each row is written by itself,
    if it is still there: a batch in one transaction could wait for an erasure that waits for it.

    Args:
        report: called with (rows done, rows in all).

    Returns: how many rows were written, and the rows that no key opens, as "table id".
    """
    total = left()
    done, unreadable = 0, []
    kinds: tuple[tuple[_Rows, Callable[[Any], int]], ...] = (
        (stale_references(), _reseal_reference),
        (stale_embeddings(), _reseal_embedding),
        (stale_audit_keys(), _reseal_audit_key),
    )
    try:
        for rows, reseal in kinds:
            for row in in_batches(rows):
                try:
                    done += reseal(row)
                except CryptoError:
                    unreadable.append(f"{row._meta.model_name} {row.pk}")
                report(done, total)
    finally:  # a run that is stopped has rotated, too
        if done or unreadable:
            primary = crypto.provider().primary
            audit.record(audit.Kind.ROTATE_KEYS, caller, primary=primary, rotated=done, unreadable=len(unreadable))
    return done, unreadable


def in_batches(rows: _Rows) -> Iterator[Any]:
    last = UUID(int=0)
    while batch := list(rows.filter(pk__gt=last)[:_BATCH]):
        yield from batch
        last = batch[-1].pk


def _reseal_reference(row: Reference) -> int:
    owner = _owner(row)
    new = crypto.seal_chip(row.pk, owner, crypto.open_chip(row.pk, owner, bytes(row.chip)))
    return Reference.objects.filter(pk=row.pk).update(chip=new)


def _reseal_embedding(row: Embedding) -> int:
    reference, data = row.reference, bytes(row.vector)
    owner = _owner(reference)
    if crypto.is_unbound(data):
        # or the vectors of a reference that was moved to another subject would be bound to that one for good
        crypto.open_chip(reference.pk, owner, bytes(reference.chip))
    vector = crypto.open_vector(row.pk, reference.pk, row.space, owner, data)
    new = crypto.seal_vector(row.pk, reference.pk, row.space, owner, vector)
    return Embedding.objects.filter(pk=row.pk).update(vector=new)


def _reseal_audit_key(row: AuditKey) -> int:
    new = crypto.seal_audit_key(row.pk, crypto.open_audit_key(row.pk, bytes(row.sealed)))
    return AuditKey.objects.filter(pk=row.pk).update(sealed=new)


def _owner(reference: Reference) -> crypto.Owner:
    return crypto.Owner(reference.subject_id, reference.subject.subject_id)
