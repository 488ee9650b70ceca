"""python -m ml_models.conversion.bench: what folding and INT8 bring AdaFace IR-50 on this machine, in one run.

Seeded weights of the true layout: speed does not depend on what a network has learned.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast, get_args

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ml_models.engine.embed import golden_crops

from ..engine.processor import cpu_name, has_vnni
from .adaface.export import INPUT, OUTPUT, contract, export, plain_export
from .adaface.network import Architecture
from .adaface.seeded import seeded_network
from .int8 import static
from .proof import network_input, open_session

MIN_FOLDED, MIN_INT8 = 0.97, 2.5


def measure(architecture: Architecture = "ir50", rounds: int = 30) -> dict[str, object]:
    """Milliseconds of one face on one core for the plain export, ours and its INT8 form, and the ratios.

    The three run in turn, so that another process's load falls on all of them; the quickest of each counts.
    """
    form = contract("RGB", with_norm=False)
    faces = network_input(golden_crops(), form)
    with TemporaryDirectory() as name:
        folder = Path(name)
        network = seeded_network(architecture)
        (folder / "plain.onnx").write_bytes(plain_export(network))
        export(network, {}, folder / "folded.onnx", with_norm=False)
        ranges = static.measure_ranges(folder / "folded.onnx", [faces])
        first = static.quantisable(static.prepare(folder / "folded.onnx"))[
            0
        ]  # stays in float, as in int8.quantize_model
        static.quantize(folder / "folded.onnx", ranges, folder / "int8.onnx", exclude_nodes=[first])
        sessions = {kind: open_session(folder / f"{kind}.onnx") for kind in ("plain", "folded", "int8")}
        best = dict.fromkeys(sessions, float("inf"))
        for _ in range(rounds):
            for kind, session in sessions.items():
                best[kind] = min(best[kind], _once(session, faces[:1]))
    return {
        "architecture": architecture,
        "cpu": cpu_name(),
        "vnni": has_vnni(),
        "onnxruntime": ort.__version__,
        "ms_plain": round(best["plain"], 2),
        "ms_folded": round(best["folded"], 2),
        "ms_int8": round(best["int8"], 2),
        "folded_to_plain": round(best["plain"] / best["folded"], 3),
        "int8_to_float": round(best["folded"] / best["int8"], 3),
    }


def _once(session: ort.InferenceSession, values: NDArray[np.float32]) -> float:
    # the thread's own time: the network runs in the calling thread, and another process's turn is not counted
    start = time.thread_time()
    session.run([OUTPUT], {INPUT: values})
    return (time.thread_time() - start) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=get_args(Architecture), default="ir50")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(cast(Architecture, options.architecture), options.rounds)
    if options.json:
        text = json.dumps(result, indent=2)
    else:
        wanted = f"at least {MIN_INT8}" if result["vnni"] else f"at least {MIN_INT8} with VNNI, which this one lacks"
        text = (
            f"AdaFace {result['architecture']} on one core of {result['cpu']}: plain export {result['ms_plain']} ms, "
            f"ours {result['ms_folded']} ms, INT8 {result['ms_int8']} ms a face\n"
            f"ours runs {result['folded_to_plain']} times as fast as the plain export (at least {MIN_FOLDED}), "
            f"INT8 {result['int8_to_float']} times as fast as float ({wanted})"
        )
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
