"""What the database says of the processes and the queue, for `/metrics`."""

from __future__ import annotations

from collections import Counter

from django.db.models import Count, F, Q
from django.db.models.functions import Now

from ..metrics import Gauge
from ..models import EnsembleConfig, JobRun, Rollout, RolloutChunk, ServingProcess, Subject
from . import admission


def gauges() -> list[Gauge]:
    """The host's slots, by their files; heartbeats, what could not be loaded, the engines, the versions, the rollouts'
    chunks, the jobs and who is locked, by six queries."""
    processes = list(ServingProcess.objects.annotate(age=Now() - F("heartbeat_at")))
    named = {(p.host, str(p.pid), p.kind): p for p in processes}
    engines: Counter[tuple[str, ...]] = Counter((name, engine) for p in processes for name, engine in p.engines.items())
    states = EnsembleConfig.objects.exclude(state__in=("draft", "validated", "retired")).values_list("state", "version")
    chunks = RolloutChunk.objects.aggregate(
        leased=Count("pk", filter=Q(leased_until__gt=Now())), expired=Count("pk", filter=Q(leased_until__lte=Now()))
    )
    rollouts = Rollout.objects.filter(state__in=Rollout.OPEN).values_list("state", "config__version")
    jobs = JobRun.objects.annotate(age=Now() - F("ran_at"))
    who = ("host", "pid", "kind")
    slots = admission.current().slots
    return [
        Gauge(
            "ml_models_slots",
            "How many computations this host runs at a time, and how many are running.",
            ("state",),
            {("all",): slots.count, ("busy",): slots.busy()},
        ),
        Gauge(
            "ml_models_process_heartbeat_age_seconds",
            "Since a process last reported itself; one that ended unannounced is kept for a day.",
            who,
            {key: p.age.total_seconds() for key, p in named.items()},
        ),
        Gauge(
            "ml_models_process_problems",
            "Model files that a process could not load.",
            who,
            {key: len(p.problems) for key, p in named.items()},
        ),
        Gauge(
            "ml_models_engine_processes",
            "Processes that run a model file by an engine.",
            ("artifact", "engine"),
            engines,
        ),
        Gauge(
            "ml_models_version",
            "The versions that are active or rolling out.",
            ("state",),
            {(state,): version for state, version in states},
        ),
        Gauge(
            "ml_models_rollout_chunks",
            "Chunks of references that wait for a worker or are in its hands; expired ones are handed out again.",
            ("state",),
            {(state,): count for state, count in chunks.items()},
        ),
        Gauge(
            "ml_models_rollout_open",
            "The version of the rollout that is open, by its state.",
            ("state",),
            {(state,): version for state, version in rollouts},
        ),
        Gauge(
            "ml_models_job_age_seconds",
            "Since a job that beat starts was last done.",
            ("task",),
            {(job.name,): job.age.total_seconds() for job in jobs},
        ),
        Gauge(
            "ml_models_subjects_locked",
            "Subjects that are locked now.",
            (),
            {(): Subject.objects.filter(locked_until__gt=Now()).count()},
        ),
    ]
