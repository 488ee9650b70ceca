"""Networks that are set up once a process.

Setting up the demo pack's four, and trying both engines on each, takes seconds; only `tests/artifacts` asks how that is
done. A file's bytes and graph, its dimension and its golden vectors are proven at each load all the same. A face that a
network has embedded is not embedded again: the same crop has the same vector, and the portraits are two.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_models import conf
from ml_models.artifacts import engines
from ml_models.artifacts.kinds import detector, embedder, presentation
from ml_models.engine.embed import Embedder
from ml_models.engine.types import Embeddings, canonical_json
from ml_models.models import Artifact

Open = Callable[[Artifact, Path], Any]
_OPENED_BY = ((detector, "open_detector"), (embedder, "open_embedder"), (presentation, "open_presentation"))


def once(patch: pytest.MonkeyPatch) -> None:
    """Have a file be opened once for the same contract and the same settings."""
    for kind, name in _OPENED_BY:
        patch.setattr(kind, name, _once(getattr(engines, name)))


def anew(patch: pytest.MonkeyPatch) -> None:
    """Have every load open its file, as in the service."""
    for kind, name in _OPENED_BY:
        patch.setattr(kind, name, getattr(engines, name))


def _once(open_network: Open) -> Open:
    opened: dict[str, Any] = {}

    def open_once(artifact: Artifact, path: Path) -> Any:
        # `path` holds these bytes: the load has just hashed it
        settings = {name: conf.get(name) for name in ("INFERENCE", "THREADS_PER_CALL")}
        key = canonical_json({"sha256": artifact.sha256, "contract": artifact.contract, **settings})
        if key not in opened:
            opened[key] = open_network(artifact, path)
            if isinstance(opened[key], Embedder):
                _remember(opened[key])
        return opened[key]

    return open_once


def _remember(network: Embedder) -> None:
    """Have a network answer from memory for crops that it has seen; refusals are not remembered."""
    embed = network.embed
    answers: dict[tuple[bytes, bool], Embeddings] = {}

    def remembered(crops: NDArray[np.uint8], flip: bool = False) -> Embeddings:
        digest = hashlib.sha256(f"{crops.dtype} {crops.shape}".encode() + crops.tobytes()).digest()
        if (digest, flip) not in answers:
            answers[digest, flip] = embed(crops, flip)
        return answers[digest, flip]

    network.embed = remembered  # type: ignore[method-assign]
