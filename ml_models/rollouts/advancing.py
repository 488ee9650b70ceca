"""What moves a rollout on by itself: chunks handed out, the reasons to fail, the cut-over once nothing is missing."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from django.db import transaction

from .. import conf, runtime, selectors
from ..exceptions import RolloutRefused
from ..models import EnsembleConfig, Rollout, RolloutChunk, RolloutFailure
from . import leasing, processes
from .failures import failures_allowed, failures_by_code, given_up
from .progress import in_words
from .transitions import close, cut_over

# What no waiting mends: the file or the network is not what it should be.
_FATAL = {"artifact_corrupt", "artifact_missing", "contract_mismatch", "golden_mismatch", "artifact_rejected"}
_FATAL |= {"inference_failed"}
_RETRIED = "{} references failed for a reason that may pass. They are tried again within a minute."
# Chunks in a row that no worker could begin: some minutes of a bucket that does not answer.
MAX_REFUSALS = 8


def advance() -> list[UUID]:
    """One step: chunks of the open rollout are handed out, or it is cut over once nothing is missing; then chunks of
    what is owed to the active and warm versions.

    Returns: chunks to tell workers of; the caller enqueues them after the commit.
    """
    chunks: list[UUID] = []
    with suppress(RolloutRefused):  # a process is not ready any more, or another worker was faster
        chunks = _advance_open()
    return chunks + _hand_out_owed()


def _advance_open() -> list[UUID]:
    with transaction.atomic():
        rollout = (
            Rollout.objects.select_for_update(skip_locked=True)
            .filter(state__in=Rollout.EMBEDS)
            .order_by("opened_at")
            .first()
        )
        if rollout is None:  # none is open, or another process is just doing this
            return []
        config = selectors.configs().get(pk=rollout.config_id)
        if reason := _reason_to_fail(rollout, config):
            chunks, complete = [], False
        else:
            chunks = leasing.hand_out(rollout, config)
            retried = rollout.failures.exclude(RolloutFailure.GIVEN_UP).count()
            complete = not chunks and not rollout.chunks.exists() and not retried
            waits = "" if chunks or not retried else _RETRIED.format(retried)
            if rollout.reason != waits and not complete:  # it does not wait for what it did any more
                Rollout.objects.filter(pk=rollout.pk).update(reason=waits)
    if reason:
        close(rollout, Rollout.State.FAILED, None, reason)
    elif complete:
        _finish(rollout, config)
    return chunks


def _hand_out_owed() -> list[UUID]:
    owing, chunks = leasing.owing(), []
    # of a version that is not embedded for any more
    RolloutChunk.objects.filter(rollout__state=Rollout.State.COMPLETE).exclude(rollout__in=owing).delete()
    for pk in owing:
        with transaction.atomic():
            rollout = Rollout.objects.select_for_update(skip_locked=True).filter(pk=pk).first()
            if rollout is not None:
                config = selectors.configs().get(pk=rollout.config_id)
                leasing.give_up_deadly(rollout, config)
                chunks += leasing.hand_out(rollout, config)
    return chunks


def _reason_to_fail(rollout: Rollout, config: EnsembleConfig) -> str:
    """Why this rollout can never complete, or nothing."""
    names = {artifact.name for artifact in config.artifacts}
    reported = [runtime.problems(), *processes.troubles(config).values()]
    for name, code in (item for codes in reported for item in codes.items()):
        if name in names and code in _FATAL:
            return f"{name} cannot be used: {code}. Publish a good file as a new artifact, in a new version."
    if rollout.refusals >= MAX_REFUSALS:
        own = {"this worker": runtime.problems()} if runtime.problems() else {}
        if troubles := in_words(processes.troubles(config) or own):
            return f"No worker can load the networks. {troubles} Activate again once they can: what is done stays."
        return (
            f"Workers gave chunks back {rollout.refusals} times in a row: the networks or the database did not answer. "
            "Look at the workers' logs, then activate again: what is done stays."
        )
    if chunk := leasing.deadly(rollout):
        return (
            f"Workers were lost {chunk.attempts} times over the same {len(chunk.references)} references, from "
            f"{chunk.references[0]} on. Look at the workers' logs and memory, then activate again: what is done stays."
        )
    failed = given_up(rollout).count()
    if failed and failed > (allowed := failures_allowed()):
        codes = ", ".join(f"{code}: {count}" for code, count in failures_by_code(rollout).items())
        return (
            f"{failed} references could not be embedded ({codes}); {allowed} are allowed. Enrol their subjects again "
            "and delete these references, or raise FAILURES_ALLOWED; then activate again: what is done stays."
        )
    return ""


def _finish(rollout: Rollout, config: EnsembleConfig) -> None:
    if obstacle := processes.obstacle(config):
        reason = f"{obstacle} {in_words(processes.troubles(config))}".strip()
        Rollout.objects.filter(pk=rollout.pk).update(reason=reason)
    elif rollout.hold_for_approval or conf.get("SECOND_PERSON"):
        Rollout.objects.filter(pk=rollout.pk, state=Rollout.State.EMBEDDING).update(
            state=Rollout.State.AWAITING_APPROVAL, cursor=None
        )
        Rollout.objects.filter(pk=rollout.pk, state=Rollout.State.AWAITING_APPROVAL).update(
            reason="Everything is embedded; waiting for an operator's Go."
        )
    else:
        cut_over(rollout)  # which counts, inside the lock
