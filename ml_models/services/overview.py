"""How the service stands now, for whoever looks after it: who lives, and what the last 24 hours brought."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, DurationField, ExpressionWrapper, F, IntegerField
from django.db.models.functions import Cast, Extract, Floor, Now

from .. import conf
from ..models import Identification, JobRun, ServingProcess, Verification
from .traffic import ACQUISITION

CHAIN = "audit"
"""The job whose runs show that beat and a worker live: beat starts it every few seconds, and nobody else does."""
OUTCOMES = ("match", "review", "no_match", "not_acquired", "failed")
HOURS = 24
# a process or job counts as silent after so many missing heartbeats or runs
_MISSED = 3
# what has been silent for longer ended long ago; its row stays for whoever looks into it
_FORGOTTEN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Health:
    """By kind of process, the names of those that report themselves; `silent`: of those that stopped doing so, for how
    many seconds, by name. `job_s`: since the jobs of beat were last done, None where they never were."""

    live: dict[str, list[str]]
    silent: dict[str, float]
    job_s: float | None

    @property
    def jobs_run(self) -> bool:
        return self.job_s is not None and self.job_s <= _patience_s()


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts by outcome: `hours`, 24 of them, the oldest first; `before`, the 24 hours before those together."""

    hours: list[Counter[str]]
    before: Counter[str]

    @property
    def lately(self) -> Counter[str]:
        return sum(self.hours, Counter())


def ran(job: str) -> None:
    """A job that beat starts is done."""
    JobRun.objects.update_or_create(name=job, defaults={"ran_at": Now()})


def health() -> Health:
    """The processes and jobs, by the database's clock. Two queries."""
    live: dict[str, list[str]] = {kind: [] for kind in ServingProcess.Kind.values}
    silent = {}
    for process in ServingProcess.objects.annotate(age=_age("heartbeat_at")).order_by("started_at"):
        if process.age.total_seconds() <= _patience_s():
            live[process.kind].append(str(process))
        elif process.age <= _FORGOTTEN:
            silent[f"{process.kind} {process}"] = process.age.total_seconds()
    job = JobRun.objects.filter(name=CHAIN).annotate(age=_age("ran_at")).first()
    return Health(live, silent, job.age.total_seconds() if job else None)


def attempts(rows: type[Verification | Identification]) -> Attempts:
    """The verifies, or the identifications, of two days. One aggregate over an index."""
    ago = Cast(Floor(Extract(_age("at"), "epoch") / 3600.0), IntegerField())
    recent = rows.objects.filter(at__gt=Now() - timedelta(hours=2 * HOURS)).annotate(hours_ago=ago)
    hours: list[Counter[str]] = [Counter() for _ in range(HOURS)]
    before: Counter[str] = Counter()
    for row in recent.values("hours_ago", "decision", "code").annotate(count=Count("pk")).order_by():
        into = hours[HOURS - 1 - row["hours_ago"]] if row["hours_ago"] < HOURS else before
        into[_outcome(row["decision"], row["code"])] += row["count"]
    return Attempts(hours, before)


def _outcome(decision: str, code: str) -> str:
    return decision or ("not_acquired" if code in ACQUISITION else "failed")


def _age(field: str) -> ExpressionWrapper[Any]:
    return ExpressionWrapper(Now() - F(field), DurationField())


def _patience_s() -> float:
    return float(_MISSED * conf.get("HEARTBEAT_S"))
