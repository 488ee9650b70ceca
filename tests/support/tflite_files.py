"""Tiny real TFLite files, one chain of operators each, so that the converter can be held against an interpreter."""

from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray


class TfliteFile:
    """Collects tensors and operators, then gives the flatbuffer's bytes."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        self.tensors: list[tuple[tuple[int, ...], NDArray[Any] | None, int]] = []
        self.operators: list[tuple[str, list[int], list[int], str, dict[str, int]]] = []
        self.last = self.tensor(input_shape)

    def tensor(self, shape: tuple[int, ...], data: NDArray[Any] | None = None) -> int:
        kinds = {"float32": tflite.TensorType.FLOAT32, "float16": tflite.TensorType.FLOAT16}
        kind = tflite.TensorType.INT32 if data is not None and data.dtype == np.int32 else tflite.TensorType.FLOAT32
        if data is not None and data.dtype.name in kinds:
            kind = kinds[data.dtype.name]
        self.tensors.append((shape, data, kind))
        return len(self.tensors) - 1

    def constant(self, data: NDArray[Any]) -> int:
        return self.tensor(data.shape, data)

    def then(
        self, name: str, inputs: list[int], output_shape: tuple[int, ...], options: str = "", **fields: int
    ) -> int:
        """Append an operator; `options` names the table of its `fields`. Returns its output tensor."""
        self.last = self.tensor(output_shape)
        self.operators.append((name, inputs, [self.last], options, fields))
        return self.last

    def to_bytes(self) -> bytes:
        builder = flatbuffers.Builder(1 << 16)
        buffers = [self._buffer(builder, data) for _, data, _ in self.tensors]
        tensors = [self._tensor(builder, index) for index in range(len(self.tensors))]
        names = sorted({name for name, *_ in self.operators})
        operators = [self._operator(builder, operator, names) for operator in self.operators]
        codes = [self._code(builder, name) for name in names]
        tensor_vector = _offsets(builder, tflite.SubGraphStartTensorsVector, tensors)
        inputs, outputs = _ints(builder, [0]), _ints(builder, [self.last])
        operator_vector = _offsets(builder, tflite.SubGraphStartOperatorsVector, operators)
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensor_vector)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operator_vector)
        subgraphs = _offsets(builder, tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(builder)])
        code_vector = _offsets(builder, tflite.ModelStartOperatorCodesVector, codes)
        buffer_vector = _offsets(builder, tflite.ModelStartBuffersVector, buffers)
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, code_vector)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddBuffers(builder, buffer_vector)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    @staticmethod
    def _buffer(builder: Any, data: NDArray[Any] | None) -> int:
        vector = None
        if data is not None:
            builder.StartVector(1, data.nbytes, 16)  # TFLite reads constants in place: they must be aligned
            builder.head -= data.nbytes
            builder.Bytes[builder.head : builder.head + data.nbytes] = np.ascontiguousarray(data).tobytes()
            vector = builder.EndVector()
        tflite.BufferStart(builder)
        if vector is not None:
            tflite.BufferAddData(builder, vector)
        return int(tflite.BufferEnd(builder))

    def _tensor(self, builder: Any, index: int) -> int:
        shape, _, kind = self.tensors[index]
        name, dims = builder.CreateString(f"tensor{index}"), _ints(builder, list(shape))
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, dims)
        tflite.TensorAddType(builder, kind)
        tflite.TensorAddBuffer(builder, index)
        tflite.TensorAddName(builder, name)
        return int(tflite.TensorEnd(builder))

    @staticmethod
    def _operator(
        builder: Any, operator: tuple[str, list[int], list[int], str, dict[str, int]], names: list[str]
    ) -> int:
        name, inputs, outputs, options, fields = operator
        table = None
        if options:
            getattr(tflite, f"{options}Start")(builder)
            for field, value in fields.items():
                getattr(tflite, f"{options}Add{field}")(builder, value)
            table = getattr(tflite, f"{options}End")(builder)
        input_vector, output_vector = _ints(builder, inputs), _ints(builder, outputs)
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, names.index(name))
        tflite.OperatorAddInputs(builder, input_vector)
        tflite.OperatorAddOutputs(builder, output_vector)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, options))
            tflite.OperatorAddBuiltinOptions(builder, table)
        return int(tflite.OperatorEnd(builder))

    @staticmethod
    def _code(builder: Any, name: str) -> int:
        code = getattr(tflite.BuiltinOperator, name)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, 127))
        tflite.OperatorCodeAddBuiltinCode(builder, code)
        tflite.OperatorCodeAddVersion(builder, 1)
        return int(tflite.OperatorCodeEnd(builder))


def _ints(builder: Any, values: list[int]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependInt32(value)
    return int(builder.EndVector())


def _offsets(builder: Any, start: Any, offsets: list[int]) -> int:
    start(builder, len(offsets))
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
