from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ml_models.conversion import onnx_graph
from ml_models.conversion.errors import UnsupportedModel

RNG = np.random.default_rng(7)


def model(*, reshape_to: tuple[int, ...] = (1, -1)) -> onnx.ModelProto:
    """Conv, BatchNormalization, PRelu and a constant Reshape, batch fixed at 1, weights listed as inputs too."""
    tensors: dict[str, NDArray[Any]] = {
        "kernel": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "gamma": RNG.uniform(0.5, 2, size=4).astype(np.float32),
        "beta": RNG.normal(size=4).astype(np.float32),
        "mean": RNG.normal(size=4).astype(np.float32),
        "variance": RNG.uniform(0.5, 2, size=4).astype(np.float32),
        "slope": RNG.uniform(size=(4, 1, 1)).astype(np.float32),
        "target": np.array(reshape_to, np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["c"], name="conv", pads=[1, 1, 1, 1], doc_string="from /home"),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["n"], epsilon=1e-3),
        helper.make_node("PRelu", ["n", "slope"], ["p"]),
        helper.make_node("Reshape", ["p", "target"], ["output"]),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 6, 6])]
    inputs += [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in tensors.items()
    ]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 144])]
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def run(network: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(network.SerializeToString())
    return np.asarray(session.run(None, {"input": images})[0])


def test_initializers_are_dropped_from_the_inputs() -> None:
    network = model()
    onnx_graph.drop_initializer_inputs(network)
    assert [value.name for value in network.graph.input] == ["input"]


def test_a_fixed_batch_becomes_dynamic_and_every_image_keeps_its_answer() -> None:
    network = model()
    images = RNG.normal(size=(3, 3, 6, 6)).astype(np.float32)
    alone = np.concatenate([run(network, images[i : i + 1]) for i in range(3)])
    onnx_graph.drop_initializer_inputs(network)
    onnx_graph.dynamic_batch(network)
    np.testing.assert_allclose(run(network, images), alone, atol=1e-5)


def test_a_reshape_that_does_not_begin_with_the_batch_is_refused() -> None:
    network = model(reshape_to=(4, 36))
    onnx_graph.drop_initializer_inputs(network)
    with pytest.raises(UnsupportedModel, match=r"\[4, 36\]"):
        onnx_graph.dynamic_batch(network)


def test_a_folded_batch_normalisation_changes_no_answer() -> None:
    network = model()
    images = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
    before = run(network, images)
    onnx_graph.drop_initializer_inputs(network)
    onnx_graph.fold_batch_norm(network)
    assert [node.op_type for node in network.graph.node] == ["Conv", "PRelu", "Reshape"]
    np.testing.assert_allclose(run(network, images), before, atol=1e-5)


def test_a_convolution_whose_output_is_used_twice_keeps_its_batch_normalisation() -> None:
    network = model()
    onnx_graph.drop_initializer_inputs(network)
    network.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 4, 6, 6]))
    onnx_graph.fold_batch_norm(network)
    assert "BatchNormalization" in [node.op_type for node in network.graph.node]


def test_serialising_gives_the_same_bytes_whatever_tool_wrote_the_model() -> None:
    one, other = model(), onnx.ModelProto()
    onnx_graph.drop_initializer_inputs(one)
    other.CopyFrom(one)
    other.producer_name, other.producer_version, other.doc_string = "somebody", "1.0", "made in /home"
    other.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 4, 6, 6]))
    helper.set_model_props(other, {"date": "today"})
    metadata = {"ml_models.source": "a", "ml_models.contract": "{}"}
    first = onnx_graph.serialize(one, metadata)
    assert first == onnx_graph.serialize(other, dict(reversed(metadata.items())))
    assert b"/home" not in first
    assert {p.key: p.value for p in onnx.load_model_from_string(first).metadata_props} == metadata


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString()[:-40])
    with pytest.raises(UnsupportedModel, match=r"model\.onnx"):
        onnx_graph.load(path)
