"""Float → INT8 in mixed precision: ranges chosen and layers kept in float where measuring says so, then the proof.

What a layer costs is measured by quantising that layer alone. The costs add up well, so the dearest layers are kept
in float until the rest stays under a budget; when the separation proof fails, the budget shrinks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_models.engine.types import InputContract, Vectors, canonical_json

from . import onnx_graph, quantize
from .errors import ConversionError
from .files import replacing
from .proof import Crops, cosines, network_input, open_session, proof_path, time_per_face
from .separation import Embed, LabelledFaces, Separation, check_not_collapsed, embedder, require, separation, vectors

MIN_CALIBRATION_FACES = 20
BUDGETS = (0.01, 0.006, 0.004, 0.0025, 0.0015)
"""What all INT8 layers together may take from the mean cosine to float, in the order they are tried."""
_JUDGED_FACES = 16
_MAX_FLOAT_SHARE = 0.6
# How the lows and highs of single pictures become one range. The outermost values waste most of the 256 steps on one
# odd picture; the middle of them clips a little everywhere.
_RANGE_RULES: Mapping[str, Callable[[NDArray[np.float64]], tuple[float, float]]] = {
    "outermost": lambda seen: (seen[:, 0].min(), seen[:, 1].max()),
    "tenth percentile": lambda seen: (np.percentile(seen[:, 0], 10), np.percentile(seen[:, 1], 90)),
    "mean": lambda seen: (seen[:, 0].mean(), seen[:, 1].mean()),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One mixture that was tried: `float_nodes` stayed in float besides the first layer; `cosine` is the mean to the
    float network on faces not used for the ranges."""

    budget: float
    float_nodes: tuple[str, ...]
    cosine: float
    separations: tuple[Separation, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "budget": self.budget,
            "float_nodes": list(self.float_nodes),
            "cosine": self.cosine,
            "separations": [result.to_json() for result in self.separations],
        }


@dataclass(frozen=True, slots=True)
class Quantized:
    """`costs[node]` is what the node in INT8 alone takes from the mean cosine; `proven` is false where no labelled
    list was given. Milliseconds are of one face on one core."""

    output: Path
    ranges: str
    costs: Mapping[str, float]
    attempts: tuple[Attempt, ...]
    ms_float: float
    ms_int8: float
    stranger_cosine: float
    proven: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.output.name,
            "ranges": self.ranges,
            "layers": len(self.costs),
            "costs": dict(sorted(self.costs.items(), key=lambda item: -item[1])),
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "ms_float": self.ms_float,
            "ms_int8": self.ms_int8,
            "stranger_cosine": self.stranger_cosine,
            "separation": "proven" if self.proven else "not measured",
        }


@dataclass(frozen=True, slots=True)
class _Bench:
    """A float network with what is needed to judge an INT8 form of it; `scratch` is overwritten by every trial.

    `first` is the layer that sees the pixels: with three channels it is no faster in INT8, and it stays in float.
    """

    model: Path
    contract: InputContract
    values: NDArray[np.float32]
    expected: NDArray[np.float32]
    scratch: Path
    first: str

    def cosine(self, ranges: quantize.Ranges, float_nodes: Collection[str]) -> float:
        quantize.quantize(self.model, ranges, self.scratch, exclude_nodes={self.first, *float_nodes})
        return float(cosines(_run(self.scratch, self.contract, self.values), self.expected).mean())


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
    """Write the INT8 form of `model` and its `.proof.json`, if it still tells people apart; both or none.

    Args:
        metadata: of the float file; goes on into the INT8 one, with what was measured.
        calibration: aligned crops, RGB uint8 (N, 112, 112, 3); every fourth is kept back to judge by.
        lists: without any the file is marked as not proven, and only checked for collapse.

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
    with TemporaryDirectory() as folder, replacing(proof_path(output)) as figures, replacing(output) as temporary:
        kept_back = calibration[3::4][:_JUDGED_FACES]
        values = network_input(kept_back, contract)
        nodes = quantize.quantisable(model)
        if len(nodes) < 2:
            raise ConversionError("too_costly", "The network has no layers that INT8 would make faster.")
        bench = _Bench(model, contract, values, _run(model, contract, values), Path(folder) / "trial.onnx", nodes[0])
        say(f"measuring ranges on {len(calibration) - len(calibration[3::4])} faces")
        rule, ranges = _best_ranges(bench, np.delete(calibration, np.s_[3::4], axis=0))
        costs = _costs(bench, nodes[1:], ranges, say)
        ordered = sorted(lists, key=lambda faces: faces.kind == "frontal")  # profile faces break first
        plain = [vectors(embedder(model, contract), faces) for faces in ordered]
        attempts: list[Attempt] = []
        for budget in BUDGETS:
            kept = _float_nodes(costs, budget)
            if attempts and attempts[-1].float_nodes == kept:
                continue
            if len(kept) > _MAX_FLOAT_SHARE * len(costs):
                break
            cosine = bench.cosine(ranges, kept)
            embed = embedder(bench.scratch, contract)
            stranger = check_not_collapsed(embed, kept_back)
            results = _until_one_fails(zip(ordered, plain, strict=True), embed)
            attempts.append(Attempt(budget, kept, cosine, results))
            say(f"{len(kept)} of {len(costs)} layers in float: cosine {cosine:.4f}; " + "; ".join(map(str, results)))
            if all(result.passed for result in results):
                break
        if not attempts:
            raise ConversionError("too_costly", f"Most layers cannot be quantised: {_dearest(costs)}.")
        require(attempts[-1].separations, _dearest(costs))
        ms = [time_per_face(open_session(path), contract) for path in (model, bench.scratch)]
        done = Quantized(output, rule, costs, tuple(attempts), ms[0], ms[1], stranger, proven=bool(lists))
        facts = dict(metadata) | {
            "ml_models.precision": "int8",
            "ml_models.separation": "proven" if lists else "not measured",
            "ml_models.quantization": canonical_json(
                {"ranges": rule, "float_nodes": [bench.first, *attempts[-1].float_nodes], "faces": len(calibration)}
            ),
        }
        temporary.write_bytes(onnx_graph.serialize(onnx_graph.load(bench.scratch), facts))
        figures.write_text(json.dumps(done.to_json(), indent=2) + "\n", encoding="utf-8")
    return done


def _until_one_fails(lists: Iterable[tuple[LabelledFaces, Vectors]], embed: Embed) -> tuple[Separation, ...]:
    results: list[Separation] = []
    for faces, plain in lists:
        results.append(separation(faces, plain, vectors(embed, faces)))
        if not results[-1].passed:
            break
    return tuple(results)


def _run(model: Path, contract: InputContract, values: NDArray[np.float32]) -> NDArray[np.float32]:
    session = open_session(model)
    rows = [session.run([contract.output], {contract.input: value[None]})[0].reshape(-1) for value in values]
    return np.stack(rows)


def _best_ranges(bench: _Bench, crops: Crops) -> tuple[str, quantize.Ranges]:
    seen = quantize.observe(bench.model, (network_input(crop[None], bench.contract) for crop in crops))
    candidates = {
        rule: {name: _rounded(combine(values)) for name, values in seen.items()}
        for rule, combine in _RANGE_RULES.items()
    }
    best = max(candidates, key=lambda rule: bench.cosine(candidates[rule], ()))
    return best, candidates[best]


def _rounded(ends: tuple[float, float]) -> tuple[float, float]:
    return float(f"{ends[0]:.6g}"), float(f"{ends[1]:.6g}")


def _costs(
    bench: _Bench, nodes: Sequence[str], ranges: quantize.Ranges, say: Callable[[str], None]
) -> dict[str, float]:
    costs = {}
    for done, node in enumerate(nodes, start=1):
        costs[node] = round(max(0.0, 1 - bench.cosine(ranges, set(nodes) - {node})), 6)
        if done % 10 == 0 or done == len(nodes):
            say(f"measured what {done} of {len(nodes)} layers cost")
    return costs


def _float_nodes(costs: Mapping[str, float], budget: float) -> tuple[str, ...]:
    """The dearest layers, as many as it takes for the rest to cost at most `budget`."""
    left, kept = sum(costs.values()), []
    for node, cost in sorted(costs.items(), key=lambda item: -item[1]):
        if left <= budget:
            break
        kept.append(node)
        left -= cost
    return tuple(kept)


def _dearest(costs: Mapping[str, float]) -> str:
    rows = sorted(costs.items(), key=lambda item: -item[1])[:8]
    return ", ".join(f"{node} costs {cost:.4f}" for node, cost in rows)
