"""The networks loaded in this process, and how it reports them.

`start()` runs in a web worker or a Celery child after the fork. One background thread then keeps what is loaded equal
to what the served versions need, another one writes heartbeats. Requests only look up; they never load.
"""

from __future__ import annotations

import logging
import os
import socket
import statistics
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import cv2
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from . import artifacts, conf, selectors
from .config import family as family_config
from .engine.decode import DecodeLimits
from .engine.detect import Detector
from .engine.embed import Embedder, check_golden, golden_crops
from .engine.errors import ArtifactRejected, ContractMismatch, InferenceFailed
from .engine.graph import graph_digest
from .engine.pipeline import Pipeline
from .exceptions import ArtifactError, NotReady
from .models import Artifact, EnsembleConfig, ServingProcess
from .wrapper import FaceModel

logger = logging.getLogger(__name__)

# A row of a process that ended without taking itself off the list is kept so long, for whoever looks into it.
_FORGOTTEN_AFTER = timedelta(days=1)


@dataclass
class _Process:
    """What belongs to one process; a forked child starts with an empty one."""

    pid: int = field(default_factory=os.getpid)
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    loaded: dict[str, FaceModel | Detector] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    rolling: EnsembleConfig | None = None
    checked: bool = False
    threads: list[threading.Thread] = field(default_factory=list)
    kind: str = ServingProcess.Kind.WEB
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    loading: threading.Lock = field(default_factory=threading.Lock)


_process = _Process()


def _current() -> _Process:
    global _process
    if _process.pid != os.getpid():  # forked: the parent's sessions and threads are dead in here
        _process = _Process()
    return _process


def start(kind: str = ServingProcess.Kind.WEB) -> None:
    """Begin to load and report, in the background; a second call does nothing."""
    process = _current()
    with process.lock:
        if process.threads:
            return
        process.kind = kind
        # OpenCV's own pool would fight the request threads for the cores
        cv2.setNumThreads(1)
        # apart, so that a download of minutes does not make this process look dead
        process.threads = [
            threading.Thread(target=_repeat, args=(process, work), name=name, daemon=True)
            for name, work in (("ml_models-runtime", refresh), ("ml_models-heartbeat", _heartbeat))
        ]
        for thread in process.threads:
            thread.start()


def stop() -> None:
    """End the background threads and take this process off the list of serving ones."""
    process = _current()
    if process.threads:
        process.stop.set()
        for thread in process.threads:
            thread.join(timeout=30)
        process.threads = []
        process.stop.clear()
        ServingProcess.objects.filter(pk=process.id).delete()


def _repeat(process: _Process, work: Callable[[], None]) -> None:
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


def refresh() -> None:
    """Load what the served versions need and let go of what none needs any more."""
    process = _current()
    with process.loading:  # a task that wants a network waits for the thread that is loading it
        _refresh(process)


def _refresh(process: _Process) -> None:
    served = selectors.served_configs()
    wanted = _wanted(served)
    for sha256, artifact in wanted.items():
        if sha256 in process.loaded:
            continue
        try:
            process.loaded[sha256] = load(artifact)
            process.problems.pop(artifact.name, None)
            logger.info("runtime: %s is loaded", artifact.name)
        except (ArtifactError, ArtifactRejected, InferenceFailed) as error:
            if process.problems.get(artifact.name) != error.code:
                logger.warning("runtime: %s is not loaded: %s: %s", artifact.name, error.code, error)
            process.problems[artifact.name] = error.code
    for sha256 in set(process.loaded) - set(wanted):
        del process.loaded[sha256]
    names = {artifact.name for artifact in wanted.values()}
    process.problems = {name: code for name, code in process.problems.items() if name in names}
    process.rolling = next((c for c in served if c.state == EnsembleConfig.State.ROLLING_OUT), None)
    process.checked = True


def _wanted(configs: list[EnsembleConfig]) -> dict[str, Artifact]:
    members = {member.artifact for config in configs for member in config.members.all()}
    return {artifact.sha256: artifact for artifact in members | {config.detector for config in configs}}


def _heartbeat() -> None:
    process = _current()
    loaded = set(process.loaded)
    spaces = [
        space
        for space, (member, _) in selectors.members_by_space(selectors.served_configs()).items()
        if member.artifact.sha256 in loaded
    ]
    facts = {
        "host": socket.gethostname()[:200],
        "pid": process.pid,
        "heartbeat_at": Now(),
        "spaces": sorted(spaces),
        "artifacts": sorted(loaded),
        "problems": process.problems,
        "kind": process.kind,
    }
    ServingProcess.objects.update_or_create(
        pk=process.id, defaults=facts, create_defaults={**facts, "started_at": Now()}
    )
    ServingProcess.objects.filter(heartbeat_at__lt=Now() - _FORGOTTEN_AFTER).delete()


def load(artifact: Artifact) -> FaceModel | Detector:
    """Pull an artifact, prove that it is what the database says, and make it ready to answer.

    Raises:
        ArtifactError: it cannot be had, or its bytes are other ones.
        ArtifactRejected: its family is off, its contract does not fit, or it does not give its golden vectors.
        InferenceFailed: it does not run.
    """
    path = artifacts.ensure_local(artifact)
    if artifact.kind == Artifact.Kind.DETECTOR:
        detector = Detector(path)
        detector.warm_up()
        return detector
    entry = family_config(artifact.family)
    if entry is None:
        raise ArtifactRejected(f"{artifact.name}: this build does not run the family {artifact.family}.")
    if graph_digest(path) != artifact.graph_sha256:
        raise ContractMismatch(f"{artifact.name}: the graph is not the one its embedding space is named after.")
    embedder = Embedder(path, artifact.input_contract, threads=conf.get("THREADS_PER_CALL"))
    if embedder.contract.dimension != artifact.dimension:
        raise ContractMismatch(f"{artifact.name}: the dimension differs from the one in the database.")
    check_golden(embedder, artifact.golden_vectors, artifact.golden_min_cosine)
    wrapper: FaceModel = import_string(entry["class"])(embedder)
    return wrapper


def seconds_per_face(model: FaceModel) -> float:
    """How long a loaded network takes for one face on one core of this machine, in seconds: the median of five."""

    def timed() -> float:
        began = time.perf_counter()
        model.embed(golden_crops()[:1])
        return time.perf_counter() - began

    return statistics.median(timed() for _ in range(5))


def model(artifact: Artifact) -> FaceModel:
    """A loaded network.

    Raises:
        NotReady: this process has not loaded it (yet).
    """
    loaded = _current().loaded.get(artifact.sha256)
    if not isinstance(loaded, FaceModel):
        raise NotReady(f"{artifact.name} is not loaded yet. Try again in a moment.")
    return loaded


def has_loaded(config: EnsembleConfig) -> bool:
    """Whether this process could answer with the version now."""
    return _wanted([config]).keys() <= _current().loaded.keys()


def rolling_out() -> EnsembleConfig | None:
    """The version on its way, once this process could answer with it; as of the last look, without a query."""
    config = _current().rolling
    return config if config is not None and has_loaded(config) else None


def pipeline(config: EnsembleConfig) -> Pipeline:
    """The version's way from bytes to vectors.

    Raises:
        NotReady: one of its networks is not loaded in this process.
    """
    detector = _current().loaded.get(config.detector.sha256)
    if not isinstance(detector, Detector):
        raise NotReady(f"{config.detector.name} is not loaded yet. Try again in a moment.")
    members = {member.artifact.name: model(member.artifact) for member in config.members.all()}
    return Pipeline(detector, members, config.flip, DecodeLimits(max_bytes=conf.get("MAX_IMAGE_BYTES")))


def active_embedder(family: str) -> Embedder:
    """The active version's network of a family; loaded now where this process has not.

    Raises:
        NotReady: no version is active, or the active one has no member of this family.
    """
    config = selectors.active_config()
    for member in config.members.all():
        if member.artifact.family == family:
            loaded = _current().loaded.get(member.artifact.sha256) or load(member.artifact)
            if isinstance(loaded, FaceModel):
                return loaded.embedder
    raise NotReady(f"The active version {config.version} has no member of the family {family}.")


def problems() -> dict[str, str]:
    """What could not be loaded in this process and why: error code by artifact name."""
    return dict(_current().problems)


def missing() -> list[str]:
    """What keeps this process from serving, as sentences; empty when it is ready."""
    process = _current()
    if not process.checked:
        return ["The networks are being loaded."]
    configs = selectors.served_configs()
    if not any(config.state == EnsembleConfig.State.ACTIVE for config in configs):
        return ["No version is active."]
    absent = [a.name for sha256, a in _wanted(configs).items() if sha256 not in process.loaded]
    return [f"{name} is not loaded: {process.problems.get(name, 'in progress')}." for name in sorted(absent)]
