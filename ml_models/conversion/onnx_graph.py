"""Repairs of an ONNX graph that change what it accepts, never what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from ml_models.engine.errors import ContractMismatch, GraphRefused
from ml_models.engine.graph import require_standard

from .errors import UnsupportedModel

BATCH = "N"
TINY = 1e-20


def load(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file.

    Raises: UnsupportedModel when it is not a valid one, has other operators than ONNX's own, or keeps
        weights in another file.
    """
    data = path.read_bytes()
    try:
        require_standard(data)
    except ContractMismatch as error:
        raise UnsupportedModel(f"{path.name} is not a whole ONNX model: fetch or export it again.") from error
    except GraphRefused as error:
        raise UnsupportedModel(f"{path.name}: {error}") from error
    try:
        onnx.checker.check_model(data)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise UnsupportedModel(f"{path.name} is not a valid ONNX model: {error}.") from error
    return onnx.load_model_from_string(data)


def drop_initializer_inputs(model: onnx.ModelProto) -> None:
    """Leave only the real inputs: old exporters list every weight there too, which forbids constant folding."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def dynamic_batch(model: onnx.ModelProto) -> None:
    """Make the first dimension of every input and output free, and constant Reshape targets copy it.

    Raises: UnsupportedModel when a Reshape to a fixed batch cannot be distinguished from one that mixes the batch in.
    """
    fixed = {value.type.tensor_type.shape.dim[0].dim_value for value in model.graph.input}
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    targets = {n.input[1] for n in model.graph.node if n.op_type == "Reshape" and n.input[1] in weights}
    for name in sorted(targets):
        shape = numpy_helper.to_array(weights[name]).copy()
        if shape[0] in (0, -1):
            continue
        if shape[0] not in fixed:
            raise UnsupportedModel(f"The Reshape to {shape.tolist()} does not begin with the batch.")
        shape[0] = 0  # ONNX: copy the dimension of the input
        weights[name].CopyFrom(numpy_helper.from_array(shape, name))
    del model.graph.value_info[:]  # these still have the fixed batch


def raise_opset(model: onnx.ModelProto, minimum: int) -> onnx.ModelProto:
    """The model at `minimum` or the opset it has, whichever is higher."""
    current = next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    return model if current >= minimum else version_converter.convert_version(model, minimum)


def fold_batch_norm(model: onnx.ModelProto) -> None:
    """Fold a BatchNormalization that alone follows a Conv into its weights, so that both quantise as one."""
    graph = model.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    uses = [name for node in graph.node for name in node.input] + [value.name for value in graph.output]
    folded = False
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = producers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or uses.count(norm.input[0]) > 1 or uses.count(conv.input[1]) > 1:
            continue
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        gamma, beta, mean, variance = (weights[name].astype(np.float64) for name in norm.input[1:5])
        scale = gamma / np.sqrt(variance + epsilon)
        kernel = weights[conv.input[1]].astype(np.float64)
        bias = weights[conv.input[2]].astype(np.float64) if len(conv.input) > 2 else np.zeros(len(scale))
        names = (f"{norm.output[0]}_folded_weight", f"{norm.output[0]}_folded_bias")
        values = (kernel * scale.reshape(-1, 1, 1, 1), (bias - mean) * scale + beta)
        for name, value in zip(names, values, strict=True):
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        del conv.input[1:]
        conv.input.extend(names)
        conv.output[0] = norm.output[0]
        graph.node.remove(norm)
        folded = True
    if folded:
        _drop_unused_weights(graph)


def _drop_unused_weights(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    used_weights = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(used_weights)


def serialize(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    """The model's bytes, the same on every machine: sorted metadata, nothing of the tool or path that wrote it."""
    model = onnx.ModelProto.FromString(model.SerializeToString(deterministic=True))
    model.producer_name, model.producer_version, model.doc_string = "ml_models.conversion", "", ""
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    helper.set_model_props(model, dict(sorted(metadata.items())))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def flush_tiny_weights(model: onnx.ModelProto) -> int:
    """Make weights that are too small to change any sum zero; returns how many.

    Below 1.2e-38 a processor computes in microcode, up to a hundred times slower: channels that training starved make
    a whole network several times slower, though they add nothing.
    """
    flushed = 0
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        tiny = (np.abs(values) < TINY) & (values != 0)
        if tiny.any():
            tensor.CopyFrom(numpy_helper.from_array(np.where(tiny, np.float32(0), values), tensor.name))
            flushed += int(tiny.sum())
    return flushed
