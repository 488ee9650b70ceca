"""Networks run by onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Wheels from 1.29 on have telemetry that can hang a forked process at exit; harmless on the pinned version.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from ..errors import ContractMismatch, InferenceFailed
from ..processor import has_vnni
from .protocol import Tensor

_FAILURES = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

Arithmetic: TypeAlias = Literal["exact", "saturating", "unfused"]


def session_options(threads: int = 1, arithmetic: Arithmetic = "exact") -> ort.SessionOptions:
    """How networks are run here.

    Args:
        threads: intra-op threads for one call.
        arithmetic: x86 processors without VNNI multiply INT8 in pairs whose sum may saturate. "saturating" lets them;
            "exact" has onnxruntime go round it there (session.x64quantprecision, some 10 % slower), so that a template
            from one host may meet a probe from another. "unfused" runs every node of the file as it stands, INT8 ones
            in float.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # with VNNI the products are exact anyway, and the option would only cost a fifth of the time
    if arithmetic == "exact" and not has_vnni():
        options.add_session_config_entry("session.x64quantprecision", "1")
    elif arithmetic == "unfused":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def onnxruntime_version() -> str:
    return str(ort.__version__)


class OnnxRuntimeGraph:
    """See `Graph`; arguments as `Opener` and `session_options` have them."""

    engine = "onnxruntime"

    def __init__(
        self, model: Path | str, outputs: Sequence[str], threads: int = 1, arithmetic: Arithmetic = "exact"
    ) -> None:
        options = session_options(threads, arithmetic)
        try:
            self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except _FAILURES as error:
            raise ContractMismatch("The file is not a network that onnxruntime can load.") from error
        self.inputs = _tensors(self._session.get_inputs())
        self.outputs = _tensors(self._session.get_outputs())
        self._wanted = list(outputs)
        if missing := [name for name in outputs if name not in self.outputs]:
            raise ContractMismatch(f"The network has no output named {', '.join(missing)}.")

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        (name,) = self.inputs
        try:
            answers: list[NDArray[np.float32]] = self._session.run(self._wanted, {name: batch})
        except _FAILURES as error:
            raise InferenceFailed("A network failed on a face.") from error
        return answers


def _tensors(nodes: Sequence[ort.NodeArg]) -> dict[str, Tensor]:
    return {
        node.name: Tensor(
            node.type == "tensor(float)", tuple(size if isinstance(size, int) else None for size in node.shape)
        )
        for node in nodes
    }
