"""A network that looks for presentation attacks: a face with what is around it in, the odds of a person out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ...engine.errors import ContractMismatch
from ...engine.graph import graph_digest
from ...engine.log_odds import check_golden
from ...engine.presentation import PresentationContract, PresentationDetector
from ...models import Artifact
from ..engines import open_presentation


def families() -> Collection[str]:
    return ["fr_liveness", "minifasnet"]


def measure(path: Path, contract: Mapping[str, Any]) -> dict[str, Any]:
    detector = PresentationDetector(path, PresentationContract.from_json(contract))
    return {
        "graph_sha256": graph_digest(path),
        "dimension": detector.contract.classes,
        "golden": detector.golden.astype("<f4").tobytes(),
    }


def load(artifact: Artifact, path: Path) -> PresentationDetector:
    if graph_digest(path) != artifact.graph_sha256:
        raise ContractMismatch(f"{artifact.name}: the graph is not the one that was published.")
    detector = open_presentation(artifact, path)
    check_golden(detector, artifact.golden_vectors)
    return detector


def seconds_per_face(network: PresentationDetector) -> float | None:
    return None  # stored references are not looked at again
