"""What an ONNX file says of itself, read without the onnx package.

A ModelProto is a sequence of top-level fields (protobuf wire format); metadata_props is field 14
(onnx.proto, ModelProto), each entry a StringStringEntryProto with key = 1 and value = 2. A weight is in
graph = 7 → initializer = 5, and where its external_data = 13 is set it lies in another file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from .errors import ContractMismatch

_GRAPH, _METADATA_PROPS = 7, 14
_INITIALIZER, _EXTERNAL_DATA = 5, 13
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


def is_whole(model: Path | bytes) -> bool:
    """Whether all weights lie in the file itself: a digest of it says nothing of those that do not.

    Raises:
        ContractMismatch: not an ONNX model, or a truncated one.
    """
    data = memoryview(model if isinstance(model, bytes) else model.read_bytes())
    graphs = (payload for number, _, payload in _fields(data) if number == _GRAPH)
    weights = (payload for graph in graphs for number, _, payload in _fields(graph) if number == _INITIALIZER)
    return not any(number == _EXTERNAL_DATA for weight in weights for number, _, _ in _fields(weight))
