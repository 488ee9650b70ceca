"""A network that looks for eyes: the square about each eye in, the odds that it is covered out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ... import conf
from ...engine.errors import ContractMismatch
from ...engine.eyes import EyeNetwork, EyesContract
from ...engine.graph import graph_digest
from ...engine.inference import OnnxRuntimeGraph
from ...engine.log_odds import check_golden
from ...models import Artifact


def families() -> Collection[str]:
    return ["eyes"]


def measure(path: Path, contract: Mapping[str, Any]) -> dict[str, Any]:
    golden = EyeNetwork(path, EyesContract.from_json(contract)).golden
    return {"graph_sha256": graph_digest(path), "dimension": golden.shape[1], "golden": golden.astype("<f4").tobytes()}


def load(artifact: Artifact, path: Path) -> EyeNetwork:
    """In onnxruntime alone: it takes a tenth of a millisecond."""
    if graph_digest(path) != artifact.graph_sha256:
        raise ContractMismatch(f"{artifact.name}: the graph is not the one that was published.")
    contract = EyesContract.from_json(artifact.contract)
    network = EyeNetwork(path, contract, partial(OnnxRuntimeGraph, threads=conf.get("THREADS_PER_CALL")))
    check_golden(network, artifact.golden_vectors)
    return network


def seconds_per_face(network: EyeNetwork) -> float | None:
    return None
