"""PReLU slopes that were meant for the channels and are laid along the width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .errors import UnsupportedModel


def by_channel(model: onnx.ModelProto) -> int:
    """Give PReLU slopes of shape (C,) the shape (C, 1, 1) where only the channels can be meant.

    Exporters of MXNet networks, InsightFace's among them, write one slope a channel as (C,). ONNX lines shapes up from
    the right: there (C,) belongs to the width, and onnxruntime refuses it or, where the width is C too, multiplies the
    wrong pixels.

    Returns: how many were reshaped.

    Raises:
        UnsupportedModel: the slopes fit nothing, or the channels and another axis alike.
    """
    graph, reshaped = model.graph, 0
    nodes = [node for node in graph.node if node.op_type == "PRelu"]
    shapes = _shapes(model) if nodes else {}
    slopes = _constants(graph) if nodes else {}
    for node in nodes:
        values = slopes.get(node.input[1])
        if values is None or values.size == 1:
            continue
        shape = _meant(node, values, shapes.get(node.input[0]))
        if shape is None:
            continue
        name = f"{node.input[1]}_by_channel"
        if name not in slopes:  # slopes may be shared
            slopes[name] = values.reshape(shape)
            graph.initializer.append(numpy_helper.from_array(slopes[name], name))
        node.input[1] = name
        reshaped += 1
    if reshaped:
        used = {name for node in graph.node for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
    return reshaped


def _meant(node: onnx.NodeProto, values: NDArray[np.generic], shape: Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape that the slopes should have; None when they are right as they are."""
    what = f"The PReLU {node.name or node.output[0]} has slopes of shape {list(values.shape)}"
    if shape is None:
        if values.ndim > 1:
            return None
        raise UnsupportedModel(f"{what} for an input whose shape is unknown: simplify the graph (onnxsim), or {_MEND}.")
    if len(shape) < 3:
        return None
    aligned = (1,) * (len(shape) - values.ndim) + values.shape
    fits = len(aligned) == len(shape) and all(a in (1, b) or not b for a, b in zip(aligned, shape, strict=True))
    if values.size != shape[1]:
        if fits:
            return None
        raise UnsupportedModel(f"{what} for an input of shape {list(shape)}: neither one for each channel nor one.")
    by_channels = (values.size, *(1,) * (len(shape) - 2))
    if aligned[1:] == by_channels:
        return None
    if fits and len(np.unique(values.astype(np.float32))) > 1:
        raise UnsupportedModel(
            f"{what} for an input of shape {list(shape)}: whether one for each channel is meant cannot be told. "
            f"Export it again, or {_MEND}."
        )
    return by_channels


_MEND = "reshape the slopes to (C, 1, 1)"


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    constants = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].HasField("t")]
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {node.output[0]: node.attribute[0].t for node in constants}
    used = {node.input[1] for node in graph.node if node.op_type == "PRelu"}
    return {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items() if name in used}


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of every value that shape inference knows; 0 for a dimension that is free."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
