"""Float → bfloat16: the same weights, run by processors that multiply such numbers, where the separation proof holds.

The file differs from the float one in its contract alone, which allows it. So its vectors are a space of their own, and
what they are worth is proven like INT8's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ml_models.engine.choice import time_ratio
from ml_models.engine.embed import BFLOAT16_TOLERANCE, Embedder, golden_crops, golden_vectors
from ml_models.engine.errors import ContractMismatch
from ml_models.engine.inference import OpenVinoGraph
from ml_models.engine.processor import cpu_name
from ml_models.engine.types import InputContract, canonical_json

from . import onnx_graph
from .errors import ConversionError
from .files import replacing
from .proof import proof_path
from .separation import LabelledFaces, Separation, embed_all, embedder, separation, vectors


@dataclass(frozen=True, slots=True)
class Allowed:
    """What `FILE.proof.json` holds. `cosine` is the lower one of the golden faces' to the float network; `time` the
    processor time of a face over the float network's in OpenVINO."""

    file: str
    sha256: str
    size: int
    cpu: str
    cosine: float
    time: float
    separations: tuple[Separation, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "separations": [result.to_json() for result in self.separations]}


def allow_bfloat16(
    model: Path,
    output: Path,
    contract: InputContract,
    metadata: Mapping[str, str],
    lists: Sequence[LabelledFaces],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Allowed:
    """Write the file that may be run in bfloat16 and its `.proof.json`, if the separation proof holds; both or none.

    Args:
        contract: of the float file.
        metadata: of the float file; copied, with the changed contract.
        lists: for the separation proof, one at least.

    Raises:
        ConversionError: `bfloat16_missing` where this machine cannot compute it, `separation_lost`, `write_failed`.
    """
    changed = replace(contract, precision="bfloat16")
    network = _in_bfloat16(model, changed)
    plain = Embedder(model, contract, partial(OpenVinoGraph, calls=1))
    cosine = float((golden_vectors(network) * golden_vectors(plain)).sum(1).min())
    in_float, in_bfloat16 = embedder(model, contract), partial(embed_all, network)
    results = []
    for faces in lists:
        results.append(separation(faces, vectors(in_float, faces, say), vectors(in_bfloat16, faces, say)))
        say(str(results[-1]))
    # so written, NaN fails too
    if not cosine >= BFLOAT16_TOLERANCE or not all(result.passed for result in results):
        figures = "; ".join([f"cosine {cosine:.4f}, at least {BFLOAT16_TOLERANCE} is required", *map(str, results)])
        raise ConversionError("separation_lost", f"{figures}. Only the float file remains.")
    facts = {**metadata, "ml_models.contract": canonical_json(changed.to_json()), "ml_models.separation": "proven"}
    crop = golden_crops()[:1]
    with replacing(proof_path(output)) as figures_file, replacing(output) as temporary:
        data = onnx_graph.serialize(onnx_graph.load(model), facts)
        temporary.write_bytes(data)
        done = Allowed(
            file=output.name,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            cpu=cpu_name(),
            cosine=cosine,
            time=time_ratio(lambda: plain.embed(crop), lambda: network.embed(crop)),
            separations=tuple(results),
        )
        figures_file.write_text(json.dumps(done.to_json(), indent=2) + "\n", encoding="utf-8")
    return done


def _in_bfloat16(model: Path, contract: InputContract) -> Embedder:
    try:
        network = Embedder(model, contract, partial(OpenVinoGraph, calls=1, precision="bfloat16"))
    except ContractMismatch as error:
        raise ConversionError("bfloat16_missing", str(error)) from error
    if "bfloat16" not in network.engine:
        raise ConversionError(
            "bfloat16_missing",
            f"{cpu_name()} does not multiply bfloat16 numbers, so that nothing can be proven here. Run this on a "
            "processor that has avx512_bf16 or amx_bf16.",
        )
    return network
