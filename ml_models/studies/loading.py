"""A config version → its pipeline, loaded to be measured."""

from __future__ import annotations

import cv2

from .. import conf, runtime
from ..engine.decode import DecodeLimits
from ..engine.detect import Detector
from ..engine.pipeline import Pipeline
from ..exceptions import NotFound
from ..models import EnsembleConfig
from ..wrapper import FaceModel


def pipeline(config: EnsembleConfig) -> Pipeline:
    """The version's pipeline, loaded for this process alone: drafts and retired versions are measured too.

    Raises:
        ArtifactError, ArtifactRejected: a model file cannot be had, or is not what the database says.
    """
    # as in the service: images side by side use the cores
    cv2.setNumThreads(1)
    detector = runtime.load(config.detector)
    members = {member.artifact.name: runtime.load(member.artifact) for member in config.members.all()}
    if not isinstance(detector, Detector):
        raise NotFound(f"{config.detector.name} is no detector.")
    embedders = {name: model for name, model in members.items() if isinstance(model, FaceModel)}
    limits = DecodeLimits(max_bytes=conf.get("MAX_IMAGE_BYTES"))
    return Pipeline(detector, embedders, config.flip, limits)
