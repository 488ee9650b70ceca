"""Embeddings that no version needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from .. import selectors
from ..models import Embedding, EnsembleConfig
from ..versions import locks
from .backfill import spaces_of

# Rows deleted under one lock: some 50 ms, for which a change of version waits.
BATCH = 1000


def unneeded() -> QuerySet[Embedding]:
    """Embeddings in spaces of no version that is served, warm, or validated and so about to be served."""
    return Embedding.objects.filter(space__in=_unneeded_spaces())


def purge(limit: int = BATCH) -> Iterator[int]:
    """Delete what is unneeded, so many rows a step; yields how many each step deleted.

    A row that somebody else holds, an erasure say, is left to a later run: neither waits for the other.
    """
    for space in _unneeded_spaces():
        after: UUID | None = UUID(int=0)
        while after is not None:
            deleted, after = _delete_some(space, after, limit)
            yield deleted


def _delete_some(space: str, after: UUID, limit: int) -> tuple[int, UUID | None]:
    """Delete the space's next rows. Returns: how many, and the reference to go on after; None at the end."""
    with transaction.atomic():
        locks.share_versions()  # no version becomes needed while we decide
        if space in _needed_spaces():
            return 0, None
        rows = Embedding.objects.select_for_update(skip_locked=True).filter(space=space, reference__gt=after)
        batch = list(rows.order_by("reference").values_list("pk", "reference")[:limit])
        Embedding.objects.filter(pk__in=[pk for pk, _ in batch]).delete()
    return len(batch), batch[-1][1] if batch else None


def _unneeded_spaces() -> list[str]:
    needed = _needed_spaces()
    return [space for space in _stored_spaces() if space not in needed]


def _needed_spaces() -> set[str]:
    needed = [*selectors.served_configs(), *selectors.configs().filter(state=EnsembleConfig.State.VALIDATED)]
    return {space for config in needed for space in spaces_of(config)}


def _stored_spaces() -> Iterator[str]:
    """Every space that has an embedding: from one to the next in the index, since a DISTINCT would read every row."""
    stored = Embedding.objects.order_by("space").values_list("space", flat=True)
    space = stored.first()
    while space is not None:
        yield space
        space = stored.filter(space__gt=space).first()
