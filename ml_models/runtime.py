"""The networks and versions that this process answers with, and how it reports them.

`start()` runs in a web worker or a Celery child after the fork. One background thread then keeps what is loaded equal
to what the served versions need, another one writes heartbeats. Requests only look up; they never load a network.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, TypeVar

import cv2
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models.functions import Now

from . import artifacts, conf, selectors
from .engine.challenge import TurnedRule
from .engine.decode import DecodeLimits
from .engine.errors import ArtifactRejected, InferenceFailed, MissingThreshold
from .engine.fuse import Fusion
from .engine.identify import IdentificationRule
from .engine.pipeline import EmbedsFaces, Pipeline
from .engine.presentation import PassiveRule
from .engine.quality import QualityLimits
from .exceptions import ArtifactError, NotReady
from .models import Artifact, EnsembleConfig, ServingProcess
from .versions import numbers

logger = logging.getLogger(__name__)

State = EnsembleConfig.State
T = TypeVar("T")

# A row of a process that ended without taking itself off the list is kept so long, for whoever looks into it.
_FORGOTTEN_AFTER = timedelta(days=1)


class PerProcess(Generic[T]):
    """A value of which every process makes its own: after a fork the parent's threads and sessions are dead."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._pid, self._value = make, os.getpid(), make()

    def __call__(self) -> T:
        if self._pid != os.getpid():
            self._pid, self._value = os.getpid(), self._make()
        return self._value

    @contextmanager
    def renewed(self) -> Iterator[T]:
        """Inside, a new value as after a fork; the earlier one again afterwards."""
        before, self._value = self(), self._make()
        try:
            yield self._value
        finally:
            self._value = before


class ServedVersion:
    """What this process needs to answer under a version, read and checked once: a version that left `draft` is
    immutable. Only `config.state` and `config.warm_until` may have moved on since."""

    def __init__(self, config: EnsembleConfig, pipeline: Pipeline) -> None:
        self.config = config
        self.pipeline = pipeline
        self.verify_limits: QualityLimits = numbers.quality_limits(config, "verify")
        self.enroll_limits: QualityLimits = numbers.quality_limits(config, "enroll")
        with suppress(MissingThreshold):  # raised to whoever uses it
            self.rule  # noqa: B018 - read now, so that no request has to

    @cached_property
    def rule(self) -> Fusion:
        """The decision rule.

        Raises:
            MissingThreshold: its numbers are not usable after all.
        """
        return numbers.rule(self.config)

    @cached_property
    def passive(self) -> PassiveRule | None:
        """How its attack detectors are judged; None where it has none.

        Raises:
            ConfigInvalid: its numbers are not usable after all.
        """
        return numbers.passive(self.config)

    @cached_property
    def identification(self) -> IdentificationRule:
        """The thresholds by the number of candidates.

        Raises:
            NotReady: the version has none.
            MissingThreshold: they are not usable after all.
        """
        return numbers.identification(self.config)

    @cached_property
    def turned(self) -> TurnedRule | None:
        """How the frames of a challenge are judged; None where it cannot. Raises as `passive`."""
        return numbers.turned(self.config)


@dataclass
class _State:
    """`networks` by sha256; `configs` and `versions` by primary key: what was read, and what of it can answer."""

    id: uuid.UUID = field(default_factory=uuid.uuid4)
    networks: dict[str, Any] = field(default_factory=dict)
    configs: dict[int, EnsembleConfig] = field(default_factory=dict)
    versions: dict[int, ServedVersion] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    rolling: int | None = None
    threads: list[threading.Thread] = field(default_factory=list)
    kind: str = ServingProcess.Kind.WEB
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    loading: threading.Lock = field(default_factory=threading.Lock)


current = PerProcess(_State)
"""What belongs to this process."""


def start(kind: str = ServingProcess.Kind.WEB) -> None:
    """Begin to load and report, in the background; a second call does nothing."""
    process = current()
    with process.lock:
        if process.threads:
            return
        process.kind = kind
        # OpenCV's own pool would fight the request threads for the cores
        cv2.setNumThreads(1)
        # apart, so that a download of minutes does not make this process look dead
        process.threads = [
            threading.Thread(target=_repeat, args=(process, work), name=name, daemon=True)
            for name, work in (("ml_models-runtime", refresh), ("ml_models-heartbeat", report))
        ]
        for thread in process.threads:
            thread.start()


def stop(patience_s: float = 30) -> None:
    """End the background threads and take this process off the list of serving ones. A thread that loads networks is
    waited for no longer than `patience_s`: little where the process ends anyway."""
    process = current()
    if process.threads:
        process.stop.set()
        deadline = time.monotonic() + patience_s
        for thread in process.threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        process.threads = []
        process.stop.clear()
        ServingProcess.objects.filter(pk=process.id).delete()


def _repeat(process: _State, work: Callable[[], None]) -> None:
    while True:
        close_old_connections()
        try:
            work()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("runtime: the database does not answer (%s); trying again", type(error).__name__)
        except Exception:  # whatever it was, a process that no longer follows or reports itself would be worse
            logger.exception("runtime: %s failed; trying again", work.__name__)
        if process.stop.wait(conf.get("HEARTBEAT_S")):
            return


def refresh(active_only: bool = False) -> None:
    """Load what the served versions need, the active one's first, and let go of what none needs any more.

    Args:
        active_only: leave what the other versions need for the next time.
    """
    process = current()
    with process.loading:  # a task that wants a network waits for the thread that is loading it
        _refresh(process, active_only)


def _refresh(process: _State, active_only: bool) -> None:
    states = selectors.served_states()
    # what cannot answer yet is read again: a lost file may have been published anew
    configs = {pk: version.config for pk, version in process.versions.items() if pk in states}
    unread = selectors.configs().filter(pk__in=states.keys() - configs.keys())
    process.configs = configs = configs | {config.pk: config for config in unread}
    wanted = {artifact.sha256: artifact for config in configs.values() for artifact in config.artifacts}
    for sha256 in process.networks.keys() - wanted.keys():
        del process.networks[sha256]
    names = {artifact.name for artifact in wanted.values()}
    process.problems = {name: code for name, code in process.problems.items() if name in names}
    process.versions = {pk: version for pk, version in process.versions.items() if pk in configs}
    process.rolling = next((pk for pk, state in states.items() if state == State.ROLLING_OUT), None)
    # the version that answers waits for no other one's download
    for pk, config in sorted(configs.items(), key=lambda item: states[item[0]] != State.ACTIVE):
        if states[pk] == State.ACTIVE or not active_only:
            _make_ready(process, config)


def _make_ready(process: _State, config: EnsembleConfig) -> None:
    for artifact in config.artifacts:
        if artifact.sha256 in process.networks:
            artifacts.keep(artifact)
        else:
            _load(process, artifact)
    if config.pk not in process.versions and _complete(process, config):
        try:
            process.versions[config.pk] = ServedVersion(config, assemble(config, process.networks))
        except ArtifactRejected as error:
            logger.error("runtime: version %d cannot answer here: %s", config.version, error)  # noqa: TRY400


def _load(process: _State, artifact: Artifact) -> None:
    try:
        process.networks[artifact.sha256] = artifacts.load(artifact)
        process.problems.pop(artifact.name, None)
        logger.info("runtime: %s is loaded", artifact.name)
    except (ArtifactError, ArtifactRejected, InferenceFailed) as error:
        if process.problems.get(artifact.name) != error.code:
            logger.warning("runtime: %s is not loaded: %s: %s", artifact.name, error.code, error)
        process.problems[artifact.name] = error.code


def _complete(process: _State, config: EnsembleConfig) -> bool:
    return {artifact.sha256 for artifact in config.artifacts} <= process.networks.keys()


def assemble(config: EnsembleConfig, networks: Mapping[str, Any]) -> Pipeline:
    """A version's way from bytes to vectors, out of loaded networks by sha256.

    Raises:
        ArtifactRejected: a file is not of the kind that its place in the version takes.
    """

    def network(artifact: Artifact, kind: str) -> Any:
        if artifact.kind != kind:
            raise ArtifactRejected(f"{artifact.name} is published as {artifact.kind}; its place takes {kind}.")
        return networks[artifact.sha256]

    def part(place: str, files: Sequence[Artifact]) -> Any:
        loaded = tuple(network(artifact, config.PLACES[place]) for artifact in files)
        return loaded if place in config.SEVERAL else loaded[0]

    return Pipeline(
        members={m.artifact.name: network(m.artifact, Artifact.Kind.EMBEDDER) for m in config.members.all()},
        flip=config.flip,
        decode_limits=DecodeLimits(max_bytes=conf.get("MAX_IMAGE_BYTES")),
        **{place: part(place, files) for place, files in config.placed.items()},
    )


def report() -> None:
    """Write this process's heartbeat: what it has loaded, and what it could not."""
    process = current()
    networks, configs = dict(process.networks), list(process.configs.values())
    loaded = set(networks)
    members = (member for config in configs for member in config.members.all())
    named = {a.name: networks[a.sha256] for config in configs for a in config.artifacts if a.sha256 in loaded}
    facts = {
        "host": socket.gethostname()[:200],
        "pid": os.getpid(),
        "heartbeat_at": Now(),
        "spaces": sorted({member.space for member in members if member.artifact.sha256 in loaded}),
        "artifacts": sorted(loaded),
        "problems": process.problems,
        # a host's own kind of network need not say what runs it
        "engines": {name: network.engine for name, network in named.items() if hasattr(network, "engine")},
        "kind": process.kind,
    }
    ServingProcess.objects.update_or_create(
        pk=process.id, defaults=facts, create_defaults={**facts, "started_at": Now()}
    )
    ServingProcess.objects.filter(heartbeat_at__lt=Now() - _FORGOTTEN_AFTER).delete()


def active() -> ServedVersion:
    """The active version, ready to answer. One small query: which one it is.

    Raises:
        NotReady: none is active, or this process has not loaded its networks.
    """
    return served(selectors.active_pk())


def served(pk: int) -> ServedVersion:
    """A version that this process can answer with. Read from the database only on first sight: a version with no new
    network may go live between two looks of the background thread.

    Raises:
        NotReady: one of its networks is not loaded in this process.
    """
    process = current()
    version = process.versions.get(pk)
    if version is None:
        config = selectors.configs().get(pk=pk)
        if not _complete(process, config):
            names = [a.name for a in config.artifacts if a.sha256 not in process.networks]
            raise NotReady(f"{', '.join(sorted(names))} is not loaded yet. Try again in a moment.")
        version = process.versions[pk] = ServedVersion(config, assemble(config, process.networks))
    return version


def rolling_out() -> ServedVersion | None:
    """The version on its way, once this process could answer with it; as of the last look, without a query."""
    process = current()
    return process.versions.get(process.rolling) if process.rolling is not None else None


def model(artifact: Artifact) -> EmbedsFaces:
    """A loaded face network.

    Raises:
        NotReady: this process has not loaded it (yet).
    """
    network: EmbedsFaces | None = current().networks.get(artifact.sha256)
    if network is None:
        raise NotReady(f"{artifact.name} is not loaded yet. Try again in a moment.")
    return network


def problems() -> dict[str, str]:
    """What could not be loaded in this process and why: error code by artifact name."""
    return dict(current().problems)
