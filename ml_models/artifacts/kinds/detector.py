"""A face detector."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ...engine.detect import Detector
from ...engine.graph import graph_digest
from ...models import Artifact
from ..engines import open_detector


def families() -> Collection[str]:
    return ["yunet"]


def measure(path: Path, contract: Mapping[str, Any]) -> dict[str, Any]:
    return {"graph_sha256": graph_digest(path)}


def load(artifact: Artifact, path: Path) -> Detector:
    return open_detector(artifact, path)


def seconds_per_face(network: Detector) -> float | None:
    return None
