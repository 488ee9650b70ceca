"""Embedding what a version lacks: chunks of references, leased in the database, done by any worker.

Missing rows are the truth and the queue carries hints: a lost message, a killed or frozen worker costs at most the
chunks in hand, which are leased again once they expire. Doing a chunk twice stores nothing twice.

A version that is embedded for after its rollout (active, or warm) lacks what was enrolled where its networks were not
loaded. That is owed: embedded in the same way, under the rollout that made the version active.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef, Prefetch, Q, QuerySet
from django.db.models.functions import Now

from .. import conf, crypto, runtime, selectors
from ..engine.align import decode_chip
from ..engine.errors import EngineError
from ..engine.pipeline import chip_crop
from ..exceptions import CryptoError, NotReady
from ..models import Embedding, EnsembleConfig, Reference, Rollout, RolloutChunk, RolloutFailure
from ..services.embeddings import embed_crop, sealed
from . import processes

logger = logging.getLogger(__name__)

# Chunk ≤ 20 s < lease 60 s < the broker's visibility timeout 120 s: the database decides who works on what.
_CHUNK_S = 10.0
_CHUNK_MAX_S = 20.0
_LEASE = timedelta(seconds=60)
_FIRST_CHUNK = 8
_MAX_CHUNK = 500
# Few references at a time, so that memory stays flat and an abort is noticed soon.
_BATCH = 8
# What failed for a reason that may pass is tried again so much later, RolloutFailure.MAX_TRIES times in all.
_RETRY_AFTER = timedelta(seconds=30)
# What is owed is looked for among so many references a tick: a sweep over ten million takes fifty ticks.
_SWEEP = 200_000
# Whoever begins a chunk so often without coming to its end is killed by it.
_MAX_ATTEMPTS = 5


def spaces_of(config: EnsembleConfig) -> set[str]:
    return {member.space for member in config.members.all()}


def count_missing(config: EnsembleConfig, leaving_out: Rollout | None = None) -> int:
    """How many (reference, space) pairs the version lacks, without the references that a rollout gave up on."""
    spaces = spaces_of(config)
    references = Reference.objects.all()
    present = Embedding.objects.filter(space__in=spaces)
    if leaving_out is not None:
        failed = leaving_out.failures.filter(RolloutFailure.GIVEN_UP).values("reference")
        references, present = references.exclude(pk__in=failed), present.exclude(reference__in=failed)
    return int(references.count() * len(spaces) - present.count())


def incomplete(config: EnsembleConfig) -> QuerySet[Reference]:
    """References that lack a space, by index look-ups only, in the order of their keys."""
    lacks = Q()
    for space in sorted(spaces_of(config)):
        lacks |= Q(~Exists(Embedding.objects.filter(reference=OuterRef("pk"), space=space)))
    return Reference.objects.filter(lacks).order_by("pk")


def embedding() -> Q:
    """Rollouts whose version workers embed for now."""
    served = EnsembleConfig.objects.filter(Q(state=EnsembleConfig.State.ACTIVE) | selectors.warm())
    return Q(state__in=Rollout.EMBEDS) | Q(state=Rollout.State.COMPLETE, config__in=served)


def owing() -> list[UUID]:
    """The rollouts under which owed embeddings are made: of each active or warm version the last that completed."""
    complete = Rollout.objects.filter(embedding(), state=Rollout.State.COMPLETE)
    return list(complete.order_by("config_id", "-finished_at").distinct("config_id").values_list("pk", flat=True))


def hand_out(rollout: Rollout, config: EnsembleConfig) -> list[UUID]:
    """Lease expired chunks again and new ones, as many as may be in flight. Returns the chunks to tell workers of.

    The caller holds the rollout's row, in a transaction, so that nothing is handed out twice.
    """
    with connection.cursor() as cursor:
        # or PostgreSQL hashes all of a space where looking up the keys of one chunk would do
        cursor.execute("SET LOCAL work_mem = '64kB'")
    chunks = RolloutChunk.objects.filter(rollout=rollout)
    expired = list(chunks.filter(leased_until__lt=Now()).select_for_update(skip_locked=True))
    chunks.filter(pk__in=[c.pk for c in expired]).update(leased_until=Now() + _LEASE)
    leased = [chunk.pk for chunk in expired]
    room = max(conf.get("CHUNKS_IN_FLIGHT"), 2 * processes.workers()) - chunks.count()
    for references in islice(_new_chunks(rollout, config), max(room, 0)):
        chunk = RolloutChunk.objects.create(rollout=rollout, references=references, leased_until=Now() + _LEASE)
        leased.append(chunk.pk)
    return leased


def _new_chunks(rollout: Rollout, config: EnsembleConfig) -> Iterator[list[UUID]]:
    """References for one chunk after the other, from where the rollout's cursor stands."""
    pace = rollout.seconds_per_reference
    size = _FIRST_CHUNK if not pace else max(1, min(_MAX_CHUNK, round(_CHUNK_S / pace)))
    failed = RolloutFailure.objects.filter(rollout=rollout, reference=OuterRef("pk"))
    left = incomplete(config).values_list("pk", flat=True)
    if rollout.state == Rollout.State.EMBEDDING:
        # these first: a network that fails on everybody is to stop the rollout soon
        while references := _due(rollout, size) or _next(rollout, left.filter(~Exists(failed)), size):
            yield references
    elif not rollout.chunks.exists():  # or the sweep would hand out again what is in flight
        resting = failed.filter(RolloutFailure.GIVEN_UP | Q(at__gt=Now() - _RETRY_AFTER))
        yield from _sweep(rollout, left.filter(~Exists(resting)), size)


def _due(rollout: Rollout, size: int) -> list[UUID]:
    """References that failed a while ago for a reason that may have passed."""
    in_flight = {pk for references in rollout.chunks.values_list("references", flat=True) for pk in references}
    failed = rollout.failures.exclude(RolloutFailure.GIVEN_UP).exclude(reference__in=in_flight)
    due = failed.filter(at__lte=Now() - _RETRY_AFTER).order_by("at", "pk")
    return list(due.values_list("reference", flat=True)[:size])


def _next(rollout: Rollout, left: QuerySet[Reference, UUID], size: int) -> list[UUID]:
    references = list(left.filter(pk__gt=rollout.cursor)[:size] if rollout.cursor else left[:size])
    # past the end: begin again, for what a vanished chunk left behind, but only when no chunk is in flight
    if not references and rollout.cursor and not rollout.chunks.exists():
        references = list(left[:size])
    if references:
        _move_cursor(rollout, references[-1])
    return references


def _sweep(rollout: Rollout, left: QuerySet[Reference, UUID], size: int) -> Iterator[list[UUID]]:
    """What is missing among the next references, few of which lack anything; past the last one from the first again."""
    ahead = Q(pk__gt=rollout.cursor) if rollout.cursor else Q()
    keys = Reference.objects.filter(ahead).order_by("pk").values_list("pk", flat=True)
    last = list(keys[_SWEEP - 1 : _SWEEP])
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
    return rollout.chunks.filter(attempts__gte=_MAX_ATTEMPTS, leased_until__lt=Now()).first()


def give_up_deadly(rollout: Rollout, config: EnsembleConfig) -> None:
    """Keep what such a chunk lacks as failures, so that the other references are embedded."""
    if chunk := deadly(rollout):
        lost = incomplete(config).filter(pk__in=chunk.references)
        failures = [RolloutFailure(rollout=rollout, reference=reference, code="worker_lost") for reference in lost]
        RolloutFailure.objects.bulk_create(failures, ignore_conflicts=True)
        chunk.delete()
        logger.error("rollout %s: workers were lost over %d references, which are given up", rollout.pk, len(failures))


def embed_chunk(chunk_id: UUID) -> bool:
    """Embed a chunk's references that still lack a space; says whether it came to the chunk's end.

    A chunk that is done, or whose version is not embedded for any more, is left alone.

    Raises:
        NotReady: this process cannot load the version's networks now; the chunk is anybody's again.
        OperationalError, InterfaceError: the database does not answer; so is it then.
    """
    chunk = _claim(chunk_id)
    if chunk is None:
        return True
    config = selectors.configs().get(pk=chunk.rollout.config_id)
    try:
        _ensure_loaded(config)
        return _work_through(chunk, config)
    except (NotReady, OperationalError, InterfaceError):
        # a network was let go of, or the database hiccuped: not the references' fault, and neither the workers'
        with suppress(OperationalError, InterfaceError):  # then the chunk's lease ends by itself
            _give_back(chunk)
        raise


def _work_through(chunk: RolloutChunk, config: EnsembleConfig) -> bool:
    began = time.monotonic()
    left = list(chunk.references)
    done = 0
    while left and time.monotonic() - began < _CHUNK_MAX_S:
        if not Rollout.objects.filter(embedding(), pk=chunk.rollout_id).exists():
            return True
        batch, left = left[:_BATCH], left[_BATCH:]
        _embed_batch(chunk.rollout, config, batch)
        done += len(batch)
    pace = (time.monotonic() - began) / max(done, 1)
    Rollout.objects.filter(pk=chunk.rollout_id).update(seconds_per_reference=pace, refusals=0)
    if left:  # slower than thought: the rest is anybody's
        RolloutChunk.objects.filter(pk=chunk.pk).update(references=left, leased_until=Now(), attempts=0)
        return False
    RolloutChunk.objects.filter(pk=chunk.pk).delete()
    return True


def _claim(chunk_id: UUID) -> RolloutChunk | None:
    with transaction.atomic():
        chunk = (
            RolloutChunk.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("rollout")
            .filter(pk=chunk_id, rollout__in=Rollout.objects.filter(embedding()))
            .first()
        )
        if chunk:
            # counted before the work: whatever kills this process cannot take it back
            RolloutChunk.objects.filter(pk=chunk.pk).update(leased_until=Now() + _LEASE, attempts=F("attempts") + 1)
        return chunk


def _give_back(chunk: RolloutChunk) -> None:
    """Not begun after all; how often that happens in a row is kept with the rollout."""
    RolloutChunk.objects.filter(pk=chunk.pk, attempts__gt=0).update(leased_until=Now(), attempts=F("attempts") - 1)
    Rollout.objects.filter(pk=chunk.rollout_id).update(refusals=F("refusals") + 1)


def _ensure_loaded(config: EnsembleConfig) -> None:
    for member in config.members.all():
        try:
            runtime.model(member.artifact)
        except NotReady:
            runtime.refresh()
            runtime.model(member.artifact)


def _embed_batch(rollout: Rollout, config: EnsembleConfig, references: Iterable[UUID]) -> None:
    rows, failures = [], []
    present = Embedding.objects.filter(space__in=spaces_of(config)).defer("vector")
    loaded = Reference.objects.filter(pk__in=list(references)).prefetch_related(Prefetch("embeddings", present))
    for reference in loaded:
        try:
            rows += _vectors(config, reference)
        # whatever one reference does must not stop the others; the code says what it was
        except (CryptoError, EngineError) as error:
            failures.append(RolloutFailure(rollout=rollout, reference=reference, code=error.code))
        except ValueError:
            failures.append(RolloutFailure(rollout=rollout, reference=reference, code="unreadable_chip"))
    subjects = {reference.pk: reference.subject_id for reference in loaded}
    with transaction.atomic():
        held = _hold(subjects)
        Embedding.objects.bulk_create([row for row in rows if row.reference_id in held], ignore_conflicts=True)
        _keep(rollout, [failure for failure in failures if failure.reference_id in held], held)
    if failures:
        logger.warning("rollout %s: %d references could not be embedded", rollout.pk, len(failures))


def _keep(rollout: Rollout, failures: list[RolloutFailure], tried: set[UUID]) -> None:
    """Count one more try for each failure, and forget those of references that came through this time."""
    before = rollout.failures.filter(reference__in=tried)
    failed = {failure.reference_id for failure in failures}
    before.exclude(reference__in=failed).delete()
    again = set(before.values_list("reference", flat=True))
    for failure in failures:
        if failure.reference_id in again:
            before.filter(reference=failure.reference_id).update(code=failure.code, tries=F("tries") + 1, at=Now())
    RolloutFailure.objects.bulk_create([f for f in failures if f.reference_id not in again], ignore_conflicts=True)


def _vectors(config: EnsembleConfig, reference: Reference) -> list[Embedding]:
    present = {embedding.space for embedding in reference.embeddings.all()}
    todo = [member for member in config.members.all() if member.space not in present]
    if not todo:
        return []
    crop = chip_crop(decode_chip(crypto.open_chip(reference.pk, reference.subject_id, bytes(reference.chip))))
    return [sealed(reference.pk, member.space, embed_crop(crop, member, config.flip)) for member in todo]


def _hold(subjects: dict[UUID, UUID]) -> set[UUID]:
    """Keep the subjects from being erased until the end of the transaction; the references that are still there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM ml_models_subject WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE",
            [list(set(subjects.values()))],
        )
        # the references after the lock: one may have been erased while we embedded
        cursor.execute("SELECT id FROM ml_models_reference WHERE id = ANY(%s) FOR KEY SHARE", [list(subjects)])
        return {row[0] for row in cursor.fetchall()}
