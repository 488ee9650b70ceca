"""A model file computes and does nothing else: operators of ONNX alone, weights in the file itself, at every depth."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ml_models.engine.errors import ContractMismatch, GraphRefused
from ml_models.engine.graph import require_standard
from tests.support.networks import tiny_network

Change = Callable[[onnx.GraphProto], None]


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(tiny_network(tmp_path / "tiny.onnx"))


def external_tensor() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "secrets")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def sparse() -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.array([0], np.int64), "at")
    return helper.make_sparse_tensor(external_tensor(), indices, [4])


def foreign_operator(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("FusedConv", ["input"], ["other"], domain="com.microsoft"))


def operator_of_nobody(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("RunShell", ["input"], ["other"], domain="evil"))


def machine_learning_operator(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Scaler", ["input"], ["other"], domain="ai.onnx.ml"))


def external_weight(graph: onnx.GraphProto) -> None:
    graph.initializer.append(external_tensor())


def external_sparse_weight(graph: onnx.GraphProto) -> None:
    graph.sparse_initializer.append(sparse())


def external_constant(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Constant", [], ["other"], value=external_tensor()))


def external_sparse_constant(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Constant", [], ["other"], sparse_value=sparse()))


def external_list(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Identity", ["input"], ["other"], extra=[external_tensor()]))


def in_if(graph: onnx.GraphProto, body: onnx.GraphProto) -> None:
    plain = helper.make_graph([], "else", [], [])
    graph.node.append(helper.make_node("If", ["c"], ["other"], then_branch=plain, else_branch=body))


def in_loop(graph: onnx.GraphProto, body: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Loop", ["n", "c"], ["other"], body=body))


def in_if_in_loop(graph: onnx.GraphProto, body: onnx.GraphProto) -> None:
    outer = helper.make_graph([], "outer", [], [])
    in_if(outer, body)
    in_loop(graph, outer)


def in_a_list_of_graphs(graph: onnx.GraphProto, body: onnx.GraphProto) -> None:
    node = helper.make_node("Identity", ["input"], ["other"])
    node.attribute.append(helper.make_attribute("bodies", [body]))
    graph.node.append(node)


CHANGES = [
    foreign_operator,
    operator_of_nobody,
    machine_learning_operator,
    external_weight,
    external_sparse_weight,
    external_constant,
    external_sparse_constant,
    external_list,
]
PLACES = [None, in_if, in_loop, in_if_in_loop, in_a_list_of_graphs]


@pytest.mark.parametrize(("change", "place"), [*itertools.product(CHANGES, PLACES)])
def test_what_lies_elsewhere_is_refused_at_every_depth(
    model: onnx.ModelProto, change: Change, place: Callable[[onnx.GraphProto, onnx.GraphProto], None] | None
) -> None:
    require_standard(model.SerializeToString())
    if place is None:
        change(model.graph)
    else:
        body = helper.make_graph([], "body", [], [])
        change(body)
        place(model.graph, body)
    with pytest.raises(GraphRefused):
        require_standard(model.SerializeToString())


def test_functions_training_and_endless_nesting_are_refused(model: onnx.ModelProto) -> None:
    with_functions, training, deep = (onnx.ModelProto.FromString(model.SerializeToString()) for _ in range(3))
    imports = [helper.make_opsetid("", 17)]
    with_functions.functions.append(helper.make_function("ours", "F", ["x"], ["y"], [], imports))
    training.training_info.add().algorithm.name = "learn"
    inner = helper.make_graph([], "inner", [], [])
    for _ in range(20):
        outer = helper.make_graph([], "outer", [], [])
        in_loop(outer, inner)
        inner = outer
    in_loop(deep.graph, inner)
    for refused in (with_functions, training, deep):
        with pytest.raises(GraphRefused):
            require_standard(refused.SerializeToString())


def test_standard_bodies_and_weights_that_say_that_they_are_here_pass(model: onnx.ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Relu", ["input"], ["x"])], "body", [], [])
    in_if_in_loop(model.graph, body)
    model.graph.initializer[0].data_location = TensorProto.DEFAULT
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))  # exporters name it without using it
    require_standard(model.SerializeToString())


def test_a_file_that_is_cut_off_is_none(model: onnx.ModelProto) -> None:
    for data in (model.SerializeToString()[:-7], b"\xff" * 40):
        with pytest.raises(ContractMismatch):
            require_standard(data)
