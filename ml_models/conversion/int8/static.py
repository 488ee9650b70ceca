"""Static INT8 quantisation with frozen activation ranges.

The ranges are measured once, on aligned faces, and stored as numbers. So the quantised file can be made anywhere, from
the float file and a JSON file, with the same bytes and without an image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from .. import onnx_graph
from ..errors import RangesMismatch

OPERATORS = ("Conv", "Gemm", "MatMul")
OPSET = 13  # the first whose DequantizeLinear takes a scale for each channel
SIGNIFICANT_DIGITS = 6

Ranges = Mapping[str, tuple[float, float]]
"""Activation name → (lowest, highest) value measured."""


# How the lowest and highest values of single pictures, shape (B, 2), become one range. The outermost ones waste most of
# the 256 steps on one odd picture; their mean clips a little everywhere.
RANGE_RULES: Mapping[str, Callable[[NDArray[np.float64]], tuple[float, float]]] = {
    "outermost": lambda ends: (ends[:, 0].min(), ends[:, 1].max()),
    "tenth percentile": lambda ends: (np.percentile(ends[:, 0], 10), np.percentile(ends[:, 1], 90)),
    "mean": lambda ends: (ends[:, 0].mean(), ends[:, 1].mean()),
}


@dataclass(frozen=True, slots=True)
class QuantizationFile:
    """The numbers of `config/quantization/*.json`: the ranges, what they were measured on, what stays in float."""

    measured_on: str
    float_nodes: tuple[str, ...]
    ranges: Ranges

    @classmethod
    def read(cls, path: Path) -> QuantizationFile:
        data = json.loads(path.read_text())
        ranges = {name: (float(low), float(high)) for name, (low, high) in data["ranges"].items()}
        return cls(data["measured_on"], tuple(data["float_nodes"]), ranges)

    def write(self, path: Path) -> None:
        ranges = ",\n".join(f"    {json.dumps(n)}: {json.dumps(list(r))}" for n, r in sorted(self.ranges.items()))
        head = {"measured_on": self.measured_on, "float_nodes": list(self.float_nodes)}
        path.write_text(json.dumps(head, indent=2)[:-2] + ',\n  "ranges": {\n' + ranges + "\n  }\n}\n")


def prepare(path: Path) -> onnx.ModelProto:
    """The float model as `quantized` wants it: every node named, batch norms folded, shapes inferred.

    Raises: UnsupportedModel.
    """
    model = onnx_graph.raise_opset(onnx_graph.load(path), OPSET)
    onnx_graph.drop_initializer_inputs(model)
    onnx_graph.fold_batch_norm(model)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"  # layers are kept in float by name
    return onnx.shape_inference.infer_shapes(model)


def _activations(model: onnx.ModelProto, exclude: Collection[str] = ()) -> list[str]:
    """The activations that enter or leave a node that will be quantised."""
    weights = {tensor.name for tensor in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in OPERATORS and n.name not in exclude]
    return sorted({name for n in nodes for name in (n.input[0], n.output[0])} - weights)


def measure_ranges(model_path: Path, batches: Iterable[NDArray[np.float32]]) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of every activation that quantisation needs, over all batches.

    Args:
        model_path: the float ONNX model, one input.
        batches: network inputs as the contract feeds them, float32, shape (N, C, H, W).
    Returns: name → (lowest, highest), rounded outwards to six significant digits.
    """
    by_batch = observe(model_path, batches)
    return {
        name: (_outwards(float(values[:, 0].min()), np.floor), _outwards(float(values[:, 1].max()), np.ceil))
        for name, values in by_batch.items()
    }


def candidate_ranges(
    model_path: Path, batches: Iterable[NDArray[np.float32]]
) -> dict[str, dict[str, tuple[float, float]]]:
    """As `measure_ranges`, once for each of `RANGE_RULES`: rule → name → (low, high), to six significant digits."""
    by_batch = observe(model_path, batches)
    return {
        rule: {name: _rounded(combine(values)) for name, values in by_batch.items()}
        for rule, combine in RANGE_RULES.items()
    }


def _rounded(ends: tuple[float, float]) -> tuple[float, float]:
    return float(f"{ends[0]:.6g}"), float(f"{ends[1]:.6g}")


def observe(model_path: Path, batches: Iterable[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """As `measure_ranges`, batch by batch: name → lowest and highest value in each, shape (B, 2)."""
    model = prepare(model_path)
    names = _activations(model)
    source = model.graph.input[0].name
    outputs = {value.name for value in model.graph.output}
    hidden = [name for name in names if name != source and name not in outputs]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in hidden)
    options = onnxruntime.SessionOptions()
    # Optimisation would fuse the very activations that are asked for.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = [name for name in names if name != source]
    by_batch: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for batch in batches:
        values = {source: batch, **dict(zip(wanted, session.run(wanted, {source: batch}), strict=True))}
        for name in names:
            by_batch[name].append((float(values[name].min()), float(values[name].max())))
    return {name: np.array(rows) for name, rows in by_batch.items()}


def quantisable(prepared: onnx.ModelProto) -> list[str]:
    """The names of the nodes that `quantized` would turn to INT8."""
    return [node.name for node in prepared.graph.node if node.op_type in OPERATORS]


def _outwards(value: float, direction: np.ufunc) -> float:
    if value == 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) + 1 - SIGNIFICANT_DIGITS)
    return float(f"{float(direction(value / unit)) * unit:.{SIGNIFICANT_DIGITS}g}")


def quantize(model_path: Path, ranges: Ranges, output: Path, *, exclude_nodes: Collection[str] = ()) -> None:
    """Write the static QDQ INT8 form of a float model (per-channel int8 weights, uint8 activations).

    Args:
        model_path: the float ONNX model that the ranges were measured on.
        ranges: from `measure_ranges`.
        output: where to write it; the bytes depend on nothing but the arguments and onnxruntime's version.
        exclude_nodes: names of nodes that stay in float.
    Raises: RangesMismatch when an activation has no range, or a node to exclude is not in the graph.
    """
    output.write_bytes(onnx_graph.serialize(quantized(prepare(model_path), ranges, exclude_nodes), {}))


def quantized(prepared: onnx.ModelProto, ranges: Ranges, exclude_nodes: Collection[str] = ()) -> onnx.ModelProto:
    """As `quantize`, in memory; `prepared` stays as it is."""
    missing = set(_activations(prepared, exclude_nodes)) - set(ranges)
    unknown = set(exclude_nodes) - {node.name for node in prepared.graph.node}
    if missing or unknown:
        raise RangesMismatch(
            f"The numbers belong to another network: {len(missing)} activations have no range and"
            f" {len(unknown)} excluded nodes do not exist. Measure them again on this file."
        )
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=_tensors_data(ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(exclude_nodes),
        op_types_to_quantize=list(OPERATORS),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    done: onnx.ModelProto = quantizer.model.model
    return done


def _tensors_data(ranges: Ranges) -> TensorsData:
    data = {n: TensorData(lowest=np.float32(low), highest=np.float32(high)) for n, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)
