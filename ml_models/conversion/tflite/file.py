"""A TFLite flatbuffer as plain values: tensors, constants and operators in execution order."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from ..beginnings import what_it_is
from ..errors import UnsupportedModel

_DTYPES: dict[int, np.dtype[Any]] = {
    tflite.TensorType.FLOAT32: np.dtype("<f4"),
    tflite.TensorType.FLOAT16: np.dtype("<f2"),
    tflite.TensorType.INT32: np.dtype("<i4"),
    tflite.TensorType.INT64: np.dtype("<i8"),
}
_OPERATOR_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_OPTIONS = {
    "ADD": tflite.AddOptions,
    "AVERAGE_POOL_2D": tflite.Pool2DOptions,
    "CONCATENATION": tflite.ConcatenationOptions,
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "DIV": tflite.DivOptions,
    "FULLY_CONNECTED": tflite.FullyConnectedOptions,
    "L2_NORMALIZATION": tflite.L2NormOptions,
    "MAX_POOL_2D": tflite.Pool2DOptions,
    "MEAN": tflite.ReducerOptions,
    "MUL": tflite.MulOptions,
    "SUB": tflite.SubOptions,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: `shape` as the file has it (NHWC where rank 4), `data` only for a constant."""

    name: str
    shape: tuple[int, ...]
    data: NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: indices into `Graph.tensors` (−1: optional input left out) and its option table, if any."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None


@dataclass(frozen=True, slots=True)
class Graph:
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    input: int
    output: int


def read(data: bytes) -> Graph:
    """Read a float TFLite model of one subgraph with one input and one output.

    Raises: UnsupportedModel when it is none, is quantised, or has several subgraphs, inputs or outputs.
    """
    if data[4:8] != b"TFL3":
        raise UnsupportedModel(f"This is not a TFLite file. It is {what_it_is(data)}.")
    try:
        return _graph(tflite.Model.GetRootAs(data, 0))
    except (struct.error, IndexError, ValueError) as error:
        raise UnsupportedModel(f"The TFLite file is damaged: {error}.") from error


def _graph(model: Any) -> Graph:
    if model.SubgraphsLength() != 1:
        raise UnsupportedModel(f"One subgraph can be converted; the file has {model.SubgraphsLength()}.")
    subgraph = model.Subgraphs(0)
    if subgraph.InputsLength() != 1 or subgraph.OutputsLength() != 1:
        raise UnsupportedModel("A network with one input and one output can be converted; this one has more.")
    return Graph(
        tensors=tuple(_tensor(model, subgraph.Tensors(i)) for i in range(subgraph.TensorsLength())),
        operators=tuple(_operator(model, subgraph.Operators(i)) for i in range(subgraph.OperatorsLength())),
        input=subgraph.Inputs(0),
        output=subgraph.Outputs(0),
    )


def _tensor(model: Any, tensor: Any) -> Tensor:
    name = tensor.Name().decode()
    dtype = _DTYPES.get(tensor.Type())
    if dtype is None:
        raise UnsupportedModel(f"Tensor {name} is neither float nor an index: convert the float model instead.")
    shape = tuple(tensor.Shape(i) for i in range(tensor.ShapeLength()))
    buffer = model.Buffers(tensor.Buffer())
    constant = buffer.DataAsNumpy().tobytes() if buffer.DataLength() else None
    return Tensor(name, shape, None if constant is None else np.frombuffer(constant, dtype).reshape(shape))


def _operator(model: Any, operator: Any) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    # Codes under 127 live in the old one-byte field; files written before the new field have only that.
    name = _OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    table, options = operator.BuiltinOptions(), None
    if table is not None and name in _OPTIONS:
        options = _OPTIONS[name]()
        options.Init(table.Bytes, table.Pos)
    return Operator(
        name,
        tuple(operator.Inputs(i) for i in range(operator.InputsLength())),
        tuple(operator.Outputs(i) for i in range(operator.OutputsLength())),
        options,
    )
