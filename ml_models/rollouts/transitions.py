"""The changes of state on a version's way to being active: open, cut over, roll back, put away.

Every change of state is a conditional update whose row count is checked, inside the exclusive lock.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from .. import conf, selectors, signals
from ..exceptions import ConfigInvalid, RolloutRefused
from ..models import ConfigStep, Embedding, EnsembleConfig, Rollout, RolloutChunk, actor_id
from ..services import audit
from ..services.callers import By, Caller, as_caller
from ..versions import evidence, locks
from ..versions.validation import problems
from . import processes
from .backfill import count_missing, incomplete, look_keys_up, spaces_of
from .failures import failures_allowed, given_up, left_behind
from .steps import ROLLED_BACK, move, rolled_back

logger = logging.getLogger(__name__)
State = EnsembleConfig.State

# An enrolment's transaction is over so long after its reference is dated: no count made later has overlooked it.
_SETTLED = timedelta(minutes=10)
_MISSING = "{} embeddings are missing. Workers make them: wait until none is."
_TWO = "Two people activate a version here (SECOND_PERSON)."
_LEFT = "People left behind: {}. None of their references could be embedded; enrol them again."


def discard(config: EnsembleConfig, by: By = None) -> None:
    """Put a validated version away that is not to go live; `purge_retired` deletes what it alone has embedded.

    Raises:
        RolloutRefused: it is not validated.
    """
    with transaction.atomic():
        locks.change_versions()
        move(config, State.VALIDATED, State.RETIRED, by, "discarded")
        # an aborted re-activation leaves warm_until set though nobody embeds for the version any more
        EnsembleConfig.objects.filter(pk=config.pk).update(warm_until=None)


def open_rollout(config: EnsembleConfig, by: By = None, hold_for_approval: bool = False) -> Rollout:
    """Begin to bring a validated version live; from here on enrolments embed for it too.

    Raises:
        RolloutRefused: it is not validated, or another version is rolling out; or two people are to activate it
            (SECOND_PERSON), and nobody says who the first one is.
        ConfigInvalid: what held at validation holds no longer.
    """
    if conf.get("SECOND_PERSON") and _person(by) is None:
        raise RolloutRefused(f"{_TWO} Open the rollout in the panel or over REST: a command does not say who you are.")
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
        audit.record(audit.Kind.OPEN_ROLLOUT, as_caller(by), version=config.version)
        return Rollout.objects.create(
            config=config,
            opened_by_id=actor_id(as_caller(by).account),
            hold_for_approval=hold_for_approval or conf.get("SECOND_PERSON"),
            pairs=pairs,
        )


def cut_over(rollout: Rollout, by: By = None) -> None:
    """Retire the active version and activate the rolling one, in one transaction: by itself once nothing is missing, or
    at an operator's Go.

    Everything is counted before the lock, which enrolments wait for; inside it only what was enrolled since.

    Raises:
        RolloutRefused: something is missing, a live process has not loaded it, none lives, or the rollout is not open;
            or a second person is to give the Go (SECOND_PERSON), and this is nobody or the first one.
    """
    config = selectors.configs().get(pk=rollout.config_id)
    _require_open(rollout)
    _require_second(rollout, by)
    since = _now() - _SETTLED
    if count := count_missing(config, rollout):
        raise RolloutRefused(_MISSING.format(count))
    allowed, people = failures_allowed(), left_behind(rollout)
    with transaction.atomic():
        # the row before the lock: a tick that looks for chunks holds the row, and no enrolment is to wait for that
        current = Rollout.objects.select_for_update().get(pk=rollout.pk)
        _require_open(current)
        locks.change_versions()
        if count := _missing_since(current, config, since):
            raise RolloutRefused(_MISSING.format(count))
        if (lost := given_up(current).count()) > allowed:
            raise RolloutRefused(
                f"{lost} references could not be embedded; {allowed} are allowed (FAILURES_ALLOWED). "
                "See them with rollout status --failures."
            )
        if obstacle := processes.obstacle(config):
            raise RolloutRefused(obstacle)
        actor = as_caller(by) if by else Caller(current.opened_by)
        before = EnsembleConfig.objects.filter(state=State.ACTIVE).first()
        if before:
            _retire(before, actor, f"version {config.version} took over")
        move(config, State.ROLLING_OUT, State.ACTIVE, actor)
        Rollout.objects.filter(pk=current.pk).update(
            state=Rollout.State.COMPLETE, finished_at=Now(), reason=_LEFT.format(people) if people else "", cursor=None
        )
        RolloutChunk.objects.filter(rollout=current).delete()
        _announce(current, Rollout.State.COMPLETE, people)
    logger.info("version %d is active", config.version)


def _require_open(rollout: Rollout) -> None:
    if rollout.state not in Rollout.EMBEDS:
        raise RolloutRefused(f"The rollout is {rollout.state}.")


def _require_second(rollout: Rollout, by: By) -> None:
    if conf.get("SECOND_PERSON") and _person(by) in (None, rollout.opened_by_id):
        raise RolloutRefused(f"{_TWO} Whoever did not open the rollout gives the Go, in the panel or over REST.")


def _person(by: By) -> Any:
    """Who asks, by primary key; None for a command or a task."""
    return actor_id(as_caller(by).account)


def _now() -> datetime:
    """The database's clock, as references are dated by it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def _missing_since(rollout: Rollout, config: EnsembleConfig, since: datetime) -> int:
    """As `count_missing`, of the references captured since then; few, so that their keys are looked up."""
    look_keys_up()
    recent = incomplete(config).filter(captured_at__gte=since).exclude(pk__in=given_up(rollout).values("reference"))
    lacking, spaces = list(recent.values_list("pk", flat=True)), spaces_of(config)
    present = Embedding.objects.filter(reference__in=lacking, space__in=spaces)
    return len(lacking) * len(spaces) - present.count() if lacking else 0


def _retire(config: EnsembleConfig, by: By, reason: str) -> None:
    move(config, State.ACTIVE, State.RETIRED, by, reason)
    window = timedelta(days=conf.get("ROLLBACK_WINDOW_DAYS"))
    EnsembleConfig.objects.filter(pk=config.pk).update(warm_until=Now() + window)


def _announce(rollout: Rollout, state: str, lost: int = 0) -> None:
    signals.after_commit(
        signals.rollout_finished,
        rollout_id=rollout.pk,
        version=rollout.config.version,
        state=state,
        left_behind=lost,
    )


def roll_back(by: By = None, leaving: int | None = None) -> EnsembleConfig:
    """Make the version that was retired last active again, while it is warm; waits for nothing.

    Nor does it refuse for what is owed to that version: people whom it cannot verify (`people_without_template`) are
    answered not_ready until a worker has embedded them.

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
        # who rolls back, and again, has returned: nothing is wrong then with the version that is left
        returns = rolled_back().filter(pk=warm.pk).exists()
        _retire(active, by, f"returned to version {warm.version}" if returns else ROLLED_BACK)
        move(warm, State.RETIRED, State.ACTIVE, by, "return" if returns else "rollback")
    return warm


def end_warmth(config: EnsembleConfig, by: By = None) -> None:
    """Let go of a retired version before its rollback window ends: nothing is loaded or embedded for it any more, and
    nobody can roll back to it.

    Raises:
        RolloutRefused: it is not warm.
    """
    with transaction.atomic():
        locks.change_versions()
        if not EnsembleConfig.objects.filter(selectors.warm(), pk=config.pk).update(warm_until=None):
            raise RolloutRefused(f"Version {config.version} is not warm: there is nothing to end. Look again.")
        state = State.RETIRED
        who = actor_id(as_caller(by).account)
        ConfigStep.objects.create(
            config=config, from_state=state, to_state=state, by_id=who, reason="warmth ended early"
        )


def pause(rollout: Rollout, by: By = None) -> None:
    """Hand out nothing more; what is done stays. Raises: RolloutRefused."""
    _switch(rollout, Rollout.State.EMBEDDING, Rollout.State.PAUSED, by)


def resume(rollout: Rollout, by: By = None) -> None:
    """Go on where it stopped. Raises: RolloutRefused."""
    _switch(rollout, Rollout.State.PAUSED, Rollout.State.EMBEDDING, by)


def _switch(rollout: Rollout, source: str, target: str, by: By) -> None:
    with transaction.atomic():
        if not Rollout.objects.filter(pk=rollout.pk, state=source).update(state=target, reason=""):
            raise RolloutRefused(f"The rollout is not {source}. See rollout status.")
        state = rollout.config.state
        who = actor_id(as_caller(by).account)
        ConfigStep.objects.create(
            config=rollout.config, from_state=state, to_state=state, by_id=who, reason=f"rollout {target}"
        )


def abort(rollout: Rollout, by: By = None) -> None:
    """Give up; the version is `validated` again and keeps what it has embedded. Raises: RolloutRefused."""
    close(rollout, Rollout.State.ABORTED, by, "aborted by an operator")


def close(rollout: Rollout, state: str, by: By, reason: str) -> None:
    """End a rollout without its version going live. Raises: RolloutRefused."""
    with transaction.atomic():
        closed = Rollout.objects.filter(pk=rollout.pk, state__in=Rollout.OPEN).update(
            state=state, reason=reason, finished_at=Now()
        )
        if not closed:
            raise RolloutRefused("The rollout is over. Activate the version again to begin anew.")
        locks.change_versions()  # after the row, as in `cut_over`
        RolloutChunk.objects.filter(rollout=rollout).delete()
        move(rollout.config, State.ROLLING_OUT, State.VALIDATED, by, reason)
        _announce(rollout, state)
