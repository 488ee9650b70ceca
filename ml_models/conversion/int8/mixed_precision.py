"""Float → INT8 in mixed precision: ranges and float layers chosen by measuring, then the separation proof.

Where INT8 throughout costs too much, each layer is quantised alone to measure its cost. Costs nearly add up, so the
dearest layers stay in float until the rest costs less than a budget. When the separation proof fails, the budget
shrinks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ml_models.engine.types import InputContract, Vectors, canonical_json

from ...engine.processor import cpu_name
from .. import onnx_graph
from ..errors import ConversionError, QuantizationRefused
from ..files import replacing
from ..proof import Crops, cosines, network_input, open_session, proof_path, time_per_face
from ..separation import (
    Embed,
    LabelledFaces,
    Separation,
    check_not_collapsed,
    embedder,
    mean_cosine,
    separation,
    vectors,
)
from . import static

MIN_CALIBRATION_FACES = 20
BUDGETS = (0.01, 0.006, 0.004, 0.0025, 0.0015)
"""How far under 1 the mean cosine to float may be, as the sum of the INT8 layers' costs; tried in this order."""
_JUDGED_FACES = 16
_MAX_FLOAT_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Attempt:
    """One mixture that was tried: `float_nodes` stayed in float besides the first layer; `cosine` is the mean cosine to
    the float network, on faces that the ranges were not measured on."""

    budget: float
    float_nodes: tuple[str, ...]
    cosine: float
    separations: tuple[Separation, ...]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.separations)

    def __str__(self) -> str:
        return "; ".join([f"cosine {self.cosine:.4f}", *map(str, self.separations)])

    def to_json(self) -> dict[str, Any]:
        return {
            "budget": self.budget,
            "float_nodes": list(self.float_nodes),
            "cosine": self.cosine,
            "separations": [result.to_json() for result in self.separations],
        }


@dataclass(frozen=True, slots=True)
class Quantized:
    """`costs[node]` is how much the mean cosine falls when this node alone is in INT8; empty where all `layers`
    together cost so little that they were not measured. `proven` is false where no labelled list was given.
    Milliseconds are of one face on one core."""

    output: Path
    sha256: str
    size: int
    ranges: str
    layers: int
    costs: Mapping[str, float]
    attempts: tuple[Attempt, ...]
    ms_float: float
    ms_int8: float
    stranger_cosine: float
    proven: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.output.name,
            "sha256": self.sha256,
            "size": self.size,
            "cpu": cpu_name(),
            "ranges": self.ranges,
            "layers": self.layers,
            "costs": dict(sorted(self.costs.items(), key=lambda item: -item[1])),
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "ms_float": self.ms_float,
            "ms_int8": self.ms_int8,
            "stranger_cosine": self.stranger_cosine,
            "separation": "proven" if self.proven else "not measured",
        }


@dataclass(frozen=True, slots=True)
class _Bench:
    """A float network with what is needed to judge an INT8 form of it.

    `first` is the layer on the pixels: with three channels it is no faster in INT8, so it stays in float. `layers` are
    the others. `expected` are the network's features of `faces`, `stranger_cosine` the mean cosine between these.
    """

    model: onnx.ModelProto
    contract: InputContract
    faces: Crops
    expected: NDArray[np.float32]
    first: str
    layers: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, contract: InputContract, faces: Crops) -> _Bench:
        model = static.prepare(path)
        # tells the quantiser that shapes are inferred; else it would do so at every trial, through the disk
        model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
        nodes = static.quantisable(model)
        if len(nodes) < 2:
            raise ConversionError("too_costly", "The network has no layers that INT8 would make faster.")
        expected = _run(path, contract, network_input(faces, contract))
        return cls(model, contract, faces, expected, nodes[0], tuple(nodes[1:]))

    @property
    def stranger_cosine(self) -> float:
        return mean_cosine(self.expected / np.linalg.norm(self.expected, axis=1, keepdims=True))

    def int8(self, ranges: static.Ranges, float_nodes: Collection[str]) -> onnx.ModelProto:
        return static.quantized(self.model, ranges, {self.first, *float_nodes})

    def cosine(self, int8: onnx.ModelProto) -> float:
        """The mean over `faces` of the cosine between the two networks' features."""
        got = _run(int8.SerializeToString(), self.contract, network_input(self.faces, self.contract))
        return float(cosines(got, self.expected).mean())


def quantize_model(
    model: Path,
    output: Path,
    contract: InputContract,
    metadata: Mapping[str, str],
    calibration: Crops,
    lists: Sequence[LabelledFaces] = (),
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Quantized:
    """Write the INT8 form of `model` and its `.proof.json`, if it passes the separation proof; both or none.

    Args:
        metadata: of the float file; copied into the INT8 one, with the quantiser's own.
        calibration: aligned crops, RGB uint8 (N, 112, 112, 3); every fourth is held out to measure cosines on.
        lists: for the separation proof. Without any the file is marked as not proven, and only checked for collapse.

    Raises:
        ConversionError: `calibration_too_small`, `collapsed`, `too_costly`, `separation_lost` (with every figure),
            `write_failed`.
    """
    if len(calibration) < MIN_CALIBRATION_FACES:
        raise ConversionError(
            "calibration_too_small",
            f"{len(calibration)} faces are too few to measure ranges; give {MIN_CALIBRATION_FACES} or more, "
            "of people and light as the deployment will see them.",
        )
    with replacing(proof_path(output)) as figures, replacing(output) as temporary:
        bench = _Bench.of(model, contract, calibration[3::4][:_JUDGED_FACES])
        say(f"measuring ranges on {len(calibration) - len(calibration[3::4])} faces")
        rule, ranges = _best_ranges(bench, model, np.delete(calibration, np.s_[3::4], axis=0))
        ordered = sorted(lists, key=lambda faces: faces.kind == "frontal")  # profile faces break first
        plain = [vectors(embedder(model, contract), faces, say) for faces in ordered]
        attempts: list[Attempt] = []

        def attempt(budget: float, float_nodes: tuple[str, ...]) -> bool:
            int8 = bench.int8(ranges, float_nodes)
            temporary.write_bytes(onnx_graph.serialize(int8, {}))
            results = _until_one_fails(zip(ordered, plain, strict=True), embedder(temporary, contract), say)
            attempts.append(Attempt(budget, float_nodes, bench.cosine(int8), results))
            say(f"{len(float_nodes)} of {len(bench.layers)} layers in float: {attempts[-1]}")
            return attempts[-1].passed

        costs: dict[str, float] = {}
        enough = bench.cosine(bench.int8(ranges, ())) >= 1 - BUDGETS[0] and attempt(BUDGETS[0], ())
        if not enough:
            costs = _costs(bench, ranges, say)
            for budget, float_nodes in _mixtures(costs, all_int8_tried=bool(attempts)):
                if attempt(budget, float_nodes):
                    break
        if not attempts or not attempts[-1].passed:
            raise _refusal(attempts, costs)
        stranger = check_not_collapsed(embedder(temporary, contract), bench.faces, bench.stranger_cosine)
        ms = [time_per_face(open_session(path), contract) for path in (model, temporary)]
        facts = dict(metadata) | {
            "ml_models.precision": "int8",
            "ml_models.separation": "proven" if lists else "not measured",
            "ml_models.quantization": canonical_json(
                {"ranges": rule, "float_nodes": [bench.first, *attempts[-1].float_nodes], "faces": len(calibration)}
            ),
        }
        data = onnx_graph.serialize(onnx_graph.load(temporary), facts)
        temporary.write_bytes(data)
        done = Quantized(
            output=output,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            ranges=rule,
            layers=len(bench.layers),
            costs=costs,
            attempts=tuple(attempts),
            ms_float=ms[0],
            ms_int8=ms[1],
            stranger_cosine=stranger,
            proven=bool(lists),
        )
        figures.write_text(json.dumps(done.to_json(), indent=2) + "\n", encoding="utf-8")
    return done


def _refusal(attempts: Sequence[Attempt], costs: Mapping[str, float]) -> QuantizationRefused:
    dearest = sorted(costs.items(), key=lambda item: -item[1])[:8]
    listed = ", ".join(f"{node} costs {cost:.4f}" for node, cost in dearest)
    if not attempts:
        return QuantizationRefused(
            "too_costly", f"Most layers cost too much in INT8: {listed}. Use the float file.", attempts, costs
        )
    return QuantizationRefused(
        "separation_lost", f"{attempts[-1]}. Only the float file remains. Dearest layers: {listed}.", attempts, costs
    )


def _mixtures(costs: Mapping[str, float], *, all_int8_tried: bool) -> Iterator[tuple[float, tuple[str, ...]]]:
    """For each budget the layers to leave in float; until they are too many for INT8 to be worth while."""
    last: tuple[str, ...] | None = () if all_int8_tried else None
    for budget in BUDGETS:
        float_nodes = _float_nodes(costs, budget)
        if len(float_nodes) > _MAX_FLOAT_SHARE * len(costs):
            return
        if float_nodes != last:
            yield budget, float_nodes
        last = float_nodes


def _until_one_fails(
    lists: Iterable[tuple[LabelledFaces, Vectors]], embed: Embed, say: Callable[[str], None]
) -> tuple[Separation, ...]:
    results: list[Separation] = []
    for faces, plain in lists:
        results.append(separation(faces, plain, vectors(embed, faces, say)))
        if not results[-1].passed:
            break
    return tuple(results)


def _run(model: Path | bytes, contract: InputContract, values: NDArray[np.float32]) -> NDArray[np.float32]:
    session = open_session(model)
    rows = [session.run([contract.output], {contract.input: value[None]})[0].reshape(-1) for value in values]
    return np.stack(rows)


def _best_ranges(bench: _Bench, model: Path, crops: Crops) -> tuple[str, static.Ranges]:
    candidates = static.candidate_ranges(model, (network_input(crop[None], bench.contract) for crop in crops))
    best = max(candidates, key=lambda rule: bench.cosine(bench.int8(candidates[rule], ())))
    return best, candidates[best]


def _costs(bench: _Bench, ranges: static.Ranges, say: Callable[[str], None]) -> dict[str, float]:
    costs = {}
    for done, node in enumerate(bench.layers, start=1):
        alone = bench.int8(ranges, set(bench.layers) - {node})
        costs[node] = round(max(0.0, 1 - bench.cosine(alone)), 6)
        if done % 10 == 0 or done == len(bench.layers):
            say(f"measured what {done} of {len(bench.layers)} layers cost")
    return costs


def _float_nodes(costs: Mapping[str, float], budget: float) -> tuple[str, ...]:
    """The dearest layers, as many as it takes for the rest to cost at most `budget`."""
    left, float_nodes = sum(costs.values()), []
    for node, cost in sorted(costs.items(), key=lambda item: -item[1]):
        if left <= budget:
            break
        float_nodes.append(node)
        left -= cost
    return tuple(float_nodes)
