"""Networks run by OpenVINO, where it is installed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from queue import LifoQueue
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from ..errors import ContractMismatch, InferenceFailed
from ..processor import cores
from ..types import Precision
from .protocol import Tensor

if TYPE_CHECKING:
    import openvino

# What openvino-telemetry's `opt_in_out --opt_out` writes into the home folder.
_CONSENT = Path("intel", "openvino_telemetry")
# OpenVINO's names
_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}


def why_not_openvino() -> str:
    """Why OpenVINO cannot be used in this process, in words for an operator; empty where it can."""
    if find_spec("openvino") is None:
        return "openvino is not installed."
    # imported by openvino itself, it writes a client id into the home folder and wants to report each import
    if find_spec("openvino_telemetry") is not None and not _opted_out():
        return (
            "openvino-telemetry is installed and on: uninstall it, or run opt_in_out --opt_out as the service's user."
        )
    return ""


def openvino_version() -> str:
    """Without importing it; empty where the package does not say."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return ""


def _opted_out() -> bool:
    try:
        return (Path.home() / _CONSENT).read_text().strip() == "0"
    except (OSError, RuntimeError):  # no such file; no home
        return False


class OpenVinoGraph:
    """See `Graph`; arguments as `Opener` has them, and:

    Args:
        threads: OpenVINO's threads for one call.
        shape: of the input; the file's own, one at a time, when None.
        calls: how many calls run at the same time, each in a copy of its own; as many as cores when None.
        precision: bfloat16 where the processor has it, if the file's contract allows it.

    Raises:
        ContractMismatch: also where OpenVINO is not to be used, or would compute in another precision.
    """

    engine = "openvino"

    def __init__(
        self,
        model: Path | str,
        outputs: Sequence[str],
        threads: int = 1,
        calls: int | None = None,
        shape: Sequence[int] | None = None,
        precision: Precision = "float32",
    ) -> None:
        if reason := why_not_openvino():
            raise ContractMismatch(f"OpenVINO cannot be used: {reason}")
        # only here: hosts without it run everything else, and those that never choose it do not pay for the import
        import openvino

        options = {
            # a processor that has bfloat16 would be made to use it: other vectors, and nobody told
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "EXECUTION_MODE_HINT": "ACCURACY",
            # one thread is the caller's own: handing a call to another one takes as long as a small network
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # pinned, all networks would take turns on the same cores
            "ENABLE_CPU_PINNING": False,
        }
        core = openvino.Core()
        try:
            network = core.read_model(str(model))
            self.inputs, self.outputs = _tensors(network.inputs), _tensors(network.outputs)
            network.reshape({port: shape or [1, *list(port.partial_shape)[1:]] for port in network.inputs})
            self._at_once = shape[0] if shape else 1
            copies = [core.compile_model(network, "CPU", options) for _ in range(calls or cores())]
            places = {name: place for place, port in enumerate(network.outputs) for name in port.names}
            self._wanted = [places[name] for name in outputs]
            computes_in = copies[0].get_property("INFERENCE_PRECISION_HINT").to_string()
        except (RuntimeError, KeyError) as error:
            raise ContractMismatch("The file is not a network that OpenVINO can load.") from error
        if computes_in not in ("f32", _HINTS[precision]):
            raise ContractMismatch(f"OpenVINO would compute in {computes_in}, not in {_HINTS[precision]}.")
        if computes_in != "f32":
            self.engine = f"{self.engine}, {precision}"
        # a request carries one call at a time, and the next call writes into its answers; the last one used comes
        # first, since the caches still have it
        self._idle: LifoQueue[openvino.InferRequest] = LifoQueue()
        for copy in copies:
            self._idle.put(copy.create_infer_request())
        self._pid = os.getpid()
        _loaded.add(self)

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if self._pid != os.getpid():
            raise InferenceFailed("The network was loaded before a fork. Load it in the process that uses it.")
        steps = range(0, len(batch), self._at_once)
        request = self._idle.get()
        try:
            rows = [self._run_one(request, batch[i : i + self._at_once]) for i in steps]
        finally:
            self._idle.put(request)
        return [np.concatenate(answers) for answers in zip(*rows, strict=True)]

    def _run_one(self, request: openvino.InferRequest, one: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            request.infer(one, share_inputs=True)
            return [request.get_output_tensor(place).data.copy() for place in self._wanted]
        except RuntimeError as error:
            raise InferenceFailed("A network failed on a face.") from error


_loaded: WeakSet[OpenVinoGraph] = WeakSet()


def _keep_for_good() -> None:
    """In a forked child: letting go of the parent's networks waits for threads that do not exist here, even when the
    child ends. So they are never let go of."""
    for graph in list(_loaded):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(graph))


os.register_at_fork(after_in_child=_keep_for_good)


def _tensors(ports: Sequence[Any]) -> dict[str, Tensor]:
    """By every name that a port has."""
    return {
        name: Tensor(
            port.element_type.to_string() == "f32",
            tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape),
        )
        for port in ports
        for name in port.names
    }
