"""Somebody else's model file → the network in it, whole and standing alone, or what the file is instead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper
from onnx.inliner import inline_local_functions

from . import tflite
from .beginnings import what_it_is
from .errors import ConversionError, UnsupportedModel
from .runnable import require_standard_operators


def load(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with its external data, or convert a TFLite file.

    Raises:
        UnsupportedModel, ConversionError: as `foreign.bring_to_form`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConversionError("not_found", f"{path} cannot be read: {error.strerror}.") from error
    if path.suffix == ".tflite":
        return tflite.convert(data)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise UnsupportedModel(f"{path.name} is not an ONNX model. It is {what_it_is(data)}.") from error
    if not model.graph.node:
        raise UnsupportedModel(f"{path.name} is not an ONNX model, it has no operators. It is {what_it_is(data)}.")
    _read_external(model, path)
    require_standard_operators(model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:  # a text of its message may be no text
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UnsupportedModel(f"{path.name} is not a valid ONNX model: {reason}.") from error
    _require_whole(model, path)
    return model


def _require_whole(model: onnx.ModelProto, path: Path) -> None:
    """Refuse tensors whose values do not fit their shape (the checker minds missing ones alone) or are no numbers."""
    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    for tensor in (*model.graph.initializer, *(attribute.t for attribute in attributes if attribute.HasField("t"))):
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise UnsupportedModel(
                f"{path.name} is damaged: the values of {tensor.name or 'a constant'} do not fit its shape "
                f"{list(tensor.dims)}. Fetch it again."
            ) from error
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise UnsupportedModel(f"{path.name} has weights that are no numbers (NaN), in {tensor.name}.")


def _read_external(model: onnx.ModelProto, path: Path) -> None:
    """Read external weights into the model. A path out of the model's folder is refused: it could be any file of this
    machine."""
    folder = path.parent.resolve()
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        try:
            place = (folder / entries.get("location", "")).resolve()
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
            size = place.stat().st_size if place.is_relative_to(folder) and place.is_file() else -1
        except (OSError, ValueError):  # no path, or no numbers
            place, offset, length, size = folder, 0, -1, -1
        if not place.is_relative_to(folder):
            raise ConversionError(
                "external_data_outside",
                f"{path.name} names a weights' file outside its folder. Nothing was read: export the network again, "
                "with its weights beside it.",
            )
        if offset < 0 or length < 0:
            raise ConversionError(
                "external_data_missing",
                f"{path.name} names no place in a file where the weights {tensor.name} lie. Export the network again.",
            )
        if size < offset + length:
            raise ConversionError(
                "external_data_missing",
                f"{path.name}: its weights' file {place.name} is missing or shorter than {offset + length} bytes. "
                "Copy it beside the model again.",
            )
        with place.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length) if length else file.read()
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def alone(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The network without what no published file may have (`engine.graph`): functions of its own, and training.

    Returns: it, and the changes in words.
    """
    repairs = []
    if model.functions:
        model = inline_local_functions(model)
        repairs.append("its own functions were written out")
    if model.training_info:
        del model.training_info[:]
        repairs.append("what belongs to training was left out")
    return model, repairs
