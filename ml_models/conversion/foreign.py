"""Somebody else's network, repaired to our form: one float input, one raw feature, any batch, plain names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from . import onnx_graph, prelu, reading
from .errors import UnsupportedModel
from .proof import open_session
from .runnable import run_by_onnxruntime

SIDE = 112
INPUT, OUTPUT = "input", "output"
_MIN_DIMENSION = 64
# one is filled for the comparison with the file as it came
_MAX_BATCH = 1024
# The operators between a feature and its own length, in the exports that we know.
_LENGTH_OPERATORS = {
    *("ReduceL2", "ReduceSum", "ReduceSumSquare", "Pow", "Mul", "Sqrt", "Abs", "Reciprocal"),
    *("Clip", "Max", "Add", "Expand", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Cast"),
    *("Shape", "ConstantOfShape", "Constant"),
}


_HALVES = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


@dataclass(frozen=True, slots=True)
class Foreign:
    """`repairs` lists the changes; `head_cut` is true when the normalising head was cut off."""

    model: onnx.ModelProto
    layout: Literal["NCHW", "NHWC"]
    dimension: int
    repairs: tuple[str, ...]
    head_cut: bool


def bring_to_form(path: Path, output_name: str | None = None) -> Foreign:
    """Read an ONNX or TFLite file and repair what our contract does not allow.

    Args:
        output_name: which output is the feature; None when only one can be.

    Raises:
        UnsupportedModel: not a valid model, or one that onnxruntime cannot run; another input than one 112×112
            picture; no single feature; PReLU slopes that fit two axes.
        ConversionError: `external_data_outside`, `external_data_missing`, `not_found`.
    """
    model, repairs = reading.alone(reading.load(path))
    graph = model.graph
    before = len(graph.input)
    onnx_graph.drop_initializer_inputs(model)
    if len(graph.input) < before:
        repairs.append(f"{before - len(graph.input)} weights were listed as inputs")
    if len(graph.input) != 1:
        raise UnsupportedModel(f"{path.name} has {len(graph.input)} inputs: export it with one, the picture.")
    if reshaped := prelu.by_channel(model):
        repairs.append(f"the slopes of {reshaped} PReLUs were laid along the width, not the channels")
    repairs += [f"{kind} became float32" for kind in _to_float32(graph)]
    layout = _layout(graph.input[0])
    _keep_one_output(graph, output_name)
    if graph.input[0].type.tensor_type.shape.dim[0].dim_value:
        repairs.append("the batch was fixed")
    onnx_graph.dynamic_batch(model)
    head_cut = _cut_head(graph)
    if head_cut:
        repairs.append("the head normalised the feature and was cut off")
    for value, name in ((graph.input[0], INPUT), (graph.output[0], OUTPUT)):
        if value.name != name:
            repairs.append(f"{value.name} is now called {name}")
            _rename(graph, value.name, name)
    if flushed := onnx_graph.flush_tiny_weights(model):
        repairs.append(f"{flushed} weights too small to count became zero")
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return Foreign(model, layout, _dimension(model), tuple(repairs), head_cut)


def _to_float32(graph: onnx.GraphProto) -> list[str]:
    """Turn every tensor, cast and signature of half the bits to float32; each of its values is one of float32's.

    Returns: the kinds that there were.
    """
    widened = set()

    def widen(tensor: TensorProto) -> None:
        if tensor.data_type in _HALVES:
            widened.add(tensor.data_type)
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))

    for tensor in graph.initializer:
        widen(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                widen(attribute.t)
            elif node.op_type == "Cast" and attribute.i in _HALVES:
                widened.add(attribute.i)
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _HALVES:
            widened.add(value.type.tensor_type.elem_type)
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return [name for kind, name in _HALVES.items() if kind in widened]


def _layout(value: onnx.ValueInfoProto) -> Literal["NCHW", "NHWC"]:
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    number = value.type.tensor_type.elem_type
    kind = TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else f"kind {number}"
    if kind != "float" or len(shape) != 4:
        raise UnsupportedModel(f"The input is {kind}, of shape {shape}; float of four dimensions is expected.")
    if shape[0] > _MAX_BATCH:
        raise UnsupportedModel(f"The input has a batch of {shape[0]}: export it with a free one, or one of 1.")
    if shape[1:] == [3, SIDE, SIDE]:
        return "NCHW"
    if shape[1:] == [SIDE, SIDE, 3]:
        return "NHWC"
    raise UnsupportedModel(f"The input has the shape {shape}; 112×112 pixels of three colours are expected.")


def _keep_one_output(graph: onnx.GraphProto, wanted: str | None) -> None:
    if not graph.output:
        raise UnsupportedModel("The network has no output.")
    if wanted is None and len(graph.output) > 1:
        named = ", ".join(value.name for value in graph.output)
        raise UnsupportedModel(f"The network has the outputs {named}: say which is the feature with --output-name.")
    outputs = [value for value in graph.output if wanted in (None, value.name)]
    if len(outputs) != 1:
        names = ", ".join(value.name for value in graph.output)
        raise UnsupportedModel(f"The network has no output called {wanted}; it has {names}.")
    if all(outputs[0].name not in node.output for node in graph.node):
        raise UnsupportedModel(f"The output {outputs[0].name} is the input or a weight: no operator computes it.")
    del graph.output[:]
    graph.output.extend(outputs)
    if not outputs[0].type.tensor_type.shape.dim:
        outputs[0].type.tensor_type.shape.dim.add()
        outputs[0].type.tensor_type.shape.dim.add()


def _cut_head(graph: onnx.GraphProto) -> bool:
    """Cut off a division by the feature's own length: it would hide AdaFace's quality signal.

    Returns: whether there was one.
    """
    producers = {name: node for node in graph.node for name in node.output}
    name = graph.output[0].name
    node = producers[name]
    while node.op_type == "Identity" and node.input[0] in producers:
        node = producers[node.input[0]]
    if node.op_type == "LpNormalization":
        feature = node.input[0]
    elif node.op_type in ("Div", "Mul"):
        pairs = [(node.input[0], node.input[1]), (node.input[1], node.input[0])]
        pairs = pairs[:1] if node.op_type == "Div" else pairs
        features = [a for a, b in pairs if a in producers and _is_length(b, a, producers)]
        if not features:
            return False
        feature = features[0]
    else:
        return False
    graph.output[0].name = feature
    return True


def _is_length(name: str, feature: str, producers: dict[str, onnx.NodeProto]) -> bool:
    """Whether the graph computes `name` from `feature` and constants alone, with a sum over the feature on the way."""
    todo, visited, summed = [name], set(), False
    while todo:
        current = todo.pop()
        if current == feature or current in visited or current not in producers:
            continue
        visited.add(current)
        node = producers[current]
        if node.op_type not in _LENGTH_OPERATORS:
            return False
        summed = summed or node.op_type.startswith("Reduce")
        todo.extend(filter(None, node.input))
    return summed


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    if new in taken:
        _rename(graph, new, f"{new}_inside")
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for item in (*graph.input, *graph.output, *graph.initializer):
        if item.name == old:
            item.name = new


def _dimension(model: onnx.ModelProto) -> int:
    """The dimension of the feature that the repaired network really gives; the declared one is corrected."""
    value = model.graph.input[0]
    shape = [2, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])]
    with run_by_onnxruntime(model):
        session = open_session(model.SerializeToString())
        (feature,) = session.run([model.graph.output[0].name], {value.name: np.zeros(shape, np.float32)})
    if feature.shape[0] != 2 or feature.size // 2 < _MIN_DIMENSION or feature.ndim != 2:
        raise UnsupportedModel(
            f"For two pictures the network gives the shape {list(feature.shape)}; (2, D) with D of at least "
            f"{_MIN_DIMENSION} is expected."
        )
    dims = model.graph.output[0].type.tensor_type.shape.dim
    del dims[:]
    dims.add().dim_param = onnx_graph.BATCH
    dims.add().dim_value = feature.shape[1]
    return int(feature.shape[1])


def count_flops(model: onnx.ModelProto) -> int:
    """Floating-point operations of convolutions and matrix products for one face; a multiply-add is two."""
    single = onnx.ModelProto.FromString(model.SerializeToString())
    single.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(single).graph.value_info
    }
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        weight = sizes.get(node.input[1], []) if len(node.input) > 1 else []
        if node.op_type == "Conv" and node.output[0] in shapes:
            total += 2 * int(np.prod(weight)) * int(np.prod(shapes[node.output[0]][2:]))
        elif node.op_type in ("Gemm", "MatMul") and weight:
            total += 2 * int(np.prod(weight))
    return total


def count_parameters(model: onnx.ModelProto) -> int:
    return sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT)
