import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from ml_models.management.conversion import ConversionCommand


class Command(ConversionCommand):
    help = """Make the INT8 or bfloat16 form of an ONNX embedder, and prove that it still tells people apart.

FILE carries its contract (convert_adaface, import_model and fetch_demo_pack write it). For INT8, ranges are measured on
the faces below --calibration; layers that cost too much stay in float. With --bf16 the weights stay as they are, and
processors that have bfloat16 may use it; others compute in float. Then, on every labelled list, the float and the
changed network are compared at FMR 0.1 %, each at its own threshold over all strangers against all. The lower end of
the 95 % interval of the change must stay above -1 point (--pairs) or -3 points (--profile-pairs); otherwise more layers
go back to float (INT8), and if that does not help the file is refused with the figures and only the float one remains.

A list is a CSV with the columns same,a,b; its images lie in the folder images/ beside it.

Example:
  manage.py quantize_model adaface_ir50_ms1mv2.onnx --output adaface_ir50_ms1mv2_int8.onnx --calibration faces/ \\
    --pairs lfw/pairs.csv --pairs cfp/pairs_FF.csv --profile-pairs cfp/pairs_FP.csv
  manage.py quantize_model sface_2021dec.onnx --bf16 --output sface_2021dec_bf16.onnx --pairs lfw/pairs.csv"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--output", type=Path, required=True, metavar="FILE")
        form = parser.add_mutually_exclusive_group(required=True)
        form.add_argument("--calibration", type=Path, metavar="DIR", help="for INT8: pictures of faces, 20 or more")
        form.add_argument("--bf16", action="store_true", help="bfloat16 in place of INT8")
        parser.add_argument("--pairs", type=Path, action="append", default=[], metavar="LIST")
        parser.add_argument("--profile-pairs", type=Path, action="append", default=[], metavar="LIST")
        parser.add_argument("--detector", type=Path, metavar="FILE", help="YuNet; default: the published yunet_2023mar")

    def run(self, **options: Any) -> dict[str, Any]:
        from ml_models.conversion.bfloat16 import allow_bfloat16
        from ml_models.conversion.errors import ConversionError
        from ml_models.conversion.int8 import quantize_model
        from ml_models.conversion.separation import Kind, read_faces
        from ml_models.engine.graph import read_metadata
        from ml_models.engine.types import InputContract

        if not options["pairs"] and not options["profile_pairs"]:
            raise ConversionError("pairs_required", "Without a labelled list nothing is proven: give --pairs.")
        try:
            metadata = read_metadata(options["file"])
        except OSError as error:
            raise ConversionError("not_found", f"{options['file']} cannot be read: {error.strerror}.") from error
        if "ml_models.contract" not in metadata:
            raise ConversionError("contract_missing", f"{options['file']} carries no contract: see import_model.")
        aligner = self.aligner(options["detector"])
        kinds: tuple[tuple[Kind, list[Path]], ...] = (
            ("frontal", options["pairs"]),
            ("profile", options["profile_pairs"]),
        )
        lists = [
            read_faces(path, kind, aligner, self.progress(f"aligning {path.parent.name}/{path.stem}"))
            for kind, paths in kinds
            for path in paths
        ]
        contract = InputContract.from_json(json.loads(metadata["ml_models.contract"]))
        files = options["file"], options["output"]
        if options["bf16"]:
            return allow_bfloat16(*files, contract, metadata, lists, say=self.say).to_json()
        calibration = aligner.folder(options["calibration"], self.progress("aligning for calibration"))
        return quantize_model(*files, contract, metadata, calibration, lists, say=self.say).to_json()

    def show(self, result: dict[str, Any]) -> None:
        if "attempts" in result:
            self.show_int8(result)
        else:
            self.stdout.write(
                f"{result['file']}: {result['size'] / 1e6:.1f} MB, sha256 {result['sha256']}\n"
                f"cosine to float {result['cosine']:.4f}; a face takes {result['time']:.2f} of float's processor time "
                "in OpenVINO"
            )
            self.show_separations(result["separations"])

    def show_int8(self, result: dict[str, Any]) -> None:
        last = result["attempts"][-1]
        speed = result["ms_float"] / result["ms_int8"]
        self.stdout.write(
            f"{result['file']}: {result['size'] / 1e6:.1f} MB, sha256 {result['sha256']}\n"
            f"{len(last['float_nodes'])} of {result['layers']} layers stay in float, mean cosine to "
            f"float {last['cosine']:.4f}\n{result['ms_float']} ms a face in float, {result['ms_int8']} ms in INT8 "
            f"({speed:.2f} times as fast); separation: {result['separation']}"
        )
        self.show_separations(last["separations"])
        if result["costs"]:
            self.stdout.write("dearest layers (what each alone takes from the mean cosine):")
        for node, cost in list(result["costs"].items())[:8]:
            self.stdout.write(f"  {cost:.5f}  {'float' if node in last['float_nodes'] else 'int8 '}  {node}")

    def show_separations(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self.stdout.write(
                f"  {row['name']}: TAR at FMR 0.1 % {100 * row['tar_float']:.1f} -> {100 * row['tar_changed']:.1f} %, "
                f"change {row['change']:+.2f} points, at worst {row['change_low']:+.2f}"
            )
