"""A network's file as it came, run as a reference for what was made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import prelu, reading
from .proof import open_session
from .runnable import run_by_onnxruntime


def original(path: Path, output_name: str | None = None) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Load an ONNX or TFLite file as it came; only PReLU slopes that onnxruntime cannot apply are reshaped.

    Args:
        output_name: the output to take; None for the first.

    Returns: a function from pictures, float32 (N, …) in the layout of the *repaired* file, any N, to features (N, D).

    Raises: UnsupportedModel when onnxruntime cannot run it.
    """
    return _original_tflite(path) if path.suffix == ".tflite" else _original_onnx(path, output_name)


def _original_onnx(path: Path, output_name: str | None) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    model = reading.load(path)
    prelu.by_channel(model)
    with run_by_onnxruntime(model):
        session = open_session(model.SerializeToString())
        source = next(value for value in session.get_inputs() if len(value.shape) == 4)
    name = output_name or session.get_outputs()[0].name
    kind = np.float16 if source.type == "tensor(float16)" else np.float32
    batch = source.shape[0] if isinstance(source.shape[0], int) else None

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        with run_by_onnxruntime(model):
            return _by_batch(values, batch, lambda part: session.run([name], {source.name: part.astype(kind)})[0])

    return run


def _original_tflite(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def once(part: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(source["index"], part.transpose(0, 2, 3, 1))  # the converted file takes NCHW
        interpreter.invoke()
        return np.array(interpreter.get_tensor(target["index"]))

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _by_batch(values, int(source["shape"][0]), once)

    return run


def _by_batch(
    values: NDArray[np.float32], batch: int | None, once: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    size = batch or len(values)
    padded = np.resize(values, (-(-len(values) // size) * size, *values.shape[1:]))
    rows = [np.asarray(once(padded[i : i + size]), np.float32).reshape(size, -1) for i in range(0, len(padded), size)]
    return np.concatenate(rows)[: len(values)]
