"""Aligned crops → unit-length embeddings, through one ONNX network."""

from __future__ import annotations

import hashlib
from functools import cache, cached_property, partial
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .align import ALIGNMENT_ID
from .errors import ContractMismatch, GoldenMismatch, InferenceFailed
from .inference import OnnxRuntimeGraph, Opener, input_shape
from .types import Embeddings, InputContract, canonical_json

PROVIDER_CLASS = "cpu"
# A feature shorter than this has no direction worth comparing.
_MIN_NORM = 1e-6
_FLOAT_TOLERANCE, _MIN_TOLERANCE = 0.9999, 0.9
BFLOAT16_TOLERANCE = 0.999
"""The least cosine between a network's embeddings in bfloat16 and in float32: docs/decisions/bfloat16.md."""


def space_id(graph_sha256: str, contract: InputContract, flip: bool) -> str:
    """The embedding space: everything that changes the vector. Two spaces are never compared."""
    parts = {
        "graph": graph_sha256,
        "contract": contract.to_json(),
        "alignment": ALIGNMENT_ID,
        "flip": flip,
        "provider": PROVIDER_CLASS,
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


class Embedder:
    """One loaded network. Safe to share between threads; make it after a fork, never before.

    Args:
        model: path of the ONNX file.
        contract: how it wants its input; checked against the graph.
        opener: what runs it.

    Raises:
        ContractMismatch: the file cannot be loaded, or its names, types or shapes are not the contract's.
    """

    def __init__(self, model: Path | str, contract: InputContract, opener: Opener = OnnxRuntimeGraph) -> None:
        self.contract = contract
        outputs = [contract.output] + ([contract.norm_output] if contract.norm_output else [])
        self._graph = opener(model, outputs)
        self._check_signature(outputs)

    @property
    def engine(self) -> str:
        """The name of what runs it."""
        return self._graph.engine

    def _check_signature(self, wanted_outputs: list[str]) -> None:
        contract, (height, width) = self.contract, self.contract.size
        outputs = self._graph.outputs
        wanted = (3, height, width) if contract.layout == "NCHW" else (height, width, 3)
        shape = input_shape(self._graph, contract.input)
        if len(shape) != 4 or shape[1:] != wanted or shape[0] is not None:
            raise ContractMismatch(f"The network's input shape is {shape}, not [batch, {wanted}] with any batch.")
        if contract.alignment != ALIGNMENT_ID:
            raise ContractMismatch(f"The network wants alignment {contract.alignment}; this build has {ALIGNMENT_ID}.")
        if not all(outputs[name].is_float for name in wanted_outputs):
            raise ContractMismatch(f"The network's outputs {', '.join(wanted_outputs)} are not all float.")
        dimension = outputs[contract.output].shape[-1]
        if dimension is not None and dimension != contract.dimension:
            raise ContractMismatch(f"The network gives {dimension} numbers, the contract says {contract.dimension}.")

    def _run(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        contract = self.contract
        pixels = crops[..., ::-1] if contract.color_order == "BGR" else crops
        batch = (pixels.astype(np.float32) - np.float32(contract.mean)) / np.float32(contract.std)
        if contract.layout == "NCHW":
            batch = batch.transpose(0, 3, 1, 2)
        outputs = self._graph.run(np.ascontiguousarray(batch))
        features = outputs[0].reshape(len(crops), -1)
        if features.shape != (len(crops), contract.dimension):
            raise ContractMismatch(f"The network gave {features.shape[1]} numbers instead of {contract.dimension}.")
        lengths = np.linalg.norm(features, axis=1)
        norms = outputs[1].reshape(len(crops)) if contract.norm_output else lengths
        if not (np.isfinite(features).all() and np.isfinite(norms).all()) or (lengths < _MIN_NORM).any():
            raise InferenceFailed("A network gave values that are not finite, or nothing.")
        unit: NDArray[np.float32] = (features / lengths[:, None]).astype(np.float32)
        return unit, norms.astype(np.float32)

    @cached_property
    def golden(self) -> Embeddings:
        """The network's answer for `golden_crops`."""
        return self.embed(golden_crops())

    @property
    def golden_norm(self) -> float | None:
        """The mean length of the golden faces' features: what a good picture's length is compared with. None where it
        is 1 because the graph normalises: then it says nothing about a picture."""
        mean = float(self.golden.norms.mean())
        return None if np.allclose(self.golden.norms, 1.0, atol=1e-3) else mean

    def embed(self, crops: NDArray[np.uint8], flip: bool = False) -> Embeddings:
        """Embed aligned faces.

        Args:
            crops: RGB, uint8, shape (N, 112, 112, 3), N ≥ 1.
            flip: average with the mirror image's embedding (sum, renormalise), at twice the cost.

        Returns: vectors float32 (N, D), unit length; norms float32 (N,) of the unflipped features.

        Raises:
            InferenceFailed: the network failed or gave NaN, infinity or a zero vector.
            ContractMismatch: it gave another dimension than its contract says.
            ValueError: the crops have another shape or type.
        """
        if crops.ndim != 4 or crops.shape[1:] != (*self.contract.size, 3) or crops.dtype != np.uint8 or not len(crops):
            raise ValueError(f"Crops must be uint8 RGB of shape (N, 112, 112, 3), not {crops.dtype} {crops.shape}.")
        vectors, norms = self._run(crops)
        if flip:
            total = vectors + self._run(crops[:, :, ::-1])[0]
            lengths = np.linalg.norm(total, axis=1, keepdims=True)
            if (lengths < _MIN_NORM).any():
                raise InferenceFailed("A face and its mirror image cancel out.")
            vectors = (total / lengths).astype(np.float32)
        return Embeddings(vectors, norms)


@cache
def golden_crops() -> NDArray[np.uint8]:
    """Two aligned public-domain portraits (E. Collins, NASA; G. Hopper, US Navy), RGB uint8 (2, 112, 112, 3)."""
    files = sorted((resources.files(__package__) / "golden").iterdir(), key=lambda file: file.name)
    crops = [
        cv2.imdecode(np.frombuffer(f.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        for f in files
        if f.name.endswith(".png")
    ]
    return np.stack([cv2.cvtColor(crop, cv2.COLOR_BGR2RGB) for crop in crops]).astype(np.uint8)


def golden_vectors(embedder: Embedder) -> NDArray[np.float32]:
    """The network's embeddings of `golden_crops`, float32 (2, D), unit length."""
    return embedder.golden.vectors


def golden_tolerance(model: Path | str, contract: InputContract) -> float:
    """The cosine to its golden vectors that the network still reaches on a processor with other instructions.

    Measured on this one: with saturating INT8 products and with every node unfused, and twice the larger of the two
    distances allowed; 0.9999 for a float network, 0.999 for one that may be run in bfloat16.

    Raises:
        GoldenMismatch: so little that a swapped colour order could pass for another processor.
    """
    golden = golden_vectors(Embedder(model, contract))
    openers = [partial(OnnxRuntimeGraph, arithmetic=arithmetic) for arithmetic in ("saturating", "unfused")]
    others = (golden_vectors(Embedder(model, contract, opener)) for opener in openers)
    lowest = min(float((golden * other).sum(1).min()) for other in others)
    exact = BFLOAT16_TOLERANCE if contract.precision == "bfloat16" else _FLOAT_TOLERANCE
    tolerance = round(min(exact, 1 - 2 * (1 - lowest)), 6)
    if not tolerance >= _MIN_TOLERANCE:
        raise GoldenMismatch(
            f"From one processor to the next the network's answers differ: cosine {lowest:.4f} to its own. "
            "Leave more of its layers in float."
        )
    return tolerance


def check_golden(embedder: Embedder, expected: NDArray[np.float32], min_cosine: float) -> None:
    """Refuse a network that does not answer as it did when it was published.

    Args:
        expected: float32 (2, D), unit length, from `golden_vectors` at publication.
        min_cosine: the least cosine between then and now; INT8 differs a little between CPUs.

    Raises:
        GoldenMismatch: another dimension, or a lower cosine.
    """
    now = golden_vectors(embedder)
    if now.shape != expected.shape:
        raise GoldenMismatch(f"The network gives shape {now.shape}, it was published with {expected.shape}.")
    cosine = float((now * expected).sum(1).min())
    if not cosine >= min_cosine:
        raise GoldenMismatch(f"The network's answer has cosine {cosine:.6f} to the published one, under {min_cosine}.")
