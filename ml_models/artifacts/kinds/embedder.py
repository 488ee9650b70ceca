"""A face network: an aligned crop in, an embedding out. Its golden vectors prove it wherever it is loaded."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from django.utils.module_loading import import_string

from ...config import FACE_RECOGNITION_MODELS, family
from ...engine.embed import Embedder, check_golden, golden_crops, golden_tolerance, golden_vectors
from ...engine.errors import ArtifactRejected, ContractMismatch
from ...engine.graph import graph_digest
from ...engine.pipeline import EmbedsFaces
from ...engine.types import InputContract
from ...models import Artifact
from ..engines import open_embedder

# two people's cosine is near 0; a public INT8 file of this kind lay near 1 for everybody
_COLLAPSED_COSINE = 0.98


def families() -> Collection[str]:
    return FACE_RECOGNITION_MODELS


def measure(path: Path, contract: Mapping[str, Any]) -> dict[str, Any]:
    embedder = Embedder(path, InputContract.from_json(contract))
    golden = golden_vectors(embedder)
    # `not <`, so that NaN is refused, too
    if not float(golden[0] @ golden[1]) < _COLLAPSED_COSINE:
        raise ArtifactRejected(f"{path.name} has collapsed: it gives two different people nearly the same vector.")
    return {
        "graph_sha256": graph_digest(path),
        "dimension": embedder.contract.dimension,
        "golden": golden.astype("<f4").tobytes(),
        "golden_min_cosine": golden_tolerance(path, embedder.contract),
    }


def load(artifact: Artifact, path: Path) -> EmbedsFaces:
    """The network in the wrapper of its family, see `ml_models.config`."""
    entry = family(artifact.family)
    if entry is None:
        raise ArtifactRejected(f"{artifact.name}: this build does not run the family {artifact.family}.")
    if graph_digest(path) != artifact.graph_sha256:
        raise ContractMismatch(f"{artifact.name}: the graph is not the one its embedding space is named after.")
    embedder = open_embedder(artifact, path)
    if embedder.contract.dimension != artifact.dimension:
        raise ContractMismatch(f"{artifact.name}: the dimension differs from the one in the database.")
    check_golden(embedder, artifact.golden_vectors, artifact.golden_min_cosine)
    wrapper: EmbedsFaces = import_string(entry["class"])(embedder)
    return wrapper


def seconds_per_face(network: EmbedsFaces) -> float | None:
    """The median of five."""

    def timed() -> float:
        began = time.perf_counter()
        network.embed(golden_crops()[:1])
        return time.perf_counter() - began

    return statistics.median(timed() for _ in range(5))
