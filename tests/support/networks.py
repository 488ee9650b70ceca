"""Tiny real ONNX networks: a mean over blocks of pixels, then a fixed random projection."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ml_models.engine.presentation import PresentationContract
from ml_models.engine.types import InputContract

DIMENSION = 16


def contract(**changes: object) -> InputContract:
    data = {
        "input": "input",
        "output": "output",
        "color_order": "RGB",
        "mean": 127.5,
        "std": 128.0,
        "dimension": DIMENSION,
    }
    return InputContract.from_json({**data, **changes})


def tiny_network(
    path: Path,
    *,
    seed: int = 0,
    dimension: int = DIMENSION,
    batch: str | int = "batch",
    poison: str = "",
    norm: bool = False,
) -> Path:
    """Write a network that tells faces, colours and sizes apart a little.

    `poison` is "nan" (every answer is not a number), "zero" (a zero vector) or "constant" (everybody is the same).
    """
    rng = np.random.default_rng(seed)
    blocks = 3 * 14 * 14
    scale = {"": 1.0, "nan": np.nan, "zero": 0.0, "constant": 0.0}[poison]
    weights = (rng.normal(size=(blocks, dimension)) * scale).astype(np.float32)
    bias = np.full(dimension, 1.0 if poison == "constant" else 0.0, dtype=np.float32)
    nodes = [
        helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["output"]),
    ]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, dimension])]
    if norm:
        nodes.append(helper.make_node("ReduceL2", ["output"], ["norm"], axes=[1], keepdims=1))
        outputs.append(helper.make_tensor_value_info("norm", TensorProto.FLOAT, [batch, 1]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, 112, 112])],
        outputs,
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return _written(graph, path)


def with_metadata(network: Path, target: Path, props: dict[str, str]) -> Path:
    """The same graph with other metadata_props."""
    model = onnx.load(network)
    helper.set_model_props(model, props)
    target.write_bytes(model.SerializeToString())
    return target


def with_foreign_operator(network: Path, target: Path) -> Path:
    """The same answers, and an operator of onnxruntime's own beside them, which it would run."""
    model = onnx.load(network)
    model.graph.node.append(helper.make_node("Gelu", ["output"], ["unused"], domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    target.write_bytes(model.SerializeToString())
    return target


def hiding_its_dimension(network: Path, target: Path) -> Path:
    """The same network, but only its answer shows how many numbers it gives."""
    model = onnx.load(network)
    graph = model.graph
    (width,) = (numpy_helper.to_array(t).size for t in graph.initializer if t.name == "bias")
    next(node for node in graph.node if "output" in node.output).output[0] = "features"
    # a selection, of everything: its shape is not known before it runs
    graph.node.append(helper.make_node("Compress", ["features", "all"], ["output"], axis=1))
    graph.initializer.append(numpy_helper.from_array(np.ones(width, dtype=bool), "all"))
    graph.output[0].type.tensor_type.shape.dim[1].dim_param = "any"
    target.write_bytes(model.SerializeToString())
    return target


def tiny_presentation(path: Path, *, side: int = 16, poison: bool = False, dark: float = 0.0) -> Path:
    """Write a network whose three classes are the means of the three channels it is fed, in hundredths.

    Its answer is not a number with `poison`, and for crops where a class would be under `dark`.
    """
    weights = (np.eye(3) * (np.nan if poison else 0.01)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["means"]),
        # the root of a negative number is none; of 0, where nothing is dark, it is 0
        helper.make_node("Min", ["means", "dark"], ["darkest"]),
        helper.make_node("Sub", ["darkest", "dark"], ["short"]),
        helper.make_node("Sqrt", ["short"], ["fault"]),
        helper.make_node("Add", ["means", "fault"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([dark], np.float32), "dark")],
    )
    return _written(graph, path)


def presentation_contract(**changes: object) -> PresentationContract:
    """Of `tiny_presentation`."""
    data = {
        "kind": "presentation",
        "input": "input",
        "output": "output",
        "color_order": "BGR",
        "mean": 0.0,
        "std": 1.0,
        "size": [16, 16],
        "scale": 2.7,
        "classes": 3,
        "live_index": 0,
    }
    return PresentationContract.from_json({**data, **changes})


def tiny_eyes(path: Path, *, side: int = 40, poison: bool = False) -> Path:
    """Write a network for eyes whose log-odds are the square's mean luminance in hundredths."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["eyes"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weight"], ["covered"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("eyes", TensorProto.FLOAT, [2, 1, side, side])],
        [helper.make_tensor_value_info("covered", TensorProto.FLOAT, [2, 1])],
        [numpy_helper.from_array(np.array([[np.nan if poison else 0.01]], np.float32), "weight")],
    )
    return _written(graph, path)


def _written(graph: onnx.GraphProto, path: Path) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
