"""The networks loaded in this process, and how it reports them.

`start()` runs in a web worker or a Celery child after the fork. A background thread then keeps what is loaded equal to
what the served versions need, and writes a heartbeat. Requests only look up; they never load.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from dataclasses import dataclass, field

import cv2
from django.db import DatabaseError, close_old_connections
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from . import artifacts, conf, selectors
from .config import family as family_config
from .engine.decode import DecodeLimits
from .engine.detect import Detector
from .engine.embed import Embedder, check_golden
from .engine.errors import ArtifactRejected, ContractMismatch, InferenceFailed
from .engine.graph import graph_digest
from .engine.pipeline import Pipeline
from .exceptions import ArtifactError, NotReady
from .models import Artifact, EnsembleConfig, ServingProcess
from .wrapper import FaceModel

logger = logging.getLogger(__name__)


@dataclass
class _Process:
    """What belongs to one process; a forked child starts with an empty one."""

    pid: int = field(default_factory=os.getpid)
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    loaded: dict[str, FaceModel | Detector] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    checked: bool = False
    thread: threading.Thread | None = None
    kind: str = ServingProcess.Kind.WEB
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


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
        if process.thread is not None:
            return
        process.kind = kind
        # OpenCV's own pool would fight the request threads for the cores
        cv2.setNumThreads(1)
        process.thread = threading.Thread(target=_keep_up, args=(process,), name="ml_models-runtime", daemon=True)
        process.thread.start()


def stop() -> None:
    """End the background thread and take this process off the list of serving ones."""
    process = _current()
    if process.thread is not None:
        process.stop.set()
        process.thread.join(timeout=30)
        process.thread = None
        process.stop.clear()
        ServingProcess.objects.filter(pk=process.id).delete()


def _keep_up(process: _Process) -> None:
    while True:
        close_old_connections()
        try:
            refresh()
            _heartbeat(process)
        except DatabaseError as error:
            logger.warning("runtime: the database does not answer (%s); trying again", type(error).__name__)
        if process.stop.wait(conf.get("HEARTBEAT_S")):
            return


def refresh() -> None:
    """Load what the served versions need and let go of what none needs any more."""
    process = _current()
    wanted = _wanted(selectors.served_configs())
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
    process.checked = True


def _wanted(configs: list[EnsembleConfig]) -> dict[str, Artifact]:
    members = {member.artifact for config in configs for member in config.members.all()}
    return {artifact.sha256: artifact for artifact in members | {config.detector for config in configs}}


def _heartbeat(process: _Process) -> None:
    spaces = [
        space
        for space, (member, _) in selectors.members_by_space(selectors.served_configs()).items()
        if member.artifact.sha256 in process.loaded
    ]
    facts = {
        "host": socket.gethostname()[:200],
        "pid": process.pid,
        "heartbeat_at": Now(),
        "spaces": sorted(spaces),
        "problems": process.problems,
        "kind": process.kind,
    }
    ServingProcess.objects.update_or_create(
        pk=process.id, defaults=facts, create_defaults={**facts, "started_at": Now()}
    )


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


def model(artifact: Artifact) -> FaceModel:
    """A loaded network.

    Raises:
        NotReady: this process has not loaded it (yet).
    """
    loaded = _current().loaded.get(artifact.sha256)
    if not isinstance(loaded, FaceModel):
        raise NotReady(f"{artifact.name} is not loaded yet. Try again in a moment.")
    return loaded


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
