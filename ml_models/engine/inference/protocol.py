"""A network that runs, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ContractMismatch


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a file says of one of its inputs or outputs; a dimension is None where any will do."""

    is_float: bool
    shape: tuple[int | None, ...]


class Graph(Protocol):
    """One loaded network. Safe to share between threads; make it after a fork, never before.

    `engine` is the name of what runs it. `inputs` and `outputs` are the file's, by name.
    """

    engine: str

    @property
    def inputs(self) -> Mapping[str, Tensor]: ...

    @property
    def outputs(self) -> Mapping[str, Tensor]: ...

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run the network.

        Args:
            batch: contiguous, as the file's one input.

        Returns: the outputs that were asked for, in that order; arrays that no later call writes into.

        Raises:
            InferenceFailed: it did not run.
        """


def input_shape(graph: Graph, name: str) -> tuple[int | None, ...]:
    """The shape of the network's one input.

    Raises:
        ContractMismatch: it has others, none of this name, or one that is no float tensor.
    """
    if list(graph.inputs) != [name] or not graph.inputs[name].is_float:
        raise ContractMismatch(f"The network's inputs are not one float tensor named {name}.")
    return graph.inputs[name].shape


class Opener(Protocol):
    """Loads a file: `OnnxRuntimeGraph`, `OpenVinoGraph`, or a `partial` of one."""

    def __call__(self, model: Path | str, outputs: Sequence[str]) -> Graph:
        """
        Args:
            model: the ONNX file.
            outputs: which of its outputs `run` gives.

        Raises:
            ContractMismatch: it cannot be loaded, or has no such output.
        """
