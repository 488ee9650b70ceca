"""Which references are handed to workers: chunks, leased in the database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from uuid import UUID

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from .. import conf
from ..models import EnsembleConfig, Reference, Rollout, RolloutChunk, RolloutFailure
from . import backfill, processes

logger = logging.getLogger(__name__)

# A chunk's target duration; `backfill` stops one after twice that.
CHUNK_S = 10.0
FIRST_CHUNK = 8
_MAX_CHUNK = 500
# What failed for a reason that may pass is tried again so much later, RolloutFailure.MAX_TRIES times in all.
RETRY_AFTER = timedelta(seconds=30)
# What is owed is looked for among so many references a tick: a sweep over ten million takes 500 ticks.
SWEEP = 20_000
# Whoever begins a chunk so often without coming to its end is killed by it.
MAX_ATTEMPTS = 5


def owing() -> list[UUID]:
    """The rollouts under which owed embeddings are made: of each active or warm version the last that completed."""
    complete = Rollout.objects.filter(backfill.embedding(), state=Rollout.State.COMPLETE)
    return list(complete.order_by("config_id", "-finished_at").distinct("config_id").values_list("pk", flat=True))


def hand_out(rollout: Rollout, config: EnsembleConfig) -> list[UUID]:
    """Lease expired chunks again and new ones, as many as may be in flight. Returns the chunks to tell workers of.

    The caller holds the rollout's row, in a transaction, so that nothing is handed out twice.
    """
    backfill.look_keys_up()
    chunks = RolloutChunk.objects.filter(rollout=rollout)
    expired = list(chunks.filter(leased_until__lt=Now()).select_for_update(skip_locked=True))
    chunks.filter(pk__in=[c.pk for c in expired]).update(leased_until=Now() + backfill.LEASE)
    leased = [chunk.pk for chunk in expired]
    room = max(conf.get("CHUNKS_IN_FLIGHT"), 2 * processes.workers()) - chunks.count()
    for references in islice(_new_chunks(rollout, config), max(room, 0)):
        chunk = RolloutChunk.objects.create(rollout=rollout, references=references, leased_until=Now() + backfill.LEASE)
        leased.append(chunk.pk)
    return leased


def _new_chunks(rollout: Rollout, config: EnsembleConfig) -> Iterator[list[UUID]]:
    """References for one chunk after the other, from where the rollout's cursor stands."""
    pace = rollout.seconds_per_reference
    size = FIRST_CHUNK if not pace else max(1, min(_MAX_CHUNK, round(CHUNK_S / pace)))
    if rollout.state == Rollout.State.EMBEDDING:
        # these first: a network that fails on everybody is to stop the rollout soon
        while references := _due(rollout, size) or _next(rollout, config, size):
            yield references
    elif not rollout.chunks.exists():  # or the sweep would hand out again what is in flight
        yield from _sweep(rollout, config, size)


def _due(rollout: Rollout, size: int) -> list[UUID]:
    """References that failed a while ago for a reason that may have passed."""
    in_flight = {pk for references in rollout.chunks.values_list("references", flat=True) for pk in references}
    failed = rollout.failures.exclude(RolloutFailure.GIVEN_UP).exclude(reference__in=in_flight)
    due = failed.filter(at__lte=Now() - RETRY_AFTER).order_by("at", "pk")
    return list(due.values_list("reference", flat=True)[:size])


def _next(rollout: Rollout, config: EnsembleConfig, size: int) -> list[UUID]:
    failed = RolloutFailure.objects.filter(rollout=rollout, reference=OuterRef("pk"))
    left = backfill.incomplete(config).filter(~Exists(failed)).values_list("pk", flat=True)
    references = list(left.filter(pk__gt=rollout.cursor)[:size]) if rollout.cursor else []
    # from the first on; and past the end again, for what a vanished chunk left behind, but only when none is in flight
    again = not references and not rollout.chunks.exists()
    if again and backfill.count_missing(config, rollout):  # a count costs a tenth of looking each one up
        references = list(left[:size])
    if references:
        _move_cursor(rollout, references[-1])
    return references


def _sweep(rollout: Rollout, config: EnsembleConfig, size: int) -> Iterator[list[UUID]]:
    """What is missing among the next references, few of which lack anything; past the last one from the first again."""
    after = {"gt": rollout.cursor} if rollout.cursor else {}
    keys = Reference.objects.filter(**{f"pk__{lookup}": key for lookup, key in after.items()}).order_by("pk")
    last = list(keys.values_list("pk", flat=True)[SWEEP - 1 : SWEEP])
    bounds = after | ({"lte": last[0]} if last else {})
    if backfill.count_missing(config, rollout, bounds):  # a count costs a tenth of looking each one up
        resting = RolloutFailure.GIVEN_UP | Q(at__gt=Now() - RETRY_AFTER)
        failed = RolloutFailure.objects.filter(resting, rollout=rollout, reference=OuterRef("pk"))
        left = backfill.incomplete(config).filter(~Exists(failed)).values_list("pk", flat=True)
        within = left.filter(pk__lte=last[0]) if last else left
        while references := list((within.filter(pk__gt=rollout.cursor) if rollout.cursor else within)[:size]):
            _move_cursor(rollout, references[-1])
            yield references
    _move_cursor(rollout, last[0] if last else None)


def _move_cursor(rollout: Rollout, cursor: UUID | None) -> None:
    if rollout.cursor != cursor:
        rollout.cursor = cursor
        Rollout.objects.filter(pk=rollout.pk).update(cursor=cursor)


def deadly(rollout: Rollout) -> RolloutChunk | None:
    """A chunk that was begun again and again and never done, in nobody's hands now."""
    return rollout.chunks.filter(attempts__gte=MAX_ATTEMPTS, leased_until__lt=Now()).first()


def give_up_deadly(rollout: Rollout, config: EnsembleConfig) -> None:
    """Keep what such a chunk lacks as failures, so that the other references are embedded."""
    if chunk := deadly(rollout):
        lost = backfill.incomplete(config).filter(pk__in=chunk.references)
        failures = [RolloutFailure(rollout=rollout, reference=reference, code="worker_lost") for reference in lost]
        RolloutFailure.objects.bulk_create(failures, ignore_conflicts=True)
        chunk.delete()
        logger.error("rollout %s: workers were lost over %d references, which are given up", rollout.pk, len(failures))
