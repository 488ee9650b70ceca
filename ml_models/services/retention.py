"""What is kept of past attempts for so long and no longer."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.db.models.functions import Now

from .. import conf
from ..models import Challenge, Identification, ShadowScore, Verification

# Tables whose rows go by their `at`; what points to another one stands before it.
EXPIRING: tuple[type[Model], ...] = (ShadowScore, Verification, Identification)
# a challenge says nothing once it is too late; so long somebody may still be told that it is
_CHALLENGES = timedelta(hours=1)
# Rows deleted in one transaction, and the seconds after which a run leaves the rest to the next: a worker has faces to
# embed, too.
BATCH = 1000
MOST_S = 20.0


def remove_expired() -> int:
    """Delete rows older than RETENTION_DAYS, and old challenges, in short transactions. Returns: how many; a later run
    does the rest."""
    days = conf.get("RETENTION_DAYS")
    ages: list[tuple[type[Model], timedelta]] = [(Challenge, _CHALLENGES)]
    if days:
        ages += [(table, timedelta(days=days)) for table in EXPIRING]
    until, removed = time.monotonic() + MOST_S, 0
    for table, age in ages:
        while time.monotonic() < until and (count := _remove_some(table, age)):
            removed += count
    return removed


def _remove_some(table: type[Any], age: timedelta) -> int:
    with transaction.atomic():
        # skip locked: two runs side by side share the work, neither waits
        expired = table.objects.select_for_update(skip_locked=True).filter(at__lt=Now() - age).order_by("at")
        batch = list(expired.values_list("pk", flat=True)[:BATCH])
        table.objects.filter(pk__in=batch).delete()
    return len(batch)
