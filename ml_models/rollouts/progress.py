"""Where a rollout stands, told from rows."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from django.db import OperationalError

from .. import selectors
from ..metrics import Gauge
from ..models import EnsembleConfig, Reference, Rollout
from ..services.shadow import Summary, summary
from . import failures, processes
from .backfill import count_missing

_COUNT_EVERY_S = 60


@dataclass(frozen=True, slots=True)
class Progress:
    """`reason`: why it stopped, or what it waits for. `seconds_left` is None where nothing tells the pace."""

    rollout_id: UUID
    version: int
    state: str
    reason: str
    pairs: int
    missing: int
    failures: dict[str, int]
    references_per_s: float | None
    seconds_left: float | None
    processes: dict[str, bool]
    shadow: Summary

    @property
    def percent(self) -> int:
        return 100 if not self.pairs else max(0, min(100, 100 * (self.pairs - self.missing) // self.pairs))


def gauges() -> list[Gauge]:
    """For `/metrics`: what the open rollout has still to embed, of how much; nothing where none is open."""
    values: dict[str, dict[tuple[str, ...], float]] = {"missing": {}, "pairs": {}}
    for rollout in Rollout.objects.filter(state__in=Rollout.OPEN):
        values["pairs"][()] = rollout.pairs
        with suppress(OperationalError):  # what serves requests gives a count up after 3.5 s
            values["missing"][()] = _missing(rollout.pk, int(time.monotonic() // _COUNT_EVERY_S))
    return [
        Gauge(
            "ml_models_rollout_missing", "Embeddings that the open rollout has still to make.", (), values["missing"]
        ),
        Gauge("ml_models_rollout_pairs", "Embeddings that it had to make when it began.", (), values["pairs"]),
    ]


@lru_cache(maxsize=1)
def _missing(rollout: UUID, minute: int) -> int:
    """Counted once a minute: at ten million faces it takes seconds."""
    row = Rollout.objects.get(pk=rollout)
    return count_missing(selectors.configs().get(pk=row.config_id), row)


def progress(rollout: Rollout) -> Progress:
    """Count what is missing and who is ready."""
    config = selectors.configs().get(pk=rollout.config_id)
    over = rollout.state not in Rollout.OPEN
    missing = 0 if rollout.state == Rollout.State.COMPLETE else count_missing(config, rollout)
    live = [] if over else processes.live()
    workers = processes.workers()
    rate, left = (None, None) if over else _pace(rollout, config, missing, workers)
    unready = set() if over else {process.pk for process in processes.unready(config)}
    return Progress(
        rollout_id=rollout.pk,
        version=config.version,
        state=rollout.state,
        reason=rollout.reason if over else _waits_for(rollout, config, missing, workers),
        pairs=rollout.pairs,
        missing=missing,
        failures=failures.failures_by_code(rollout),
        references_per_s=rate,
        seconds_left=left,
        processes={str(process): process.pk not in unready for process in live},
        shadow=summary(rollout),
    )


def _waits_for(rollout: Rollout, config: EnsembleConfig, missing: int, workers: int) -> str:
    if rollout.state == Rollout.State.PAUSED:
        return f"Paused by an operator. {missing} embeddings are missing; none is made until somebody resumes."
    if rollout.state == Rollout.State.AWAITING_APPROVAL and missing:
        return f"{missing} embeddings are missing, of faces enrolled meanwhile. Go is possible once workers made them."
    if rollout.reason:
        return rollout.reason
    if troubles := in_words(processes.troubles(config)):
        return f"{troubles} It is tried again every few seconds; the active version keeps answering."
    if missing and not workers:
        return "No Celery worker reports itself: start one for the queue ml_models, and beat."
    return ""


def in_words(troubles: dict[str, dict[str, str]]) -> str:
    """Which networks cannot be loaded where, and why; empty for no troubles."""
    return " ".join(
        f"{process} cannot load {', '.join(f'{name} ({code})' for name, code in sorted(problems.items()))}."
        for process, problems in troubles.items()
    )


def _pace(rollout: Rollout, config: EnsembleConfig, missing: int, workers: int) -> tuple[float | None, float | None]:
    working = rollout.chunks.count()
    if not rollout.seconds_per_reference or not working:
        return None, None
    rate = min(working, max(1, workers)) / rollout.seconds_per_reference
    new_spaces = max(1, round(rollout.pairs / max(Reference.objects.count(), 1)))
    return rate, missing / new_spaces / rate
