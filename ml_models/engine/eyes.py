"""What is before the eyes: small networks look at each eye of the aligned crop.

One tells whether something dark or opaque covers it, one whether there are glasses before it, clear or dark:
docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .align import TEMPLATE
from .embed import golden_crops
from .errors import ContractMismatch, InferenceFailed
from .inference import OnnxRuntimeGraph, Opener, input_shape
from .types import Image

SIDE = 40
"""Of the square about an eye, in pixels of the 112×112 crop, in which the eyes are 35 apart."""


@dataclass(frozen=True, slots=True)
class EyesContract:
    """What the network's input and output are called; it travels with the file.

    The engine feeds `eyes`, float32 (2, 1, SIDE, SIDE), luminance 0 to 255. The network answers with a number for each:
    the natural log-odds of what it looks for, which its place in a version says: that the eye is covered, or behind
    glasses.
    """

    input: str
    output: str
    kind: Literal["eyes"] = "eyes"

    def __post_init__(self) -> None:
        if str(self.kind) != "eyes":
            raise ContractMismatch(f"A contract for eyes has the kind eyes, not {self.kind}.")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EyesContract:
        """Read a contract; `family` is not part of it.

        Raises:
            ContractMismatch: a field is missing or unknown.
        """
        try:
            return cls(**{key: value for key, value in data.items() if key != "family"})
        except TypeError as error:
            raise ContractMismatch(f"The contract is not one for eyes: {error}.") from error

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class EyeNetwork:
    """One loaded network. Safe to share between threads; make it after a fork, never before.

    Args:
        model: path of the ONNX file.
        contract: checked against the graph.
        opener: what runs it.

    Raises:
        ContractMismatch: the file cannot be loaded, or its names, types or shapes are not the contract's.
    """

    def __init__(self, model: Path | str, contract: EyesContract, opener: Opener = OnnxRuntimeGraph) -> None:
        self._graph = opener(model, [contract.output])
        shape = input_shape(self._graph, contract.input)
        if shape[1:] != (1, SIDE, SIDE) or shape[0] not in (None, 2):
            raise ContractMismatch(f"The network's input shape is {shape}, not [2, 1, {SIDE}, {SIDE}].")

    @property
    def engine(self) -> str:
        """The name of what runs it."""
        return self._graph.engine

    def probability(self, crop: Image) -> float:
        """How likely it is that what the network looks for is there, in [0, 1]: from the mean of both eyes' log-odds,
        so that one eye behind hair or in shade does not cover a face.

        Args:
            crop: the aligned face, RGB, uint8, (112, 112, 3).

        Raises:
            InferenceFailed: the network failed, or gave values that are not finite.
        """
        return float(1.0 / (1.0 + np.exp(-self.logits(crop).mean())))

    def logits(self, crop: Image) -> NDArray[np.float64]:
        """The network's own answer for the left eye of the crop and for the right one, shape (2,). Raises as
        `probability`."""
        (answer,) = self._graph.run(eyes(crop)[:, None].astype(np.float32))
        logits = np.asarray(answer, np.float64).reshape(-1)
        if logits.shape != (2,) or not np.isfinite(logits).all():
            raise InferenceFailed(
                "A network that looks at the eyes gave values that are not finite, or not one for each eye."
            )
        return logits

    @cached_property
    def golden(self) -> NDArray[np.float32]:
        """The network's answer for `golden_crops`, float32 (2, 2)."""
        return np.stack([self.logits(crop) for crop in golden_crops()]).astype(np.float32)


def eyes(crop: Image) -> NDArray[np.uint8]:
    """The square about each eye, the right one mirrored, so that both have the nose on the same side.

    Args:
        crop: the aligned face, RGB, uint8, (112, 112, 3).

    Returns: luminance, uint8, (2, SIDE, SIDE).
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    squares = [grey[y : y + SIDE, x : x + SIDE] for x, y in np.rint(TEMPLATE[:2]).astype(int) - SIDE // 2]
    return np.stack([squares[0], squares[1][:, ::-1]])
