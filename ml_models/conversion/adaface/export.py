"""A proven state dict → ONNX with our contract in it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import onnx
import torch

from ml_models.engine.align import ALIGNMENT_ID
from ml_models.engine.types import InputContract, canonical_json

from .. import onnx_graph
from ..errors import ConversionError
from .datasets import CITATION, Dataset
from .network import DIMENSION, SIDE, AdaFaceNetwork, FeatureWithNorm, fold
from .weights import ColorOrder, Weights

INPUT, OUTPUT, NORM = "input", "output", "norm"
MIDDLE = 127.5  # (x / 255 − 0.5) / 0.5 = (x − 127.5) / 127.5
OPSETS = range(11, 21)  # 20 is the last that torch's exporter of traced networks writes
DEFAULT_OPSET = 17


def build(weights: Weights) -> AdaFaceNetwork:
    """The network with these weights, in eval mode; every name and shape must fit."""
    network = AdaFaceNetwork(weights.architecture)
    network.load_state_dict(weights.state, strict=True)
    network.eval()
    return network


def contract(color_order: ColorOrder, *, with_norm: bool) -> InputContract:
    return InputContract(
        input=INPUT,
        output=OUTPUT,
        norm_output=NORM if with_norm else None,
        color_order=color_order,
        mean=MIDDLE,
        std=MIDDLE,
        dimension=DIMENSION,
        size=(SIDE, SIDE),
        alignment=ALIGNMENT_ID,
    )


def settle_color_order(given: str | None, source_says: ColorOrder | None) -> ColorOrder:
    """The colour order of the weights: as the source says, else as given, never against the source.

    Raises:
        ConversionError: `color_order_required`, `color_order_conflict`.
    """
    if given is not None and source_says is not None and given != source_says:
        raise ConversionError(
            "color_order_conflict",
            f"--color-order says {given}, config.json beside the weights {source_says}.",
        )
    settled = given or source_says
    if settled == "RGB":
        return "RGB"
    if settled == "BGR":
        return "BGR"
    raise ConversionError(
        "color_order_required",
        "Nothing beside the weights says their colour order: give --color-order. "
        "The author's .ckpt files were trained on BGR.",
    )


def check_opset(opset: int) -> None:
    """Raises: ConversionError (`opset_unsupported`)."""
    if opset not in OPSETS:
        raise ConversionError("opset_unsupported", f"Opset {opset} cannot be written; {OPSETS[0]} to {OPSETS[-1]} can.")


def metadata(weights: Weights, dataset: Dataset, color_order: ColorOrder, *, with_norm: bool) -> dict[str, str]:
    """What the ONNX file says of itself, under `ml_models.`."""
    facts = {
        "contract": canonical_json(contract(color_order, with_norm=with_norm).to_json()),
        "family": "adaface",
        "source": weights.source,
        "revision": weights.revision or "",
        "source_sha256": weights.sha256,
        "architecture": weights.architecture,
        "dataset": dataset.name,
        "weights_licence": dataset.weights_licence,
        "training_data": dataset.training_data,
        "commercial_use": dataset.commercial_use,
        "citation": CITATION,
        "color_order": color_order,
        "normalisation": "(x / 255 - 0.5) / 0.5",
        "converted_with": f"torch {torch.__version__}, onnx {onnx.__version__}",
    }
    return {f"ml_models.{key}": value for key, value in facts.items()}


def export(
    network: AdaFaceNetwork,
    facts: dict[str, str],
    output: Path,
    *,
    opset: int = DEFAULT_OPSET,
    with_norm: bool = True,
) -> None:
    """Write the folded network as ONNX: `input` (N, 3, 112, 112), `output` (N, 512) raw, `norm` (N, 1).

    Args:
        facts: goes into the file's metadata_props.
        output: written directly; the caller decides when it gets its name.

    Raises:
        ConversionError: `opset_unsupported`.
        OSError: the disk is full.
    """
    check_opset(opset)
    model = _trace(fold(network), opset, with_norm=with_norm)
    _inline_identities(model.graph)
    onnx_graph.flush_tiny_weights(model)
    output.write_bytes(onnx_graph.serialize(model, facts))


def plain_export(network: AdaFaceNetwork, opset: int = DEFAULT_OPSET) -> bytes:
    """The network as torch exports it, to measure the folded form against."""
    data: bytes = _trace(network, opset, with_norm=False).SerializeToString()
    return data


def _trace(network: torch.nn.Module, opset: int, *, with_norm: bool) -> onnx.ModelProto:
    module = FeatureWithNorm(network) if with_norm else network
    outputs = [OUTPUT, NORM] if with_norm else [OUTPUT]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # the newer exporter needs onnxscript, writes opset 18 and converts downwards; a network without
        # control flow gains nothing from it
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            (torch.zeros(1, 3, SIDE, SIDE),),
            buffer,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={name: {0: onnx_graph.BATCH} for name in (INPUT, *outputs)},
            opset_version=opset,
            dynamo=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())


def _inline_identities(graph: onnx.GraphProto) -> None:
    """The exporter stores equal tensors once and hands them on through Identity, which hides a weight."""
    aliases = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    nodes = [node for node in graph.node if node.op_type != "Identity"]
    for node in nodes:
        for index, name in enumerate(node.input):
            node.input[index] = aliases.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)
