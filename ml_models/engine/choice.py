"""Which engine runs a network: the quicker one of those that give the same embeddings."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from .embed import Embedder, golden_crops
from .errors import GoldenMismatch
from .inference import OpenVinoGraph
from .types import InputContract

Engine: TypeAlias = Literal["onnxruntime", "openvino"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

# Whatever the file's own golden tolerance: float networks agree to 0.9999999, INT8 ones to 0.99.
_SAME_COSINE, _SAME_NORM = 0.9999, 1e-3
# Less gain than this is not worth a second library, and might be the clock's.
_WORTH_IT = 0.9
_MIN_PAIRS, _MAX_PAIRS, _BUDGET_S = 5, 21, 2.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine to serve a network with; `why` is for an operator."""

    engine: Engine
    why: str


def choose(model: Path | str, contract: InputContract) -> Choice:
    """Try a network in both engines.

    Timed is processor time on one thread, so that other work on the machine does not count.

    Raises:
        ContractMismatch: one of them cannot load it, or is not there.
        InferenceFailed: it does not run in one of them.
    """
    ours, theirs = Embedder(model, contract), Embedder(model, contract, partial(OpenVinoGraph, calls=1))
    try:
        prove_same(ours, theirs)
    except GoldenMismatch as error:
        return Choice("onnxruntime", str(error))
    ratio = time_ratio(ours, theirs)
    why = f"OpenVINO takes {ratio:.2f} of onnxruntime's processor time."
    return Choice("openvino" if ratio <= _WORTH_IT else "onnxruntime", why)


def prove_same(reference: Embedder, candidate: Embedder) -> None:
    """Refuse a candidate that does not give the reference's embeddings of the golden faces and their mirror images.

    Raises:
        GoldenMismatch: a cosine under 0.9999, or a feature's length off by more than a thousandth.
        InferenceFailed: see `Embedder.embed`.
    """
    faces = np.concatenate([golden_crops(), golden_crops()[:, :, ::-1]])
    wanted, given = reference.embed(faces), candidate.embed(faces)
    cosine = float((wanted.vectors * given.vectors).sum(1).min())
    off = float(np.abs(given.norms / wanted.norms - 1).max())
    # `not`, so that NaN is refused, too
    if not (cosine >= _SAME_COSINE and off <= _SAME_NORM):
        raise GoldenMismatch(
            f"{candidate.engine} does not give {reference.engine}'s embeddings: "
            f"cosine {cosine:.6f}, norms off by {off:.4f}."
        )


def time_ratio(reference: Embedder, candidate: Embedder) -> float:
    """The candidate's processor time for one face over the reference's: the median of pairs timed in turn.

    Both must run in the caller's thread.
    """
    ratios: list[float] = []
    began = time.thread_time()
    while len(ratios) < _MIN_PAIRS or (len(ratios) < _MAX_PAIRS and time.thread_time() - began < _BUDGET_S):
        ratios.append(_seconds(candidate) / _seconds(reference))
    return statistics.median(ratios)


def _seconds(embedder: Embedder) -> float:
    began = time.thread_time()
    embedder.embed(golden_crops()[:1])
    return time.thread_time() - began
