"""The conversion proof: a converted network must give the features of its source; the figures go beside the file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ml_models.engine.embed import golden_crops
from ml_models.engine.inference.with_onnxruntime import session_options
from ml_models.engine.processor import cpu_name
from ml_models.engine.types import InputContract

from .errors import ConversionError

MIN_COSINE = 0.9999
BATCHES = (1, 8)
_RANDOM_FACES = 8
_TIMED_RUNS = 15

Features: TypeAlias = NDArray[np.float32]
Crops: TypeAlias = NDArray[np.uint8]
Reference: TypeAlias = Callable[[NDArray[np.float32]], Features]
"""The source network: float32 input as its contract says → raw features (N, D)."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Source against ONNX on `faces` inputs of one kind, run `batch` at a time; differences of features."""

    inputs: str
    batch: int
    faces: int
    max_abs_difference: float
    min_cosine: float


@dataclass(frozen=True, slots=True)
class Proof:
    """What `FILE.proof.json` holds. `size` is in bytes; `ms_per_face` the median at batch 1 on one thread of `cpu`."""

    file: str
    sha256: str
    size: int
    parameters: int
    flops: int
    max_abs_difference: float
    min_cosine: float
    required_cosine: float
    ms_per_face: float
    cpu: str
    onnxruntime: str
    agreements: tuple[Agreement, ...]
    metadata: Mapping[str, str]
    accuracy: str = "not measured"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def serialize(self) -> bytes:
        return (json.dumps(self.to_json(), indent=2) + "\n").encode()


def proof_path(model: Path) -> Path:
    return model.with_name(f"{model.name}.proof.json")


def open_session(model: Path | bytes, threads: int = 1) -> ort.InferenceSession:
    """A session that runs as the service's own do."""
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, session_options(threads), providers=["CPUExecutionProvider"])


def network_input(crops: Crops, contract: InputContract) -> NDArray[np.float32]:
    """Aligned crops, RGB uint8 (N, H, W, 3) → the network's input, float32, in the layout it wants."""
    pixels = crops[..., ::-1] if contract.color_order == "BGR" else crops
    batch = (pixels.astype(np.float32) - np.float32(contract.mean)) / np.float32(contract.std)
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if contract.layout == "NCHW" else batch)


def cosines(a: Features, b: Features) -> NDArray[np.float64]:
    """Cosine of each row of `a` with the same row of `b`, float64 (N,)."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((left * right).sum(1) / lengths)


def compare(
    model: Path,
    reference: Reference,
    contract: InputContract,
    faces: Crops | None = None,
    *,
    directions_only: bool = False,
) -> tuple[Agreement, ...]:
    """Run both on random pixels, on the two golden portraits and on `faces`, at batch 1 and 8.

    Args:
        faces: more aligned crops, RGB uint8 (N, 112, 112, 3).
        directions_only: compare unit vectors, where the source normalises and the model does not.
    """
    session = open_session(model)
    random = np.random.default_rng(0).integers(0, 256, (_RANDOM_FACES, *contract.size, 3), dtype=np.uint8)
    portraits = golden_crops()
    real = portraits if faces is None else np.concatenate([portraits, faces])
    agreements = []
    for name, crops in (("random", random), ("faces", real)):
        values = network_input(crops, contract)
        expected = np.concatenate([reference(part) for part in _batches(values, max(BATCHES))])
        for batch in BATCHES:
            got, wanted = _run_by(session, contract, values, batch), expected
            if directions_only:
                got, wanted = _unit(got), _unit(wanted)
            wanted = np.resize(wanted, got.shape)
            difference = float(np.abs(got - wanted).max())
            agreements.append(Agreement(name, batch, len(values), difference, float(cosines(got, wanted).min())))
    return tuple(agreements)


def _batches(values: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _run_by(
    session: ort.InferenceSession, contract: InputContract, values: NDArray[np.float32], batch: int
) -> Features:
    # filled up by repetition, so that a batch of eight really has eight
    whole = np.resize(values, (-(-len(values) // batch) * batch, *values.shape[1:]))
    parts = [session.run([contract.output], {contract.input: part})[0] for part in _batches(whole, batch)]
    return np.concatenate([part.reshape(batch, -1) for part in parts])


def _unit(features: Features) -> Features:
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)


def prove(
    model: Path,
    reference: Reference,
    contract: InputContract,
    *,
    name: str,
    parameters: int,
    flops: int,
    metadata: Mapping[str, str],
    faces: Crops | None = None,
    directions_only: bool = False,
    min_cosine: float = MIN_COSINE,
) -> Proof:
    """Compare, time and hash a converted file.

    Args:
        name: what the file will be called.

    Raises:
        ConversionError: `proof_failed`, with the figures, when any pair of features is under `min_cosine`.
    """
    agreements = compare(model, reference, contract, faces, directions_only=directions_only)
    lowest = min(a.min_cosine for a in agreements)
    largest = max(a.max_abs_difference for a in agreements)
    # so written, NaN fails too
    if not lowest >= min_cosine or not np.isfinite(largest):
        raise ConversionError(
            "proof_failed",
            f"The ONNX file does not give the features of its source: cosine {lowest:.6f} (at least {min_cosine} is "
            f"required), largest difference {largest:.3g}. Nothing was written.",
        )
    data = model.read_bytes()
    return Proof(
        file=name,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        parameters=parameters,
        flops=flops,
        max_abs_difference=largest,
        min_cosine=lowest,
        required_cosine=min_cosine,
        ms_per_face=time_per_face(open_session(model), contract),
        cpu=cpu_name(),
        onnxruntime=ort.__version__,
        agreements=agreements,
        metadata=metadata,
    )


def time_per_face(session: ort.InferenceSession, contract: InputContract) -> float:
    """Median milliseconds of one face at batch 1 on one thread, after a warm-up."""
    values = network_input(golden_crops()[:1], contract)
    times = []
    for _ in range(_TIMED_RUNS + 3):
        # the thread's own time: the network runs in the calling thread, and other processes' turns are not its cost
        start = time.thread_time()
        session.run([contract.output], {contract.input: values})
        times.append((time.thread_time() - start) * 1000)
    return round(float(np.median(times[3:])), 2)
