"""Networks that nothing here can run: found before anything is written, and told in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from .errors import UnsupportedModel

_ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_STANDARD = ("", "ai.onnx")
_SHOWN = 5


@contextmanager
def run_by_onnxruntime(model: onnx.ModelProto) -> Iterator[None]:
    """What onnxruntime refuses of a model inside the block becomes an UnsupportedModel that says why."""
    try:
        yield
    except _ORT_ERRORS as error:
        raise UnsupportedModel(f"onnxruntime cannot run this network: {_why(model, error)}") from error
    except UnicodeDecodeError as error:
        raise UnsupportedModel("A name in this network is no text: the file is damaged. Fetch it again.") from error


def require_standard_operators(model: onnx.ModelProto) -> None:
    """Refuse a model with operators that ONNX does not define, or not in the model's version of it.

    Those of other domains are left to onnxruntime, which knows some.

    Raises: UnsupportedModel, naming them.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=0)
    if opset > onnx.defs.onnx_opset_version():
        raise UnsupportedModel(
            f"The network is written for ONNX opset {opset}; the last that is known here is "
            f"{onnx.defs.onnx_opset_version()}. Export it at opset 17."
        )
    own = {function.name for function in model.functions if function.domain in _STANDARD}
    names = {str(node.op_type) for node in _nodes(model) if node.domain in _STANDARD} - own
    unknown = sorted(name for name in names if not _defined(name, opset))
    if unknown:
        raise UnsupportedModel(
            f"ONNX opset {opset} has no operator {_listed(unknown)} (domain ai.onnx). Export the network again with "
            "standard operators, at opset 11 to 20."
        )


def _defined(name: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(name, opset, "").deprecated
    except (onnx.defs.SchemaError, TypeError):  # TypeError: the version is no 32-bit number
        return False


def _why(model: onnx.ModelProto, error: Exception) -> str:
    own = {(function.domain, function.name) for function in model.functions}
    operators = {(node.domain, node.op_type) for node in _nodes(model) if node.domain not in _STANDARD} - own
    if operators:
        listed = _listed(sorted(f"{name} (domain {domain})" for domain, name in operators))
        return f"it has the operators {listed}. Export it again with ONNX's own operators."
    if _has_bfloat16(model.graph):
        return "it computes in bfloat16. Export it in float32: network.float() before torch.onnx.export."
    # what is wrong stands behind the library's name, a number and the number's name
    return str(error).split(" : ", 3)[-1].splitlines()[0][:300]


def _has_bfloat16(graph: onnx.GraphProto) -> bool:
    kinds = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    kinds += [tensor.data_type for tensor in graph.initializer]
    kinds += [attribute.i for node in graph.node if node.op_type == "Cast" for attribute in node.attribute]
    return TensorProto.BFLOAT16 in kinds


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of branches, loops and the model's own functions too."""
    todo = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while todo:
        node = todo.pop()
        yield node
        for attribute in node.attribute:
            todo += [inner for graph in (attribute.g, *attribute.graphs) for inner in graph.node]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
