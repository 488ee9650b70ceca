"""One rule for each TFLite operator that float embedding networks use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tflite

from ..errors import UnsupportedModel
from .emitter import NHWC_TO_NCHW, Emitter
from .file import Operator

_AXIS_TO_NCHW = {0: 0, 1: 2, 2: 3, 3: 1}
_SAME_ARITHMETIC = {
    "ABS": "Abs",
    "ADD": "Add",
    "DIV": "Div",
    "LOGISTIC": "Sigmoid",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "MUL": "Mul",
    "NEG": "Neg",
    "RELU": "Relu",
    "SQRT": "Sqrt",
    "SUB": "Sub",
    "TANH": "Tanh",
}


def _padding(
    padding: int, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """ONNX pads (top, left, bottom, right). SAME puts the odd pixel after the image, as TensorFlow does."""
    if padding == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    before, after = [], []
    for length, taps, step, gap in zip(size, kernel, stride, dilation, strict=True):
        total = max((-(-length // step) - 1) * step + (taps - 1) * gap + 1 - length, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before + after


def _convolution(emitter: Emitter, operator: Operator) -> None:
    x, weight_index, *bias = operator.inputs
    options, weight = operator.options, emitter.known(weight_index)
    group, perm = 1, (0, 3, 1, 2)
    if operator.name == "DEPTHWISE_CONV_2D":
        group, perm = emitter.shape(x)[3], (3, 0, 1, 2)
    weight = weight.transpose(perm)
    stride = (options.StrideH(), options.StrideW())
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    kernel = weight.shape[2:]
    inputs = [emitter.name(x), emitter.initializer(f"t{weight_index}_oihw", weight)]
    inputs += [emitter.initializer(f"t{i}", emitter.known(i)) for i in bias if i >= 0]
    emitter.finish(
        operator,
        options.FusedActivationFunction(),
        "Conv",
        inputs,
        kernel_shape=kernel,
        strides=stride,
        dilations=dilation,
        group=group,
        pads=_padding(options.Padding(), emitter.shape(x)[1:3], kernel, stride, dilation),
    )


def _pool(emitter: Emitter, operator: Operator) -> None:
    options = operator.options
    kernel = (options.FilterHeight(), options.FilterWidth())
    stride = (options.StrideH(), options.StrideW())
    pads = _padding(options.Padding(), emitter.shape(operator.inputs[0])[1:3], kernel, stride, (1, 1))
    kind = "MaxPool" if operator.name == "MAX_POOL_2D" else "AveragePool"
    source = [emitter.name(operator.inputs[0])]
    activation = options.FusedActivationFunction()
    emitter.finish(operator, activation, kind, source, kernel_shape=kernel, strides=stride, pads=pads)


def _elementwise(emitter: Emitter, operator: Operator) -> None:
    rank = len(emitter.shape(operator.outputs[0]))
    activation = operator.options.FusedActivationFunction() if operator.options else 0
    inputs = [emitter.operand(i, rank) for i in operator.inputs]
    emitter.finish(operator, activation, _SAME_ARITHMETIC[operator.name], inputs)


def _relu6(emitter: Emitter, operator: Operator) -> None:
    emitter.activation("RELU6", emitter.name(operator.inputs[0]), emitter.name(operator.outputs[0]))


def _prelu(emitter: Emitter, operator: Operator) -> None:
    x, slope_index = operator.inputs
    slope = emitter.known(slope_index).astype(np.float32)
    if operator.name == "PRELU_HALF_SLOPE":
        slope = slope * np.float32(2)
    if len(emitter.shape(x)) == 4:
        slope = slope.reshape((1,) * (3 - slope.ndim) + slope.shape).transpose(2, 0, 1)
    name = emitter.initializer(f"t{slope_index}_slope", slope)
    emitter.node("PRelu", [emitter.name(x), name], emitter.name(operator.outputs[0]))


def _fully_connected(emitter: Emitter, operator: Operator) -> None:
    x, weight_index, *bias = operator.inputs
    weight = emitter.known(weight_index)
    source = emitter.name(x)
    if len(emitter.shape(x)) != 2:
        source = f"{emitter.name(operator.outputs[0])}_flat"
        emitter.reshaped(x, (emitter.shape(x)[0], weight.shape[1]), source)
    inputs = [source, emitter.initializer(f"t{weight_index}", weight)]
    inputs += [emitter.initializer(f"t{i}", emitter.known(i)) for i in bias if i >= 0]
    emitter.finish(operator, operator.options.FusedActivationFunction(), "Gemm", inputs, transB=1)


def _reshape(emitter: Emitter, operator: Operator) -> None:
    output = operator.outputs[0]
    emitter.reshaped(operator.inputs[0], emitter.shape(output), emitter.name(output))


def _pad(emitter: Emitter, operator: Operator) -> None:
    x, paddings = operator.inputs
    if len(emitter.shape(x)) != 4:
        raise UnsupportedModel("PAD has a rule only for an image of four dimensions; this one pads another tensor.")
    turned = emitter.known(paddings)[list(NHWC_TO_NCHW)]
    pads = emitter.initializer(f"t{paddings}_nchw", turned.T.reshape(-1).astype(np.int64))
    emitter.node("Pad", [emitter.name(x), pads], emitter.name(operator.outputs[0]))


def _mean(emitter: Emitter, operator: Operator) -> None:
    x, axes_index = operator.inputs
    rank = len(emitter.shape(x))
    axes = [int(axis) % rank for axis in emitter.known(axes_index).reshape(-1)]
    if rank == 4 and set(axes) != {1, 2}:
        raise UnsupportedModel(f"MEAN of an image has a rule only over the axes (1, 2), not {axes}.")
    if rank == 4:
        axes = [_AXIS_TO_NCHW[axis] for axis in axes]
    keep = int(operator.options.KeepDims())
    emitter.node("ReduceMean", [emitter.name(x)], emitter.name(operator.outputs[0]), axes=sorted(axes), keepdims=keep)


def _l2_normalize(emitter: Emitter, operator: Operator) -> None:
    x = operator.inputs[0]
    axis = 1 if len(emitter.shape(x)) == 4 else len(emitter.shape(x)) - 1
    activation = operator.options.FusedActivationFunction() if operator.options else 0
    emitter.finish(operator, activation, "LpNormalization", [emitter.name(x)], axis=axis, p=2)


def _concatenation(emitter: Emitter, operator: Operator) -> None:
    rank = len(emitter.shape(operator.outputs[0]))
    axis = operator.options.Axis() % rank
    inputs = [emitter.operand(i, rank) for i in operator.inputs]
    activation = operator.options.FusedActivationFunction()
    emitter.finish(operator, activation, "Concat", inputs, axis=_AXIS_TO_NCHW[axis] if rank == 4 else axis)


def _dequantize(emitter: Emitter, operator: Operator) -> None:
    """Fold DEQUANTIZE into its constant: float16 files have their weights behind it."""
    emitter.folded[operator.outputs[0]] = emitter.known(operator.inputs[0]).astype(np.float32)


RULES: dict[str, Callable[[Emitter, Operator], None]] = {
    "AVERAGE_POOL_2D": _pool,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "DEQUANTIZE": _dequantize,
    "FULLY_CONNECTED": _fully_connected,
    "L2_NORMALIZATION": _l2_normalize,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "PAD": _pad,
    "PRELU": _prelu,
    "PRELU_HALF_SLOPE": _prelu,
    "RELU6": _relu6,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    **dict.fromkeys(_SAME_ARITHMETIC, _elementwise),
}
