"""What is kept of past attempts for so long and no longer."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.functions import Now

from .. import conf
from ..models import Challenge, Identification, KeptAnswer, ShadowScore, Verification

# Tables whose rows go by their `at`; what points to another one stands before it.
EXPIRING: tuple[type[Model], ...] = (ShadowScore, Verification, Identification)
# a challenge says nothing once it is too late; so long somebody may still be told that it is
_CHALLENGES = timedelta(hours=1)
# Rows deleted in one transaction, and the seconds after which a run leaves the rest to the next: a worker has faces to
# embed, too.
BATCH = 1000
MOST_S = 20.0


def remove_expired() -> int:
    """Delete rows older than RETENTION_DAYS, old challenges, and answers kept long enough, in short transactions.
    Returns: how many; a later run does the rest."""
    days = conf.get("RETENTION_DAYS") or 0
    expired: list[QuerySet[Any]] = [
        KeptAnswer.objects.filter(expires_at__lt=Now()).order_by("expires_at"),
        _older(Challenge, _CHALLENGES),
    ]
    if days > 0:  # `check` refuses less, and not everybody asks it
        expired += [_older(table, timedelta(days=days)) for table in EXPIRING]
    until, removed = time.monotonic() + MOST_S, 0
    for rows in expired:
        while time.monotonic() < until and (count := _remove_some(rows)):
            removed += count
    return removed


def _older(table: type[Any], age: timedelta) -> QuerySet[Any]:
    rows: QuerySet[Any] = table.objects.filter(at__lt=Now() - age).order_by("at")
    return rows


def _remove_some(rows: QuerySet[Any]) -> int:
    with transaction.atomic():
        # skip locked: two runs side by side share the work, neither waits
        batch = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
        rows.model._default_manager.filter(pk__in=batch).delete()
    return len(batch)
