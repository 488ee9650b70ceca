"""A config version → its pipeline and its numbers: the only module here that knows the database."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np

from .. import conf, runtime, selectors
from ..engine.calibrate import Affine, Calibration
from ..engine.decode import DecodeLimits
from ..engine.detect import LANDMARKS_ID, Detector
from ..engine.fuse import Fusion, Member, VoterSet
from ..engine.pipeline import Pipeline
from ..engine.quality import SCORE_ID
from ..engine.types import canonical_json
from ..exceptions import NotFound
from ..models import EnsembleConfig
from ..wrapper import FaceModel


def find(version: int) -> EnsembleConfig:
    """A version in any state.

    Raises:
        NotFound: there is none of this number.
    """
    config = selectors.configs().filter(version=version).first()
    if config is None:
        raise NotFound(f"There is no version {version}. Load its file with load_ensemble.")
    return config


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


def members(config: EnsembleConfig) -> tuple[Member, ...]:
    """The members with their weights, before any calibration."""
    plain = Calibration(1.0, 0.0)
    rows = config.members.all()
    return tuple(Member(m.artifact.name, m.weight, plain, m.quality_threshold) for m in rows)


def pipeline_digest(config: EnsembleConfig) -> str:
    """sha256 of what makes the vectors: detector, spaces and quality limits."""
    parts = {
        "detector": config.detector.sha256,
        "spaces": sorted(member.space for member in config.members.all()),
        "limits": selectors.quality_limits(config, "verify").to_json(),
        "landmarks": LANDMARKS_ID,
        "quality": SCORE_ID,
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def numbers(fusion: Fusion) -> dict[str, Any]:
    """A fitted rule as the ensemble file has it: `members` (calibration by name), `voter_sets` and `conditions`."""
    return {
        **_rules(fusion),
        "conditions": [
            {
                "name": condition.name,
                "directions": {name: _text(direction) for name, direction in condition.directions.items()},
                "offset": condition.offset,
                "centres": {
                    name: {"probes": _text(centres.probes), "references": _text(centres.references)}
                    for name, centres in condition.centres.items()
                },
                **_rules(condition.fusion),
            }
            for condition in fusion.conditions
        ],
    }


def _rules(fusion: Fusion) -> dict[str, Any]:
    def rounded(affine: Affine | Calibration) -> dict[str, float]:
        return {name: round(value, 5) for name, value in asdict(affine).items()}

    def thresholds(rule: VoterSet) -> dict[str, float]:
        # rounded up: down would let through more than the target
        names = ("threshold", "review_threshold")
        return {name: math.ceil(getattr(rule, name) * 1e4) / 1e4 for name in names}

    return {
        "members": {member.name: rounded(member.calibration) for member in fusion.members},
        "voter_sets": {
            key: {
                **rounded(rule.calibration),
                "trust": {name: round(value, 5) for name, value in rule.trust.items()},
                **thresholds(rule),
            }
            for key, rule in fusion.voter_sets.items()
        },
    }


def _text(numbers: Sequence[float]) -> str:
    return base64.b64encode(np.array(numbers, "<f2").tobytes()).decode()
