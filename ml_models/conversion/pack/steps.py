"""The conversion steps that `config/artifacts.yaml` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from .. import onnx_graph, tflite
from ..errors import ConversionError
from ..int8 import static
from .catalogue import Entry

Step = Callable[[Entry, Path, Path], None]
"""Called with the entry, the file before and the file after the step."""


def run(entry: Entry, original: Path, metadata: Mapping[str, str], scratch: Path) -> bytes:
    """Take a fetched file through the entry's steps and stamp it.

    Args:
        original: the file as published.
        metadata: what goes into the ONNX metadata_props.
        scratch: an empty folder for the files in between.
    Returns: the derived ONNX file.
    """
    current = original
    for number, name in enumerate(entry.steps):
        if name not in STEPS:
            raise ConversionError(
                "unknown_step", f"{entry.name}: no step is called {name}. There are: {', '.join(STEPS)}."
            )
        following = scratch / f"{number}.onnx"
        STEPS[name](entry, current, following)
        current = following
    return onnx_graph.serialize(onnx_graph.load(current), metadata)


def _drop_initializer_inputs(_: Entry, source: Path, target: Path) -> None:
    model = onnx_graph.load(source)
    onnx_graph.drop_initializer_inputs(model)
    target.write_bytes(onnx_graph.serialize(model, {}))


def _dynamic_batch(_: Entry, source: Path, target: Path) -> None:
    model = onnx_graph.load(source)
    onnx_graph.dynamic_batch(model)
    target.write_bytes(onnx_graph.serialize(model, {}))


def _tflite_to_onnx(_: Entry, source: Path, target: Path) -> None:
    target.write_bytes(onnx_graph.serialize(tflite.convert(source.read_bytes()), {}))


def _quantize_int8(entry: Entry, source: Path, target: Path) -> None:
    if entry.quantization is None:
        raise ConversionError("bad_catalogue", f"{entry.name}: quantize_int8 needs the file `quantization`.")
    numbers = static.QuantizationFile.read(entry.quantization)
    static.quantize(source, numbers.ranges, target, exclude_nodes=numbers.float_nodes)


STEPS: dict[str, Step] = {
    "drop_initializer_inputs": _drop_initializer_inputs,
    "dynamic_batch": _dynamic_batch,
    "tflite_to_onnx": _tflite_to_onnx,
    "quantize_int8": _quantize_int8,
}
