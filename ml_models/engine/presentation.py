"""Passive presentation attack detection (ISO/IEC 30107-1): is a face a person's, or a photo's, a screen's, a mask's?

ONNX networks, each of whose files says how it wants the face cut out; of several the logits are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .calibrate import Affine
from .embed import golden_crops
from .errors import ContractMismatch, InferenceFailed
from .inference import OnnxRuntimeGraph, Opener, input_shape
from .types import ColorOrder, DetectedFace, Image, Presentation


@dataclass(frozen=True, slots=True)
class PresentationContract:
    """How the network wants its crop and what it gives back; it travels with the file.

    The crop is the face's box enlarged `scale` times about its middle, shrunk and shifted until it lies in the picture,
    reduced to `size` (height, width) by pixel areas. The engine feeds `(crop - mean) / std`, channels in `color_order`,
    shape (1, 3, H, W). The output has one number for each of `classes`, whose softmax are probabilities; `live_index`
    is the class of people.
    """

    input: str
    output: str
    color_order: ColorOrder
    mean: float
    std: float
    size: tuple[int, int]
    scale: float
    classes: int
    live_index: int
    border: Literal["clamped"] = "clamped"
    kind: Literal["presentation"] = "presentation"

    def __post_init__(self) -> None:
        kind, border = str(self.kind), str(self.border)
        if self.color_order not in ("RGB", "BGR") or (kind, border) != ("presentation", "clamped"):
            raise ContractMismatch(
                "A presentation contract has the kind presentation, the border clamped and a colour order RGB or BGR, "
                f"not {kind}, {border} and {self.color_order}."
            )
        numbers = (self.mean, self.std, self.scale, *self.size)
        if len([*self.size]) != 2 or not all(map(math.isfinite, numbers)) or min(self.std, self.scale, *self.size) <= 0:
            raise ContractMismatch(f"A presentation contract needs a size, a std and a scale above 0, not {numbers}.")
        if not 0 <= self.live_index < self.classes or self.classes < 2:
            raise ContractMismatch(f"Class {self.live_index} cannot be the live one of {self.classes} classes.")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PresentationContract:
        """Read a contract; `family` is not part of it.

        Raises:
            ContractMismatch: a field is missing, unknown or out of range.
        """
        own = {key: value for key, value in data.items() if key != "family"}
        if unknown := own.keys() - {field.name for field in fields(cls)}:
            raise ContractMismatch(f"Unknown contract fields: {', '.join(sorted(unknown))}.")
        try:
            return cls(**{**own, "size": tuple(own["size"])})
        except (KeyError, TypeError) as error:
            raise ContractMismatch(f"The contract is incomplete: {error}.") from error

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "size": list(self.size)}


class PresentationDetector:
    """One loaded network. Safe to share between threads; make it after a fork, never before.

    Args:
        model: path of the ONNX file.
        contract: checked against the graph.
        opener: what runs it.

    Raises:
        ContractMismatch: the file cannot be loaded, or its names, types or shapes are not the contract's.
    """

    def __init__(self, model: Path | str, contract: PresentationContract, opener: Opener = OnnxRuntimeGraph) -> None:
        self.contract = contract
        self._graph = opener(model, [contract.output])
        shape = input_shape(self._graph, contract.input)
        if len(shape) != 4 or shape[1:] != (3, *contract.size) or (shape[0] or 1) != 1:
            raise ContractMismatch(f"The network's input shape is {shape}, not [1, 3, {contract.size}].")
        answer = self._graph.outputs[contract.output]
        if not answer.is_float or answer.shape[-1] not in (None, contract.classes):
            raise ContractMismatch(f"The network does not give {contract.classes} float numbers.")

    @property
    def engine(self) -> str:
        """The name of what runs it."""
        return self._graph.engine

    def examine(self, image: Image, face: DetectedFace) -> Presentation:
        """Look at one face.

        Args:
            image: the picture that the face was found in, RGB, uint8, (H, W, 3).
            face: its box in that picture.

        Raises:
            InferenceFailed: the network failed, or gave values that are not finite.
        """
        crop = cut(image, face.box, self.contract.scale)
        logits = self.logits(crop)
        live = logits[self.contract.live_index]
        others = np.delete(logits, self.contract.live_index)
        crop_px = min(crop.shape[:2])
        return Presentation(float(live - np.logaddexp.reduce(others)), crop_px, crop_px >= min(self.contract.size))

    def logits(self, crop: Image) -> NDArray[np.float64]:
        """The network's own answer for a crop, RGB, uint8, (H, W, 3) of any size; shape (classes,).

        Raises:
            InferenceFailed: see `examine`.
        """
        contract, (height, width) = self.contract, self.contract.size
        shrinks = crop.shape[0] > height or crop.shape[1] > width
        sized = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        pixels = sized[..., ::-1] if contract.color_order == "BGR" else sized
        batch = (pixels.astype(np.float32) - np.float32(contract.mean)) / np.float32(contract.std)
        (answer,) = self._graph.run(np.ascontiguousarray(batch.transpose(2, 0, 1)[None]))
        logits = np.asarray(answer, np.float64).reshape(-1)
        if logits.shape != (contract.classes,) or not np.isfinite(logits).all():
            raise InferenceFailed("The network for presentation attacks gave values that are not finite, or too few.")
        return logits

    @cached_property
    def golden(self) -> NDArray[np.float32]:
        """The network's answer for `golden_crops`, float32 (2, classes)."""
        return np.stack([self.logits(crop) for crop in golden_crops()]).astype(np.float32)


def cut(image: Image, box: tuple[float, float, float, float], scale: float) -> Image:
    """A face with what is around it, as MiniFASNet's authors cut it (minivision-ai, Silent-Face-Anti-Spoofing).

    Args:
        image: RGB, uint8, (H, W, 3).
        box: x, y, width, height in pixels; it may reach out of the picture.
        scale: how many times the box's sides; less where the picture is smaller.

    Returns: RGB, uint8, at least one pixel wide and high, with the box's proportions.
    """
    rows, columns = image.shape[:2]
    x, y, width, height = box
    scale = min(scale, (rows - 1) / height, (columns - 1) / width)
    across, down = width * scale, height * scale
    left = min(max(x + width / 2 - across / 2, 0.0), columns - 1 - across)
    top = min(max(y + height / 2 - down / 2, 0.0), rows - 1 - down)
    left_px, top_px = max(int(left), 0), max(int(top), 0)
    return image[top_px : top_px + max(int(down), 1), left_px : left_px + max(int(across), 1)]


def together(looks: Sequence[Presentation]) -> Presentation:
    """What several networks make of one face, as one look: the mean of their logits, and the smallest crop, which is
    enough only where each network's own was.

    Raises:
        ValueError: there is none.
    """
    if not looks:
        raise ValueError("No network looked at the face.")
    return Presentation(
        logit=float(np.mean([look.logit for look in looks])),
        crop_px=min(look.crop_px for look in looks),
        enough=all(look.enough for look in looks),
    )


Liveness = Literal["yes", "no", "uncertain"]


@dataclass(frozen=True, slots=True)
class PassiveRule:
    """A version's rule: `calibration` maps a frame's logit, the mean of the version's networks, to a log-likelihood
    ratio, natural logarithm, of a person over an attack; from `threshold` on it is a person."""

    calibration: Affine
    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ValueError(f"The threshold must be finite, not {self.threshold}.")

    def judge(self, frames: Sequence[Presentation]) -> tuple[Liveness, float | None]:
        """Frames of one attempt are compared together, so each must look like a person by itself: with their mean, or
        without the small ones, somebody's own face among them would cover for a photo.

        Returns: the verdict, and the log-likelihood ratio of the frame that looks least like a person; `uncertain` and
            None where a crop is too small, or there is none.
        """
        if not frames or not all(frame.enough for frame in frames):
            return "uncertain", None
        score = float(self.calibration(min(frame.logit for frame in frames)))
        return ("yes" if score >= self.threshold else "no"), score
