"""A float TFLite network as ONNX, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from ..errors import UnsupportedModel
from .emitter import Emitter
from .file import Graph, Operator, read
from .rules import RULES


def convert(data: bytes) -> onnx.ModelProto:
    """Convert one embedding network.

    Args:
        data: the TFLite file; one float input (B, H, W, C), one output (B, D), any fixed batch B.
    Returns: a model with input `input` float32 (N, C, H, W) and output `output` float32 (N, D), N dynamic.
    Raises: UnsupportedModel, naming the operator or tensor without a rule.
    """
    graph = read(data)
    if len(graph.tensors[graph.input].shape) != 4 or len(graph.tensors[graph.output].shape) != 2:
        raise UnsupportedModel("The converter takes images (B, H, W, C) and gives vectors (B, D); this file differs.")
    emitter = Emitter(graph)
    for operator in _fuse_prelu(graph):
        if operator.name not in RULES:
            raise UnsupportedModel(f"The TFLite operator {operator.name} has no ONNX rule.")
        RULES[operator.name](emitter, operator)
    return emitter.model()


def _fuse_prelu(graph: Graph) -> Iterable[Operator]:
    """Old TOCO files spell PReLU as relu(x) + c·(x − |x|), five operators: exactly PReLU with slope 2c."""
    producers = {operator.outputs[0]: operator for operator in graph.operators}
    dropped: set[int] = set()
    fused: dict[int, Operator] = {}
    for add in graph.operators:
        parts = {producers[i].name: producers[i] for i in add.inputs if i in producers}
        if add.name != "ADD" or set(parts) != {"RELU", "MUL"}:
            continue
        relu, mul = parts["RELU"], parts["MUL"]
        slopes = [i for i in mul.inputs if graph.tensors[i].data is not None]
        subs = [producers[i] for i in mul.inputs if i in producers and producers[i].name == "SUB"]
        if len(slopes) != 1 or len(subs) != 1:
            continue
        absolute = producers.get(subs[0].inputs[1])
        x = relu.inputs[0]
        if subs[0].inputs[0] != x or absolute is None or absolute.name != "ABS" or absolute.inputs[0] != x:
            continue
        dropped.update(part.outputs[0] for part in (relu, mul, subs[0], absolute))
        fused[add.outputs[0]] = Operator("PRELU_HALF_SLOPE", (x, slopes[0]), add.outputs)
    remaining = [op for op in graph.operators if op.outputs[0] not in dropped]
    needed = {i for op in remaining if op.outputs[0] not in fused for i in op.inputs}
    if needed & dropped:
        return graph.operators
    return [fused.get(op.outputs[0], op) for op in remaining]
