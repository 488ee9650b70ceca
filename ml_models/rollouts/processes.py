"""The web and worker processes that report themselves: which live, and what each has loaded."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from .. import conf
from ..models import EnsembleConfig, ServingProcess

# A process is taken for gone after this many heartbeats without one.
_MISSED_HEARTBEATS = 6


def _alive_s() -> float:
    return float(_MISSED_HEARTBEATS * conf.get("HEARTBEAT_S"))


def live() -> list[ServingProcess]:
    """The processes that have reported themselves lately, by the database's clock, the oldest first."""
    alive = Now() - timedelta(seconds=_alive_s())
    return list(ServingProcess.objects.filter(heartbeat_at__gt=alive).order_by("started_at"))


def workers() -> int:
    """How many live Celery processes embed."""
    return sum(process.kind == ServingProcess.Kind.WORKER for process in live())


def unready(config: EnsembleConfig, processes: list[ServingProcess] | None = None) -> list[ServingProcess]:
    """Of these processes, the live ones by default, those that have not loaded every file of the version."""
    needed = {artifact.sha256 for artifact in config.artifacts}
    processes = live() if processes is None else processes
    return [process for process in processes if not needed <= set(process.artifacts)]


def obstacle(config: EnsembleConfig) -> str:
    """What keeps a version from going live among the processes, as a sentence; empty for nothing.

    Every live process must have loaded its files, and at least one of the kind that answers (`QUORUM`) must live.
    Without a process that reports itself, readiness is unknown, and the version waits. A first version is exempt:
    nobody can be answered wrongly yet.
    """
    processes = live()
    if waiting := unready(config, processes):
        return f"Waiting for {', '.join(map(str, waiting))} to load the networks."
    if not EnsembleConfig.objects.filter(state=EnsembleConfig.State.ACTIVE).exists():
        return ""
    kind = conf.get("QUORUM")
    if any(process.kind == kind for process in processes):
        return ""
    return (
        f"Waiting for a {kind} process: none has reported itself for {_alive_s():.0f} s. Start one; where there are "
        "none to start, say in QUORUM which kind of process verifies."
    )


def troubles(config: EnsembleConfig) -> dict[str, dict[str, str]]:
    """What live processes cannot load of a version: by process, the code by artifact name."""
    names = {artifact.name for artifact in config.artifacts}
    by_process = {str(p): {name: code for name, code in p.problems.items() if name in names} for p in live()}
    return {process: problems for process, problems in by_process.items() if problems}
