"""python -m ml_models.conversion.pack.int8 DATA CACHE OUTPUT: the quantiser's verdict on the demo pack's real networks.

DATA holds lfw/, cfp/ and london/ as evaluation lists with their images; CACHE the pack as `fetch_demo_pack --no-publish
--cache-dir CACHE` leaves it. London's people, who are on no other list, calibrate; LFW and CFP judge. The INT8 files
are made in a temporary folder and thrown away: OUTPUT is a page with the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ml_models.engine.graph import read_metadata
from ml_models.engine.types import InputContract

from ...engine.processor import cpu_name
from .. import int8
from ..errors import QuantizationRefused
from ..faces import Aligner
from ..proof import Crops
from ..separation import Kind, LabelledFaces, read_faces
from .catalogue import Catalogue

NETWORKS = ("mobilefacenet_192", "arcface_fp32", "sface_2021dec")
LISTS: tuple[tuple[str, Kind], ...] = (
    ("cfp/pairs_FP.csv", "profile"),
    ("lfw/pairs.csv", "frontal"),
    ("cfp/pairs_FF.csv", "frontal"),
)

HEAD = """# INT8, layer by layer

Written by `python -m ml_models.conversion.pack.int8 DATA CACHE docs/quantization.md`; edit the command, not this page.

The quantiser (`quantize_model`) on the demo pack's three real networks, on {cpu}. Ranges measured on {calibration}
faces of people who are on none of the lists. Each row is one mixture that was tried, fewest layers in float first (the
first layer always is). The columns of the lists give the change of TAR at FMR 0.1 % in points, each network at its own
threshold over all strangers against all, and in brackets the lower end of its 95 % interval over subjects: above −3 on
CFP-FP and above −1 on the others, or the mixture is refused. The first list that fails ends a row.

| network | layers in float | mean cosine to float | CFP-FP | LFW | CFP-FF | verdict |
| --- | --- | --- | --- | --- | --- | --- |
"""

FOOT = """
{listed}.

## What the dearest layers cost

Each alone in INT8, taken from the mean cosine to the float network.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "cache", "output"):
        parser.add_argument(name, type=Path, metavar=name.upper())
    parser.add_argument("--networks", nargs="*", default=NETWORKS, metavar="NAME")
    options = parser.parse_args()
    pack = Catalogue.read(Path("config") / "artifacts.yaml").entries
    files = {name: options.cache / f"{pack[name].sha256}.onnx" for name in (*options.networks, "yunet_2023mar")}
    aligner = Aligner(lambda: files["yunet_2023mar"])
    calibration = aligner.folder(options.data / "london" / "images")
    lists = [read_faces(options.data / path, kind, aligner) for path, kind in LISTS]
    listed = "; ".join(
        f"{faces.name} {len(faces.pairs.subjects)} subjects, {int(faces.acquired.sum())} of {len(faces.crops)} faces"
        for faces in lists
    )
    rows, layers = "", ""
    for name in options.networks:
        verdict, costs = _verdict(name, files[name], calibration, lists)
        rows += verdict
        layers += f"- {name}: {costs}.\n"
        # after each network: it takes minutes, and an interrupted run keeps what it has
        options.output.write_text(
            HEAD.format(cpu=cpu_name(), calibration=len(calibration)) + rows + FOOT.format(listed=listed) + layers
        )


def _verdict(name: str, path: Path, calibration: Crops, lists: Sequence[LabelledFaces]) -> tuple[str, str]:
    metadata = read_metadata(path)
    contract = InputContract.from_json(json.loads(metadata["ml_models.contract"]))

    def say(text: str) -> None:
        sys.stderr.write(f"{name}: {text}\n")

    with TemporaryDirectory() as folder:
        try:
            done = int8.quantize_model(
                path, Path(folder) / f"{name}.onnx", contract, metadata, calibration, lists, say=say
            )
            speed = done.ms_float / done.ms_int8
            attempts, costs, verdict = done.attempts, done.costs, f"passes, {speed:.2f} times as fast as float"
        except QuantizationRefused as refusal:
            attempts, costs, verdict = refusal.attempts, refusal.costs, "refused: the float file stays"
    rows = [_row(name, attempt, len(costs), lists) for attempt in attempts]
    verdicts = ["more layers back to float"] * (len(rows) - 1) + [verdict]
    table = "".join(f"{row} {outcome} |\n" for row, outcome in zip(rows, verdicts, strict=True))
    return table or f"| {name} | | | | | | {verdict} |\n", _dearest(costs)


def _row(name: str, attempt: int8.Attempt, layers: int, lists: Sequence[LabelledFaces]) -> str:
    changes = {result.name: f"{result.change:+.2f} ({result.change_low:+.2f})" for result in attempt.separations}
    cells = " | ".join(changes.get(faces.name, "") for faces in lists)
    float_layers = f"{len(attempt.float_nodes)} of {layers}" if layers else "0"
    return f"| {name} | {float_layers} | {attempt.cosine:.4f} | {cells} |".replace("-", "−")


def _dearest(costs: Mapping[str, float]) -> str:
    rows = sorted(costs.items(), key=lambda item: -item[1])[:8]
    return ", ".join(f"{node} {cost:.4f}" for node, cost in rows) or "all together cost too little to ask"


if __name__ == "__main__":
    main()
