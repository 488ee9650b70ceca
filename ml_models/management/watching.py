"""A rollout watched from a terminal: a bar on stderr, and what it waits for."""

from __future__ import annotations

import time

from ml_models import rollouts, tasks
from ml_models.models import Rollout
from ml_models.rollouts.progress import progress

from .base import MlCommand

_PERIOD_S = 0.5
# as beat does; so that a rollout which waits for nothing but a process's networks ends without beat, too
_TICK_S = 10.0


def watch(command: MlCommand, rollout: Rollout) -> Rollout:
    """Keep a progress bar up until the rollout is over. Returns: the rollout as it ended."""
    report = command.progress(f"version {rollout.config.version}")
    shown, ticked = "", time.monotonic()
    while rollout.state in Rollout.OPEN:
        where = progress(rollout)
        if where.pairs:
            report(where.pairs - where.missing, where.pairs)
        if (status := where.reason or (rollout.state if rollout.state != Rollout.State.EMBEDDING else "")) != shown:
            shown = status
            if shown:
                command.say(f"{rollout.state}: {shown}" if shown != rollout.state else shown)
        time.sleep(_PERIOD_S)
        if time.monotonic() - ticked > _TICK_S:
            tasks.nudge()
            ticked = time.monotonic()
        rollout = rollouts.get_rollout(rollout.pk)
    return rollout
