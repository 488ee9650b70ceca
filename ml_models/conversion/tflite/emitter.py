"""ONNX nodes for the tensors of one TFLite graph; it knows the two layouts, the rules know the operators.

TFLite keeps images as NHWC, ONNX as NCHW. Here every rank-4 activation is NCHW throughout: constants are turned
once, and a Transpose is emitted only where the order of the flattened values depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import tflite
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import UnsupportedModel
from .file import Graph, Operator

OPSET, IR_VERSION = 17, 8
NHWC_TO_NCHW, NCHW_TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: None,
    tflite.ActivationFunctionType.RELU: "RELU",
    tflite.ActivationFunctionType.RELU6: "RELU6",
}


class Emitter:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.folded: dict[int, NDArray[np.float32]] = {}

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def name(self, index: int) -> str:
        return {self.graph.input: "input", self.graph.output: "output"}.get(index, f"t{index}")

    def shape(self, index: int) -> tuple[int, ...]:
        return self.graph.tensors[index].shape

    def constant(self, index: int) -> NDArray[Any] | None:
        return self.folded.get(index, self.graph.tensors[index].data)

    def known(self, index: int) -> NDArray[Any]:
        value = self.constant(index)
        if value is None:
            raise UnsupportedModel(f"Tensor {self.graph.tensors[index].name} must be a constant.")
        return value

    def initializer(self, name: str, value: NDArray[Any]) -> str:
        if value.dtype == np.float16:
            value = value.astype(np.float32)
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def operand(self, index: int, rank: int) -> str:
        """The ONNX name of an input that broadcasts over a tensor of `rank`; a constant is turned to NCHW."""
        value = self.constant(index)
        if value is None:
            if len(self.shape(index)) != rank:
                raise UnsupportedModel(f"Broadcasting {self.graph.tensors[index].name} over another rank has no rule.")
            return self.name(index)
        if rank == 4 and value.ndim:
            value = value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(NHWC_TO_NCHW)
        return self.initializer(f"t{index}_{rank}", value)

    def finish(self, operator: Operator, activation: int, kind: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Emit the operator and the activation that TFLite fused into it."""
        if activation not in _ACTIVATIONS:
            raise UnsupportedModel(f"{operator.name} has a fused activation, {activation}, without an ONNX rule.")
        follow, output = _ACTIVATIONS[activation], self.name(operator.outputs[0])
        if follow is None:
            self.node(kind, inputs, output, **attributes)
            return
        self.node(kind, inputs, f"{output}_linear", **attributes)
        self.activation(follow, f"{output}_linear", output)

    def activation(self, name: str, source: str, output: str) -> None:
        if name == "RELU":
            self.node("Relu", [source], output)
            return
        low, high = (self.initializer(n, np.float32(v)) for n, v in (("zero", 0), ("six", 6)))  # type: ignore[arg-type]
        self.node("Clip", [source, low, high], output)

    def nhwc(self, index: int) -> str:
        """The tensor in the order TFLite flattens it: as it is, when only one pixel is left."""
        shape = self.shape(index)
        if len(shape) != 4 or shape[1] * shape[2] == 1:
            return self.name(index)
        return self.node("Transpose", [self.name(index)], f"{self.name(index)}_nhwc", perm=NCHW_TO_NHWC)

    def reshaped(self, index: int, target: tuple[int, ...], output: str) -> None:
        batch = self.shape(self.graph.input)[0]
        if self.shape(index)[0] != batch or target[0] != batch:
            raise UnsupportedModel(f"Reshape of {self.graph.tensors[index].name} mixes the batch with the content.")
        if len(target) == 4 and target[1] * target[2] != 1:
            raise UnsupportedModel(f"Reshape of {self.graph.tensors[index].name} to an image has no ONNX rule.")
        # 0 copies the batch, so that it stays dynamic; a (B, 1, 1, C) target is (B, C, 1, 1) in NCHW.
        content = (target[3], 1, 1) if len(target) == 4 else target[1:]
        shape = self.initializer(f"{output}_shape", np.array((0, *content), np.int64))
        self.node("Reshape", [self.nhwc(index), shape], output)

    def model(self) -> onnx.ModelProto:
        _, height, width, channels = self.shape(self.graph.input)
        dimension = self.shape(self.graph.output)[-1]
        graph = helper.make_graph(
            self.nodes,
            "converted",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, height, width])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", dimension])],
            list(self.initializers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
