"""What an ONNX file says of itself, read without the onnx package.

A message is a sequence of fields (protobuf wire format). The numbers below are those of onnx.proto: ModelProto,
GraphProto, NodeProto, AttributeProto, TensorProto and SparseTensorProto; an entry of metadata_props has key = 1 and
value = 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from .errors import ContractMismatch, GraphRefused

STANDARD_DOMAINS = ("", "ai.onnx")
"""Whose operators are run. onnxruntime's own (com.microsoft) are not among them: no file that we publish has one."""

_GRAPH, _METADATA_PROPS, _TRAINING_INFO, _FUNCTIONS = 7, 14, 20, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_ATTRIBUTE, _DOMAIN = 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE_TENSORS = (5, 10), (6, 11), (22, 23)
_EXTERNAL_DATA, _DATA_LOCATION, _HERE = 13, 14, b"\0"
_SPARSE_PARTS = (1, 2)
_DEEPEST = 8
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ContractMismatch("The file is not a whole ONNX model.")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield (field number, the whole field with its tag, the payload)."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        wire, payload = tag & 7, at
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _LEN:
            length, payload = _varint(data, at)
            at = payload + length
        elif wire in (_I64, _I32):
            at += 8 if wire == _I64 else 4
        else:
            raise ContractMismatch("The file is not an ONNX model.")
        if at > len(data):
            raise ContractMismatch("The file is not a whole ONNX model.")
        yield tag >> 3, data[start:at], data[payload:at]


def graph_digest(model: Path | bytes) -> str:
    """SHA-256 (hex) of the model without its metadata_props: equal for files that compute the same.

    Raises:
        ContractMismatch: not an ONNX model, or a truncated one.
    """
    data = memoryview(model if isinstance(model, bytes) else model.read_bytes())
    digest = hashlib.sha256()
    for number, whole, _ in _fields(data):
        if number != _METADATA_PROPS:
            digest.update(whole)
    return digest.hexdigest()


def read_metadata(model: Path | bytes) -> dict[str, str]:
    """The model's metadata_props.

    Raises:
        ContractMismatch: not an ONNX model, or a truncated one.
    """
    data = memoryview(model if isinstance(model, bytes) else model.read_bytes())
    entries = (payload for number, _, payload in _fields(data) if number == _METADATA_PROPS)
    props: dict[str, str] = {}
    for entry in entries:
        pair = {number: bytes(payload).decode() for number, _, payload in _fields(entry)}
        props[pair.get(1, "")] = pair.get(2, "")
    return props


def require_standard(model: Path | bytes) -> None:
    """Refuse a model that does more than compute: every node, in the bodies of If, Loop and Scan too, is one of ONNX's
    own operators, and every weight lies in the file itself. A digest of the file says nothing of code and weights that
    lie elsewhere.

    Raises:
        GraphRefused: an operator of another domain, functions or training graphs of its own, weights in another file,
            or graphs nested deeper than any network's.
        ContractMismatch: not an ONNX model, or a truncated one.
    """
    data = memoryview(model if isinstance(model, bytes) else model.read_bytes())
    for number, _, payload in _fields(data):
        if number == _GRAPH:
            _require_standard_graph(payload, 0)
        elif number in (_FUNCTIONS, _TRAINING_INFO):
            raise GraphRefused("The model brings functions or training graphs of its own. Export it without them.")


def _require_standard_graph(graph: memoryview, depth: int) -> None:
    if depth > _DEEPEST:
        raise GraphRefused(f"The model nests graphs more than {_DEEPEST} deep.")
    for number, _, payload in _fields(graph):
        if number == _NODE:
            _require_standard_node(payload, depth)
        elif number == _INITIALIZER:
            _require_inside(payload)
        elif number == _SPARSE_INITIALIZER:
            _require_inside_sparse(payload)


def _require_standard_node(node: memoryview, depth: int) -> None:
    for number, _, payload in _fields(node):
        if number == _DOMAIN and bytes(payload).decode(errors="replace") not in STANDARD_DOMAINS:
            raise GraphRefused(
                f"The model has an operator of the domain {bytes(payload).decode(errors='replace')[:60]!r}; only ONNX's"
                " own are run. Export it with standard operators."
            )
        if number == _ATTRIBUTE:
            _require_standard_attribute(payload, depth)


def _require_standard_attribute(attribute: memoryview, depth: int) -> None:
    for number, _, payload in _fields(attribute):
        if number in _ATTRIBUTE_GRAPHS:
            _require_standard_graph(payload, depth + 1)
        elif number in _ATTRIBUTE_TENSORS:
            _require_inside(payload)
        elif number in _ATTRIBUTE_SPARSE_TENSORS:
            _require_inside_sparse(payload)


def _require_inside_sparse(tensor: memoryview) -> None:
    for number, _, payload in _fields(tensor):
        if number in _SPARSE_PARTS:
            _require_inside(payload)


def _require_inside(tensor: memoryview) -> None:
    external = (
        number == _EXTERNAL_DATA or (number == _DATA_LOCATION and bytes(payload) != _HERE)
        for number, _, payload in _fields(tensor)
    )
    if any(external):
        raise GraphRefused("The model keeps weights in another file: take it in with import_model.")
