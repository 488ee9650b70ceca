"""Embedding what a version lacks: chunks of references, leased in the database, done by any worker.

Missing rows are the truth and the queue carries hints: a lost message, a killed or frozen worker costs at most the
chunks in hand, which are leased again once they expire. Doing a chunk twice stores nothing twice.

A version that is embedded for after its rollout (active, or warm) lacks what was enrolled where its networks were not
loaded. That is owed: embedded in the same way, under the rollout that made the version active.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import BigIntegerField, Exists, F, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Now

from .. import crypto, runtime, selectors
from ..engine.align import decode_chip
from ..engine.errors import EngineError
from ..engine.pipeline import chip_crop
from ..exceptions import CryptoError, NotReady
from ..models import Embedding, EnsembleConfig, Reference, Rollout, RolloutChunk, RolloutFailure
from ..services import admission, embeddings

logger = logging.getLogger(__name__)

# Chunk ≤ 20 s < lease 60 s < the broker's visibility timeout 120 s: the database decides who works on what.
_CHUNK_MAX_S = 20.0
LEASE = timedelta(seconds=60)
# Few references at a time, so that memory stays flat and an abort is noticed soon.
BATCH = 8


def spaces_of(config: EnsembleConfig) -> set[str]:
    return {member.space for member in config.members.all()}


def count_missing(
    config: EnsembleConfig, leaving_out: Rollout | None = None, bounds: Mapping[str, UUID] | None = None
) -> int:
    """How many (reference, space) pairs the version lacks, at one moment.

    Args:
        leaving_out: without the references that this rollout gave up on.
        bounds: of the references' keys, by look-up: gt, lte.
    """
    spaces, bounds = spaces_of(config), bounds or {}
    references = Reference.objects.filter(**{f"pk__{lookup}": key for lookup, key in bounds.items()})
    within = {f"reference__{lookup}": key for lookup, key in bounds.items()}
    present = Embedding.objects.filter(space__in=spaces, **within)
    if leaving_out is not None:
        failed = leaving_out.failures.filter(RolloutFailure.GIVEN_UP).values("reference")
        references, present = references.exclude(pk__in=failed), present.exclude(reference__in=failed)
    # in one statement: an enrolment between two would add embeddings to the count, and hide as many that are missing
    counts = EnsembleConfig.objects.filter(pk=config.pk).values_list(_Count(references), _Count(present))
    wanted, there = counts.get()
    return int(wanted * len(spaces) - there)


class _Count(Subquery):
    """How many rows a query has."""

    template = "(SELECT count(*) FROM (%(subquery)s) counted)"
    output_field = BigIntegerField()

    def __init__(self, rows: QuerySet[Any]) -> None:
        super().__init__(rows.order_by().values("pk"))


def incomplete(config: EnsembleConfig) -> QuerySet[Reference]:
    """References that lack a space, by index look-ups only, in the order of their keys."""
    lacks = Q()
    for space in sorted(spaces_of(config)):
        lacks |= Q(~Exists(Embedding.objects.filter(reference=OuterRef("pk"), space=space)))
    return Reference.objects.filter(lacks).order_by("pk")


def look_keys_up() -> None:
    """Until the transaction's end: or PostgreSQL hashes all of a space where looking a few keys up would do."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64kB'")


def embedding() -> Q:
    """Rollouts whose version workers embed for now."""
    served = EnsembleConfig.objects.filter(Q(state=EnsembleConfig.State.ACTIVE) | selectors.warm())
    return Q(state__in=Rollout.EMBEDS) | Q(state=Rollout.State.COMPLETE, config__in=served)


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
        _ensure_loaded(config, chunk.rollout.state in Rollout.OPEN)
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
        batch, left = left[:BATCH], left[BATCH:]
        embed_batch(chunk.rollout, config, batch)
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
            RolloutChunk.objects.filter(pk=chunk.pk).update(leased_until=Now() + LEASE, attempts=F("attempts") + 1)
        return chunk


def _give_back(chunk: RolloutChunk) -> None:
    """Not begun after all; how often that happens in a row is kept with the rollout."""
    RolloutChunk.objects.filter(pk=chunk.pk, attempts__gt=0).update(leased_until=Now(), attempts=F("attempts") - 1)
    Rollout.objects.filter(pk=chunk.rollout_id).update(refusals=F("refusals") + 1)


def _ensure_loaded(config: EnsembleConfig, load: bool) -> None:
    """Load now what an open rollout needs; what is owed waits for the background thread.

    Or a warm version's lost file, fetched again for every chunk, would hold up the rollouts.
    """
    for member in config.members.all():
        try:
            runtime.model(member.artifact)
        except NotReady:
            if not load:
                raise
            runtime.refresh()
            runtime.model(member.artifact)


def embed_batch(rollout: Rollout, config: EnsembleConfig, references: Iterable[UUID]) -> None:
    rows, failures = [], []
    present = Embedding.objects.filter(space__in=spaces_of(config)).defer("vector")
    loaded = Reference.objects.filter(pk__in=list(references)).select_related("subject")
    loaded = loaded.prefetch_related(Prefetch("embeddings", present))
    for reference in loaded:
        try:
            rows += missing_vectors(config, reference)
        # whatever one reference does must not stop the others; the code says what it was
        except (CryptoError, EngineError) as error:
            failures.append(RolloutFailure(rollout=rollout, reference=reference, code=error.code))
        except ValueError:
            failures.append(RolloutFailure(rollout=rollout, reference=reference, code="unreadable_chip"))
    subjects = {reference.pk: reference.subject_id for reference in loaded}
    with transaction.atomic():
        held = hold(subjects)
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


def missing_vectors(config: EnsembleConfig, reference: Reference) -> list[Embedding]:
    present = {embedding.space for embedding in reference.embeddings.all()}
    todo = [member for member in config.members.all() if member.space not in present]
    if not todo:
        return []
    owner = crypto.Owner(reference.subject_id, reference.subject.subject_id)
    crop = chip_crop(decode_chip(crypto.open_chip(reference.pk, owner, bytes(reference.chip))))
    with admission.admitted(admission.EMBED):
        features = [(member.space, embeddings.embed_crop(crop, member, config.flip)) for member in todo]
    return [embeddings.sealed(reference.pk, owner, space, feature) for space, feature in features]


def hold(subjects: dict[UUID, UUID]) -> set[UUID]:
    """Keep the subjects from being erased until the end of the transaction; the references that are still there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM ml_models_subject WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE",
            [list(set(subjects.values()))],
        )
        # the references after the lock: one may have been erased while we embedded
        cursor.execute("SELECT id FROM ml_models_reference WHERE id = ANY(%s) FOR KEY SHARE", [list(subjects)])
        return {row[0] for row in cursor.fetchall()}
