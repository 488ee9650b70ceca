"""What a monitoring system reads at `/metrics`: how many, how long, how old; never whom it was about.

Labels are names of calls, codes, decisions, steps and model files. No subject, account or key is ever one.

Counts are each process's own. With `PROMETHEUS_MULTIPROC_DIR` in the environment before the first import, the processes
of one machine keep them in files of that folder, and each answers for all. Without prometheus-client none are kept.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

logger = logging.getLogger(__name__)

try:
    from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Counter, Histogram, generate_latest
    from prometheus_client import Gauge as LiveGauge
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector
except ImportError:
    installed = False
else:
    installed = True
    CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
    # one of its own: the host's metrics are the host's to show
    _REGISTRY = CollectorRegistry()
    # Each has a label: one without would write its file here, and with a full disk no web process could start.
    _SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    _REQUESTS = Counter("ml_models_requests", "Answers by call and code.", ["call", "code"], registry=_REGISTRY)
    _REQUEST_SECONDS = Histogram(
        "ml_models_request_seconds", "How long a call took.", ["call"], buckets=_SECONDS, registry=_REGISTRY
    )
    _DECISIONS = Counter("ml_models_decisions", "Verifies by what came of them.", ["outcome"], registry=_REGISTRY)
    _IDENTIFICATIONS = Counter(
        "ml_models_identifications", "Searches on a roster by what came of them.", ["outcome"], registry=_REGISTRY
    )
    _SEARCH_SECONDS = Histogram(
        "ml_models_search_seconds",
        "A search's own steps: to read the roster, and to score it.",
        ["step"],
        buckets=_SECONDS,
        registry=_REGISTRY,
    )
    _STEP_SECONDS = Histogram(
        "ml_models_step_seconds", "A verify's steps.", ["step"], buckets=_SECONDS, registry=_REGISTRY
    )
    _DROPPED = Counter(
        "ml_models_frames_dropped",
        "Pictures of verifies and searches that could not be used, by code.",
        ["code"],
        registry=_REGISTRY,
    )
    _LOCKOUTS = Counter(
        "ml_models_lockouts", "Subjects that were locked, credentials that were slowed.", ["who"], registry=_REGISTRY
    )
    _CHALLENGES = Counter(
        "ml_models_challenges", "Challenges that were issued, answered, passed.", ["step"], registry=_REGISTRY
    )
    _LIVENESS = Counter(
        "ml_models_liveness", "Attempts that were looked at and not refused.", ["verdict"], registry=_REGISTRY
    )
    _CACHE_FAILURES = Counter(
        "ml_models_cache_failures", "Times the cache did not answer.", ["cache"], registry=_REGISTRY
    )
    _CACHE_OPEN = LiveGauge(
        "ml_models_cache_breaker_open",
        "Processes that count the limits alone, since the cache does not answer.",
        ["cache"],
        registry=_REGISTRY,
        multiprocess_mode="livesum",
    )
    _WAITING = LiveGauge(
        "ml_models_waiting",
        "Who waits for a core, or for a thread before it.",
        ["kind"],
        registry=_REGISTRY,
        multiprocess_mode="livesum",
    )


# the limits' count lies in the host's cache of this name
_CACHE = "default"

Dropped: TypeAlias = Iterable[Mapping[str, Any]]
"""Frames that could not be used, each with its `code`."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is so when it is asked; `values` by the values of `labels`."""

    name: str
    about: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


def answered(call: str, code: str, seconds: float) -> None:
    """A call's answer: `code` is the problem's, "ok" without one."""
    if installed:
        with _unharmed():
            _REQUESTS.labels(call, code).inc()
            _REQUEST_SECONDS.labels(call).observe(seconds)


def verified(outcome: str, timings_ms: Mapping[str, float], dropped: Dropped = ()) -> None:
    """A verify: `outcome` is its decision, or the code that it failed with; the time of each of its steps; the frames
    that could not be used."""
    if installed:
        with _unharmed():
            _DECISIONS.labels(outcome).inc()
            _drop(dropped)
            for step, ms in timings_ms.items():
                _STEP_SECONDS.labels(step).observe(ms / 1000)


@contextmanager
def waiting(kind: str) -> Iterator[None]:
    """Around the wait for a core."""
    if not installed:
        yield
        return
    with _unharmed():
        _WAITING.labels(kind).inc()
    try:
        yield
    finally:
        with _unharmed():
            _WAITING.labels(kind).dec()


def identified(outcome: str, timings_ms: Mapping[str, float], dropped: Dropped = ()) -> None:
    """A search on a roster: `outcome` is its decision, or the code that it failed with."""
    if installed:
        with _unharmed():
            _IDENTIFICATIONS.labels(outcome).inc()
            _drop(dropped)
            for step in timings_ms.keys() & {"roster", "search", "total"}:
                _SEARCH_SECONDS.labels(step).observe(timings_ms[step] / 1000)


def locked_out(who: Literal["subject", "credential"]) -> None:
    """A subject was locked, or a credential slowed altogether."""
    if installed:
        with _unharmed():
            _LOCKOUTS.labels(who).inc()


def challenge(step: Literal["issued", "answered", "passed"]) -> None:
    """Where a challenge came to: who does not answer gave up, who does not pass failed."""
    if installed:
        with _unharmed():
            _CHALLENGES.labels(step).inc()


def looked_at(verdict: str) -> None:
    """An attempt goes on after somebody looked whether a person is there: yes, uncertain, or no where that is only
    monitored. What is refused is an outcome."""
    if installed:
        with _unharmed():
            _LIVENESS.labels(verdict).inc()


def cache_answered(answered: bool) -> None:
    """Whether the cache that the limits count in answered this process."""
    if installed:
        with _unharmed():
            _CACHE_OPEN.labels(_CACHE).set(not answered)
            _CACHE_FAILURES.labels(_CACHE).inc(not answered)


def _drop(dropped: Dropped) -> None:
    for frame in dropped:
        _DROPPED.labels(frame["code"]).inc()


def exposition(gauges: Iterable[Gauge]) -> bytes:
    """All of it in Prometheus's text format, with what is so now."""
    counted = _REGISTRY
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        counted = CollectorRegistry()
        if Path(folder).is_dir():
            MultiProcessCollector(counted, folder)  # type: ignore[no-untyped-call]
    now = CollectorRegistry()
    now.register(_Now(gauges))
    return generate_latest(counted) + generate_latest(now)


class _unharmed:  # noqa: N801 - reads as a statement
    """A full disk under the counters is no reason to refuse anybody."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, OSError | ValueError):
            return False
        logger.warning("metrics: not counted: %s", error)
        return True


if installed:

    class _Now(Collector):
        def __init__(self, gauges: Iterable[Gauge]) -> None:
            self._gauges = list(gauges)

        def collect(self) -> Iterable[GaugeMetricFamily]:
            for gauge in self._gauges:
                family = GaugeMetricFamily(gauge.name, gauge.about, labels=gauge.labels)
                for labels, value in gauge.values.items():
                    family.add_metric(labels, value)
                yield family
