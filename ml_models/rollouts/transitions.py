"""A version's way to being active: validate, open, embed what is missing, cut over, roll back.

Every change of state is a conditional update whose row count is checked, inside the exclusive lock.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from .. import conf, runtime, selectors, signals
from ..exceptions import ConfigInvalid, RolloutRefused
from ..models import Actor, ConfigStep, EnsembleConfig, Reference, Rollout, RolloutChunk, actor_id
from ..versions import evidence, locks
from ..versions.validation import problems
from . import backfill, processes
from .backfill import count_missing
from .progress import in_words
from .steps import move

logger = logging.getLogger(__name__)
State = EnsembleConfig.State

# What no waiting mends: the file or the network is not what it should be.
_FATAL = {"artifact_corrupt", "artifact_missing", "contract_mismatch", "golden_mismatch", "artifact_rejected"}
_FATAL |= {"inference_failed"}
# Chunks in a row that no worker could begin: some minutes of a bucket that does not answer.
MAX_REFUSALS = 8


def discard(config: EnsembleConfig, by: Actor = None) -> None:
    """Put a validated version away that is not to go live; `purge_retired` deletes what it alone has embedded.

    Raises:
        RolloutRefused: it is not validated.
    """
    with transaction.atomic():
        locks.change_versions()
        move(config, State.VALIDATED, State.RETIRED, by, "discarded")


def open_rollout(config: EnsembleConfig, by: Actor = None, hold_for_approval: bool = False) -> Rollout:
    """Begin to bring a validated version live; from here on enrolments embed for it too.

    Raises:
        RolloutRefused: it is not validated, or another version is rolling out.
        ConfigInvalid: what held at validation holds no longer.
    """
    if reasons := [*problems(config), *evidence.refusals(config)]:
        raise ConfigInvalid(reasons)
    pairs = count_missing(config)  # before the lock: nobody's enrolment waits for a count of everything
    with transaction.atomic():
        locks.change_versions()
        other = EnsembleConfig.objects.filter(state=State.ROLLING_OUT).first()
        if other:
            raise RolloutRefused(f"Version {other.version} is rolling out. Wait for it, or abort it first.")
        current = EnsembleConfig.objects.values_list("state", flat=True).get(pk=config.pk)
        if current not in (State.VALIDATED, State.RETIRED):
            raise RolloutRefused(f"Version {config.version} is {current}; only a validated one can be activated.")
        move(config, current, State.ROLLING_OUT, by)
        return Rollout.objects.create(
            config=config,
            opened_by_id=actor_id(by),
            hold_for_approval=hold_for_approval,
            pairs=pairs,
        )


def advance() -> list[UUID]:
    """One step of the open rollout: hand out chunks, or cut over once nothing is missing.

    Returns: chunks to tell workers of; the caller enqueues them after the commit.
    """
    with transaction.atomic():
        rollout = (
            Rollout.objects.select_for_update(skip_locked=True)
            .filter(state=Rollout.State.EMBEDDING)
            .order_by("opened_at")
            .first()
        )
        if rollout is None:  # none is open, or another process is just doing this
            return []
        config = selectors.configs().get(pk=rollout.config_id)
        if reason := _reason_to_fail(rollout, config):
            chunks, complete = [], False
        else:
            chunks = backfill.hand_out(rollout, config)
            complete = not chunks and not rollout.chunks.exists()
            if chunks and rollout.reason:  # it waits for nothing any more
                Rollout.objects.filter(pk=rollout.pk).update(reason="")
    if reason:
        _close(rollout, Rollout.State.FAILED, None, reason)
    elif complete:
        _finish(rollout, config)
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
        troubles = in_words(processes.troubles(config) or own)
        return f"No worker can load the networks. {troubles} Activate again once they can: what is done stays."
    if chunk := backfill.deadly(rollout):
        return (
            f"Workers were lost {chunk.attempts} times over the same {len(chunk.references)} references, from "
            f"{chunk.references[0]} on. Look at the workers' logs and memory, then activate again: what is done stays."
        )
    failed = rollout.failures.count()
    if failed and failed > (allowed := failures_allowed()):
        codes = ", ".join(f"{code}: {count}" for code, count in backfill.failures_by_code(rollout).items())
        return f"{failed} references could not be embedded ({codes}); {allowed} are allowed."
    return ""


def failures_allowed() -> int:
    """How many references a cut-over may leave behind, to be enrolled again."""
    return int(Reference.objects.count() * conf.get("FAILURES_ALLOWED"))


def _finish(rollout: Rollout, config: EnsembleConfig) -> None:
    if waiting := processes.unready(config):
        reason = f"Waiting for {', '.join(map(str, waiting))} to load the networks. "
        reason = (reason + in_words(processes.troubles(config))).strip()
        Rollout.objects.filter(pk=rollout.pk).update(reason=reason)
    elif rollout.hold_for_approval:
        Rollout.objects.filter(pk=rollout.pk, state=Rollout.State.EMBEDDING).update(
            state=Rollout.State.AWAITING_APPROVAL, reason="Everything is embedded; waiting for an operator's Go."
        )
    else:
        cut_over(rollout)  # which counts, inside the lock


def cut_over(rollout: Rollout, by: Actor = None) -> None:
    """Retire the active version and activate the rolling one, in one transaction: by itself once nothing is missing, or
    at an operator's Go.

    Raises:
        RolloutRefused: something is missing, a live process has not loaded it, or the rollout is not open.
    """
    with transaction.atomic():
        locks.change_versions()
        current = Rollout.objects.select_for_update().get(pk=rollout.pk)
        if current.state not in (Rollout.State.EMBEDDING, Rollout.State.AWAITING_APPROVAL):
            raise RolloutRefused(f"The rollout is {current.state}.")
        config = selectors.configs().get(pk=current.config_id)
        if count := count_missing(config, current):
            raise RolloutRefused(f"{count} embeddings are missing.")
        if current.failures.count() > failures_allowed():
            raise RolloutRefused("Too many references could not be embedded.")
        if waiting := processes.unready(config):
            raise RolloutRefused(f"Not loaded yet in: {', '.join(map(str, waiting))}.")
        actor = by or current.opened_by
        before = EnsembleConfig.objects.filter(state=State.ACTIVE).first()
        if before:
            _retire(before, actor, f"version {config.version} took over")
        move(config, State.ROLLING_OUT, State.ACTIVE, actor)
        Rollout.objects.filter(pk=current.pk).update(state=Rollout.State.COMPLETE, finished_at=Now(), reason="")
        RolloutChunk.objects.filter(rollout=current).delete()
        _announce(current, Rollout.State.COMPLETE)
    logger.info("version %d is active", config.version)


def _retire(config: EnsembleConfig, by: Actor, reason: str) -> None:
    move(config, State.ACTIVE, State.RETIRED, by, reason)
    window = timedelta(days=conf.get("ROLLBACK_WINDOW_DAYS"))
    EnsembleConfig.objects.filter(pk=config.pk).update(warm_until=Now() + window)


def _announce(rollout: Rollout, state: str) -> None:
    signals.after_commit(signals.rollout_finished, rollout_id=rollout.pk, version=rollout.config.version, state=state)


def roll_back(by: Actor = None, leaving: int | None = None) -> EnsembleConfig:
    """Make the version that was retired last active again, while it is warm; waits for nothing.

    Args:
        leaving: the version that the operator believes to be active; None for whichever is.

    Raises:
        RolloutRefused: no version is warm, or another one is active.
    """
    with transaction.atomic():
        locks.change_versions()
        active = EnsembleConfig.objects.filter(state=State.ACTIVE).first()
        warm = selectors.rollback_target()
        if warm is None or active is None:
            raise RolloutRefused("No earlier version is warm; activate one again instead.")
        if leaving not in (None, active.version):
            raise RolloutRefused(f"Version {active.version} is active, not {leaving}. Look again.")
        _retire(active, by, "rolled back")
        move(warm, State.RETIRED, State.ACTIVE, by, "rollback")
    return warm


def pause(rollout: Rollout, by: Actor = None) -> None:
    """Hand out nothing more; what is done stays. Raises: RolloutRefused."""
    _switch(rollout, Rollout.State.EMBEDDING, Rollout.State.PAUSED, by)


def resume(rollout: Rollout, by: Actor = None) -> None:
    """Go on where it stopped. Raises: RolloutRefused."""
    _switch(rollout, Rollout.State.PAUSED, Rollout.State.EMBEDDING, by)


def _switch(rollout: Rollout, source: str, target: str, by: Actor) -> None:
    with transaction.atomic():
        if not Rollout.objects.filter(pk=rollout.pk, state=source).update(state=target, reason=""):
            raise RolloutRefused(f"The rollout is not {source}.")
        state = rollout.config.state
        ConfigStep.objects.create(
            config=rollout.config, from_state=state, to_state=state, by_id=actor_id(by), reason=f"rollout {target}"
        )


def abort(rollout: Rollout, by: Actor = None) -> None:
    """Give up; the version is `validated` again and keeps what it has embedded. Raises: RolloutRefused."""
    _close(rollout, Rollout.State.ABORTED, by, "aborted by an operator")


def _close(rollout: Rollout, state: str, by: Actor, reason: str) -> None:
    with transaction.atomic():
        locks.change_versions()
        closed = Rollout.objects.filter(pk=rollout.pk, state__in=Rollout.OPEN).update(
            state=state, reason=reason, finished_at=Now()
        )
        if not closed:
            raise RolloutRefused("The rollout is over.")
        RolloutChunk.objects.filter(rollout=rollout).delete()
        move(rollout.config, State.ROLLING_OUT, State.VALIDATED, by, reason)
        _announce(rollout, state)
