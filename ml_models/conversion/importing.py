"""Somebody else's ONNX or TFLite file → ours with a contract; colour order and normalisation are found by trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml_models.engine.types import InputContract, canonical_json
from ml_models.evaluation.rates.metrics import Subjects, System
from ml_models.evaluation.scoring import dot_products

from . import foreign, onnx_graph, originals
from .errors import ConversionError
from .files import replacing
from .proof import Proof, proof_path, prove
from .separation import LabelledFaces, embedder, vectors

ColorOrder = Literal["RGB", "BGR"]
# (x − mean) / std, as the published exporters write it
NORMALISATIONS = ((127.5, 127.5), (127.5, 128.0), (0.0, 255.0), (0.0, 1.0))
_MAX_EER = 0.2


@dataclass(frozen=True, slots=True)
class Trial:
    """One way of feeding the network, and the equal error rate it reaches on the labelled lists, in [0, 1]."""

    color_order: ColorOrder
    mean: float
    std: float
    eer: float

    def to_json(self) -> dict[str, Any]:
        return {"color_order": self.color_order, "mean": self.mean, "std": self.std, "eer": round(self.eer, 5)}


@dataclass(frozen=True, slots=True)
class Imported:
    """`trials` are sorted, the best first; empty where the caller gave the contract. `repairs` lists the changes."""

    output: Path
    contract: InputContract
    repairs: tuple[str, ...]
    trials: tuple[Trial, ...]
    proof: Proof


def import_model(
    source: Path,
    output: Path,
    *,
    facts: Mapping[str, str],
    color_order: ColorOrder | None = None,
    normalisation: tuple[float, float] | None = None,
    output_name: str | None = None,
    lists: Sequence[LabelledFaces] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Imported:
    """Repair a file, find its colour order and normalisation, prove it against the original, and write it; all or
    nothing.

    Args:
        facts: metadata of the file (`ml_models.source`, `ml_models.weights_licence`, …).
        color_order: None to find it on `lists`.
        normalisation: mean and std; None to find them on `lists`.

    Raises:
        ConversionError: `contract_required` when something is to be found and there are no lists; `no_evidence` when
            the best trial has too high an EER; `proof_failed`; those of `foreign.bring_to_form`.
    """
    repaired = foreign.bring_to_form(source, output_name)
    for repair in repaired.repairs:
        say(repair)
    known = color_order is not None and normalisation is not None
    if not known and not lists:
        raise ConversionError(
            "contract_required",
            "Nothing says the colour order and normalisation: give --pairs to find them, or --color-order, --mean "
            "and --std.",
        )
    reference = originals.original(source, output_name)
    with replacing(proof_path(output)) as figures, replacing(output) as temporary:
        temporary.write_bytes(onnx_graph.serialize(repaired.model, dict(facts)))
        trials = () if known else _trials(temporary, repaired, color_order, normalisation, lists, say)
        order = color_order or trials[0].color_order
        mean, std = normalisation or (trials[0].mean, trials[0].std)
        contract = _contract(repaired, order, mean, std)
        metadata = {**facts, "ml_models.contract": canonical_json(contract.to_json()), "ml_models.color_order": order}
        metadata["ml_models.normalisation"] = f"(x - {mean:g}) / {std:g}"
        temporary.write_bytes(onnx_graph.serialize(repaired.model, metadata))
        say("comparing with the file as it came")
        proof = prove(
            temporary,
            reference,
            contract,
            name=output.name,
            parameters=foreign.count_parameters(repaired.model),
            flops=foreign.count_flops(repaired.model),
            metadata=metadata,
            directions_only=repaired.head_cut,
        )
        figures.write_bytes(proof.serialize())
    return Imported(output, contract, repaired.repairs, trials, proof)


def _contract(repaired: foreign.Foreign, order: ColorOrder, mean: float, std: float) -> InputContract:
    return InputContract(
        input=foreign.INPUT,
        output=foreign.OUTPUT,
        color_order=order,
        mean=mean,
        std=std,
        dimension=repaired.dimension,
        layout=repaired.layout,
    )


def _trials(
    model: Path,
    repaired: foreign.Foreign,
    color_order: ColorOrder | None,
    normalisation: tuple[float, float] | None,
    lists: Sequence[LabelledFaces],
    say: Callable[[str], None],
) -> tuple[Trial, ...]:
    orders: tuple[ColorOrder, ...] = (color_order,) if color_order else ("RGB", "BGR")
    trials = []
    for order, (mean, std) in product(orders, (normalisation,) if normalisation else NORMALISATIONS):
        embed = embedder(model, _contract(repaired, order, mean, std))
        eers = [equal_error_rate(faces, vectors(embed, faces)) for faces in lists]
        trials.append(Trial(order, mean, std, float(np.mean(eers))))
        say(f"{order}, (x - {mean:g}) / {std:g}: EER {100 * trials[-1].eer:.2f} %")
    trials.sort(key=lambda trial: trial.eer)
    if not trials[0].eer < _MAX_EER:  # so written, NaN fails too
        raise ConversionError(
            "no_evidence",
            f"The best of {len(trials)} colour orders and normalisations has an EER of {100 * trials[0].eer:.1f} %; "
            f"under {100 * _MAX_EER:.0f} % is required. The network may need another alignment, or embed no faces.",
        )
    return tuple(trials)


def equal_error_rate(faces: LabelledFaces, table: NDArray[np.float32]) -> float:
    """EER of the listed pairs, in [0, 1]."""
    pairs = faces.pairs.listed
    pairs = pairs.take(faces.acquired[pairs.a] & faces.acquired[pairs.b])
    few_draws = Subjects(len(faces.pairs.subjects), replicates=20)
    return System(pairs, dot_products(table, pairs.a, pairs.b), few_draws).eer()["value"]
