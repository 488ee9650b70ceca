"""A config version → its pipeline, loaded to be measured."""

from __future__ import annotations

import cv2

from .. import artifacts, runtime
from ..engine.pipeline import Pipeline
from ..models import EnsembleConfig


def pipeline(config: EnsembleConfig) -> Pipeline:
    """The version's pipeline, loaded for this process alone: drafts and retired versions are measured too.

    Raises:
        ArtifactError, ArtifactRejected: a model file cannot be had, or is not what the database says.
    """
    # as in the service: images side by side use the cores
    cv2.setNumThreads(1)
    return runtime.assemble(config, {artifact.sha256: artifacts.load(artifact) for artifact in config.artifacts})
