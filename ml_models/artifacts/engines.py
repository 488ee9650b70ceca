"""Which engine serves a network in this deployment, and where that is kept.

A choice by timing could fall differently in two processes. So the first one's is kept in the cache folder, for this
file, this processor and these versions, and the others follow it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

from .. import conf
from ..engine.choice import (
    ENGINES,
    Choice,
    choose,
    choose_detector,
    choose_presentation,
    prove_same,
    prove_same_faces,
)
from ..engine.detect import Detector
from ..engine.embed import Embedder
from ..engine.errors import ArtifactRejected, InferenceFailed
from ..engine.inference import OnnxRuntimeGraph, OpenVinoGraph, onnxruntime_version, openvino_version, why_not_openvino
from ..engine.log_odds import check_golden
from ..engine.presentation import PresentationContract, PresentationDetector
from ..engine.processor import identity
from ..engine.types import canonical_json
from ..engine.yunet import OpenCvYuNet, OpenVinoYuNet, YuNet
from ..models import Artifact

logger = logging.getLogger(__name__)

SETTINGS = ("auto", "onnxruntime", "openvino")
T = TypeVar("T")


def open_embedder(artifact: Artifact, path: Path) -> Embedder:
    """A face network in the engine that `INFERENCE` asks for, else in onnxruntime.

    OpenVINO serves only what it has just proven equal in this process.

    Raises:
        ContractMismatch: see `Embedder`.
        InferenceFailed: it does not run.
    """
    threads, contract = conf.get("THREADS_PER_CALL"), artifact.input_contract
    reference = Embedder(path, contract, partial(OnnxRuntimeGraph, threads=threads))

    def proven() -> Embedder:
        candidate = Embedder(path, contract, partial(OpenVinoGraph, threads=threads, precision=contract.precision))
        prove_same(reference, candidate)
        return candidate

    return _chosen(artifact, reference, proven, lambda: choose(path, contract))


def open_detector(artifact: Artifact, path: Path) -> Detector:
    """A face detector, as `open_embedder`; without OpenVINO it is OpenCV that runs it.

    Raises:
        ContractMismatch: OpenCV cannot run it, or it is no YuNet.
    """
    reference: YuNet = OpenCvYuNet(path)
    Detector(path, network=reference).warm_up()

    def proven() -> YuNet:
        candidate = OpenVinoYuNet(path, others=reference)
        prove_same_faces(reference, candidate)
        return candidate

    return Detector(path, network=_chosen(artifact, reference, proven, lambda: choose_detector(path)))


def open_presentation(artifact: Artifact, path: Path) -> PresentationDetector:
    """A network that looks for presentation attacks, as `open_embedder`. Raises as that."""
    threads, contract = conf.get("THREADS_PER_CALL"), PresentationContract.from_json(artifact.contract)
    reference = PresentationDetector(path, contract, partial(OnnxRuntimeGraph, threads=threads))

    def proven() -> PresentationDetector:
        candidate = PresentationDetector(path, contract, partial(OpenVinoGraph, threads=threads))
        check_golden(candidate, reference.golden)
        return candidate

    return _chosen(artifact, reference, proven, lambda: choose_presentation(path, contract))


def _chosen(artifact: Artifact, reference: T, proven: Callable[[], T], trial: Callable[[], Choice]) -> T:
    try:
        return proven() if _wanted(artifact, trial) == "openvino" else reference
    except (ArtifactRejected, InferenceFailed) as error:
        logger.warning("%s is not served by OpenVINO: %s", artifact.name, error)
        return reference


def _wanted(artifact: Artifact, trial: Callable[[], Choice]) -> str:
    setting: str = conf.get("INFERENCE")
    if why_not_openvino():  # `manage.py check` says why
        return "onnxruntime"
    if setting != "auto":
        return setting
    place = _place(artifact)
    choice = _kept(place)
    if choice is None:
        choice = _keep(place, trial())
        logger.info("%s is served by %s: %s", artifact.name, choice.engine, choice.why)
    return choice.engine


def _place(artifact: Artifact) -> Path:
    facts = {"processor": identity(), "onnxruntime": onnxruntime_version(), "openvino": openvino_version()}
    key = hashlib.sha256(canonical_json(facts).encode()).hexdigest()
    return conf.cache_dir() / "engines" / f"{artifact.sha256}-{key[:16]}.json"


def _kept(place: Path) -> Choice | None:
    try:
        choice = Choice(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none yet, or not one of ours
        return None
    return choice if choice.engine in ENGINES else None


def _keep(place: Path, choice: Choice) -> Choice:
    """Keep a choice unless another process was first; then, its one."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".choice-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(choice), file)
            try:
                place.hardlink_to(temporary)
            except FileExistsError:
                if earlier := _kept(place):
                    return earlier
                Path(temporary).replace(place)  # what was there is not a choice
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        logger.warning("the choice of an engine cannot be kept in %s: %s", place.parent, error.strerror)
    return choice
