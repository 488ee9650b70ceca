"""Which engine runs a network: the quicker one of those that give the same answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np

from .embed import BFLOAT16_TOLERANCE, Embedder, golden_crops
from .errors import GoldenMismatch
from .inference import OpenVinoGraph
from .log_odds import check_golden
from .presentation import PresentationContract, PresentationDetector
from .types import Image, InputContract, Precision
from .yunet import SIZES, TURNED_SIZE, TURNS, OpenCvYuNet, OpenVinoYuNet, YuNet

Engine: TypeAlias = Literal["onnxruntime", "opencv", "openvino"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

# Whatever the file's own golden tolerance: float networks agree to 0.9999999, INT8 ones to 0.99; in bfloat16 the demo
# pack's to 0.9997 and 0.3 %.
_SAME_COSINE: dict[Precision, float] = {"float32": 0.9999, "bfloat16": BFLOAT16_TOLERANCE}
_SAME_NORM: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 1e-2}
# Of boxes and landmarks, in pixels, and of scores: OpenCV and OpenVINO differ by 0.00003 of either.
_SAME_FACE = 1e-3
# Less gain than this is not worth a second library, and might be the clock's.
_WORTH_IT = 0.9
# the large look's: in the smallest, where there is little to gain, the clock would decide for all sizes
_TIMED_SIZE = (320, 320)
# the least score of a face in the scene
_SCORE = 0.5
_MIN_PAIRS, _PAIRS, _BUDGET_S = 5, 21, 2.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine to serve a network with; `why` is for an operator."""

    engine: Engine
    why: str


def choose(model: Path | str, contract: InputContract) -> Choice:
    """Try a network in both engines.

    Timed is processor time on one thread, so that other work on the machine does not count.

    Raises:
        ContractMismatch: one of them cannot load it, or is not there.
        InferenceFailed: it does not run in one of them.
    """
    in_openvino = partial(OpenVinoGraph, calls=1, precision=contract.precision)
    ours, theirs = Embedder(model, contract), Embedder(model, contract, in_openvino)
    try:
        prove_same(ours, theirs)
    except GoldenMismatch as error:
        return Choice("onnxruntime", str(error))
    crop = golden_crops()[:1]
    return _quicker(lambda: ours.embed(crop), lambda: theirs.embed(crop), "onnxruntime")


def choose_detector(model: Path | str) -> Choice:
    """As `choose`, for a YuNet, which OpenCV runs without OpenVINO.

    Raises:
        ContractMismatch: OpenVINO cannot load it, or is not there.
        InferenceFailed: it does not run in one of them.
    """
    ours = OpenCvYuNet(model)
    theirs = OpenVinoYuNet(model, others=ours, calls=1)
    try:
        prove_same_faces(ours, theirs)
    except GoldenMismatch as error:
        return Choice("opencv", str(error))
    cv2.setNumThreads(1)  # as in the service: what is timed is the caller's thread
    scene = golden_scene(_TIMED_SIZE)
    return _quicker(lambda: ours.find(scene, _SCORE), lambda: theirs.find(scene, _SCORE), "opencv")


def choose_presentation(model: Path | str, contract: PresentationContract) -> Choice:
    """As `choose`, for a network that looks for presentation attacks. Raises as that."""
    ours = PresentationDetector(model, contract)
    theirs = PresentationDetector(model, contract, partial(OpenVinoGraph, calls=1))
    try:
        check_golden(theirs, ours.golden)
    except GoldenMismatch as error:
        return Choice("onnxruntime", str(error))
    crop = golden_crops()[0]
    return _quicker(lambda: ours.logits(crop), lambda: theirs.logits(crop), "onnxruntime")


def _quicker(ours: Callable[[], object], theirs: Callable[[], object], name: Engine) -> Choice:
    ratio = time_ratio(ours, theirs)
    return Choice("openvino" if ratio <= _WORTH_IT else name, f"OpenVINO takes {ratio:.2f} of {name}'s processor time.")


def prove_same(reference: Embedder, candidate: Embedder) -> None:
    """Refuse a candidate that does not give the reference's embeddings of the golden faces and their mirror images.

    Raises:
        GoldenMismatch: a cosine under 0.9999, or a feature's length off by more than a thousandth; 0.999 and a
            hundredth where the contract allows bfloat16.
        InferenceFailed: see `Embedder.embed`.
    """
    faces = np.concatenate([golden_crops(), golden_crops()[:, :, ::-1]])
    wanted, given = reference.embed(faces), candidate.embed(faces)
    cosine = float((wanted.vectors * given.vectors).sum(1).min())
    off = float(np.abs(given.norms / wanted.norms - 1).max())
    precision = candidate.contract.precision
    # `not`, so that NaN is refused, too
    if not (cosine >= _SAME_COSINE[precision] and off <= _SAME_NORM[precision]):
        raise GoldenMismatch(
            f"{candidate.engine} does not give {reference.engine}'s embeddings: "
            f"cosine {cosine:.6f}, norms off by {off:.4f}."
        )


def prove_same_faces(reference: YuNet, candidate: YuNet) -> None:
    """Refuse a candidate that does not find the reference's faces, in its order, in a picture of each of its sizes.

    Raises:
        GoldenMismatch: another number of faces, none at all, or one that is off by more than a thousandth.
        InferenceFailed: see `YuNet`.
    """
    turned = [np.ascontiguousarray(np.rot90(golden_scene(TURNED_SIZE), quarters)) for quarters in range(TURNS)]
    pairs = list(zip(reference.find_each(turned, _SCORE), candidate.find_each(turned, _SCORE), strict=True))
    if not any(len(wanted) for wanted, _ in pairs):
        raise GoldenMismatch(f"{reference.engine} finds no face in a small picture.")
    for wanted, given in pairs:
        if given.shape != wanted.shape or not np.abs(given - wanted).max(initial=0.0) <= _SAME_FACE:
            raise GoldenMismatch(f"{candidate.engine} does not find {reference.engine}'s faces in small pictures.")
    for size in SIZES:
        scene = golden_scene(size)
        wanted = reference.find(scene, _SCORE)
        for threads in (1, 2):
            given = candidate.find(scene, _SCORE, threads)
            if not len(wanted) or given.shape != wanted.shape or not np.abs(given - wanted).max() <= _SAME_FACE:
                raise GoldenMismatch(
                    f"{candidate.engine} does not find {reference.engine}'s faces: {len(given)}, not {len(wanted)}, or "
                    "other boxes, landmarks or scores."
                )


def golden_scene(size: tuple[int, int]) -> Image:
    """The golden faces side by side on grey, RGB uint8 (H, W, 3); `size` is (width, height)."""
    width, height = size
    scene = np.full((height, width, 3), 127, np.uint8)
    side = min(width // 2, height)
    for i, crop in enumerate(golden_crops()):
        top, left = (height - side) // 2, i * (width // 2)
        scene[top : top + side, left : left + side] = cv2.resize(crop, (side, side))
    return scene


def time_ratio(reference: Callable[[], object], candidate: Callable[[], object], pairs: int = _PAIRS) -> float:
    """The candidate's processor time over the reference's: the median of pairs timed in turn, fewer of slow ones.

    Both must run in the caller's thread.
    """
    for work in (reference, candidate):
        work()  # the first call sets up
    ratios: list[float] = []
    began = time.thread_time()
    while len(ratios) < _MIN_PAIRS or (len(ratios) < pairs and time.thread_time() - began < _BUDGET_S):
        ratios.append(_seconds(candidate) / _seconds(reference))
    return statistics.median(ratios)


def _seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
