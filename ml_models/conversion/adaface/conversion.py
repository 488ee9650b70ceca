"""AdaFace from the author's file to a proven ONNX file, in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..files import replacing
from ..proof import Crops, Proof, proof_path, prove
from .datasets import CITATION, Dataset, settle_dataset
from .export import DEFAULT_OPSET, build, check_opset, contract, export, metadata, settle_color_order
from .network import Architecture, count_flops, count_parameters
from .weights import ColorOrder, read_weights


@dataclass(frozen=True, slots=True)
class Converted:
    """`prefix` stood before every name in the source; `dropped` are its training head's tensors."""

    output: Path
    architecture: Architecture
    color_order: ColorOrder
    dataset: Dataset
    prefix: str
    dropped: tuple[str, ...]
    proof: Proof
    citation: str = CITATION


def convert(
    source: str,
    output: Path,
    *,
    dataset: str | None = None,
    architecture: Architecture | None = None,
    color_order: str | None = None,
    opset: int = DEFAULT_OPSET,
    with_norm: bool = True,
    faces: Crops | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Converted:
    """Convert, prove and write `output` and its `.proof.json`; both or none.

    Args:
        source: as `read_weights`.
        dataset: what the weights were trained on; None only where the source says so itself.
        color_order: None only where `config.json` says so.
        faces: more aligned crops for the proof, RGB uint8 (N, 112, 112, 3).
        say: called with a line at each step.

    Raises:
        ConversionError: any of its codes; nothing is left behind.
    """
    check_opset(opset)
    say(f"reading {Path(source).name}")
    weights = read_weights(source, architecture)
    trained_on = settle_dataset(dataset, weights.dataset)
    order = settle_color_order(color_order, weights.color_order)
    network = build(weights)
    facts = metadata(weights, trained_on, order, with_norm=with_norm)

    def reference(values: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(values)).numpy(), np.float32)

    with replacing(proof_path(output)) as unproven, replacing(output) as temporary:
        say(f"exporting {weights.architecture} at opset {opset}")
        export(network, facts, temporary, opset=opset, with_norm=with_norm)
        say("comparing PyTorch with onnxruntime")
        proof = prove(
            temporary,
            reference,
            contract(order, with_norm=with_norm),
            name=output.name,
            parameters=count_parameters(network),
            flops=count_flops(network),
            metadata=facts,
            faces=faces,
        )
        unproven.write_bytes(proof.serialize())
    return Converted(output, weights.architecture, order, trained_on, weights.prefix, weights.dropped, proof)
