"""Embeddings that no version needs any more."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet

from .. import selectors
from ..models import Embedding, EnsembleConfig
from ..versions import locks
from .backfill import spaces_of


def unneeded() -> QuerySet[Embedding]:
    """Embeddings in spaces of no version that is served, warm, or validated and so about to be served."""
    needed = [*selectors.served_configs(), *selectors.configs().filter(state=EnsembleConfig.State.VALIDATED)]
    return Embedding.objects.exclude(space__in={space for config in needed for space in spaces_of(config)})


def purge_some(limit: int = 5000) -> int:
    """Delete some of what is unneeded; returns how many. Few at a time, so that nobody waits for the lock."""
    with transaction.atomic():
        locks.share_versions()  # no version becomes needed while we decide
        return int(Embedding.objects.filter(pk__in=list(unneeded().values_list("pk", flat=True)[:limit])).delete()[0])
