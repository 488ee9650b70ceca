from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from ml_models.conversion.errors import ConversionError
from ml_models.management.conversion import ConversionCommand


class Command(ConversionCommand):
    help = """Convert AdaFace's PyTorch weights to a proven ONNX file.

WEIGHTS is the author's model.safetensors (with its config.json beside it), the older Lightning .ckpt, or a Hugging
Face repository pinned to a commit, as in minchul/cvlface_adaface_ir50_ms1mv2@<40 hexadecimal digits>. Nothing in the
file is executed: a pickle that asks for more than tensors is refused.

PyTorch and onnxruntime are compared on random pixels and on aligned faces, one at a time and eight at a time. Under a
cosine of 0.9999 nothing is written. The figures go to FILE.proof.json; accuracy is not measured here (see evaluate).

Example:
  manage.py convert_adaface model.safetensors --dataset ms1mv2 --output adaface_ir50_ms1mv2.onnx
  manage.py publish_model adaface_ir50_ms1mv2.onnx --name adaface_ir50_ms1mv2 --family adaface

Training sets: ms1mv2 (commercial use allowed, citation required), ms1mv3 and vggface2 (unknown), webface4m, webface12m,
webface42m and casia (forbidden), seeded (random test weights)."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("weights", metavar="WEIGHTS")
        parser.add_argument("--dataset", metavar="NAME", help="what the weights were trained on; decides the licence")
        parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
        parser.add_argument("--architecture", choices=["ir18", "ir50", "ir101"], help="default: read off the tensors")
        parser.add_argument(
            "--color-order", choices=["RGB", "BGR"], help="default: config.json's; the author's .ckpt files are BGR"
        )
        parser.add_argument("--opset", type=int, default=17, metavar="N", help="11 to 20; default 17")
        parser.add_argument(
            "--no-norm", action="store_true", help="leave the feature's length, AdaFace's quality signal, out"
        )
        parser.add_argument(
            "--faces", type=Path, metavar="DIR", help="prove on these pictures too, besides two built-in portraits"
        )
        parser.add_argument("--int8", action="store_true", help="also write FILE_int8.onnx; needs --calibration")
        parser.add_argument("--calibration", type=Path, metavar="DIR", help="pictures of faces, 20 or more, better 200")
        parser.add_argument(
            "--detector", type=Path, metavar="FILE", help="YuNet, to align pictures; default: the published one"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        from ml_models.conversion import proof
        from ml_models.conversion.adaface import conversion

        if options["int8"] and not options["calibration"]:
            raise ConversionError("calibration_required", "--int8 needs --calibration DIR with pictures of faces.")
        converted = conversion.convert(
            options["weights"],
            options["output"],
            dataset=options["dataset"],
            architecture=options["architecture"],
            color_order=options["color_order"],
            opset=options["opset"],
            with_norm=not options["no_norm"],
            faces=self._crops("faces", **options),
            say=self.say,
        )
        return {
            **self._int8(converted, options),
            "output": str(converted.output),
            "proof_file": str(proof.proof_path(converted.output)),
            "architecture": converted.architecture,
            "color_order": converted.color_order,
            "dataset": converted.dataset.name,
            "commercial_use": converted.dataset.commercial_use,
            "weights_licence": converted.dataset.weights_licence,
            "training_data": converted.dataset.training_data,
            "citation": converted.citation,
            "prefix": converted.prefix,
            "dropped": list(converted.dropped),
            "proof": converted.proof.to_json(),
        }

    def _crops(self, which: str, **options: Any) -> Any:
        folder = options[which]
        return folder and self.aligner(options["detector"]).folder(folder, self.progress(f"aligning {which}"))

    def _int8(self, converted: Any, options: dict[str, Any]) -> dict[str, Any]:
        from ml_models.conversion import int8
        from ml_models.conversion.adaface import export

        if not options["int8"]:
            return {}
        output = converted.output.with_name(f"{converted.output.stem}_int8{converted.output.suffix}")
        contract = export.contract(converted.color_order, with_norm=not options["no_norm"])
        done = int8.quantize_model(
            converted.output,
            output,
            contract,
            converted.proof.metadata,
            self._crops("calibration", **options),
            say=self.say,
        )
        return {"int8": {"output": str(output), **done.to_json()}}

    def show(self, result: dict[str, Any]) -> None:
        proof = result["proof"]
        self.stdout.write(
            f"{result['output']}: {result['architecture']}, {proof['size'] / 1e6:.1f} MB, sha256 {proof['sha256']}\n"
            f"parameters {proof['parameters'] / 1e6:.1f} M, {proof['flops'] / 1e9:.2f} GFLOP a face, "
            f"{proof['ms_per_face']} ms a face on one core ({proof['cpu']})\n"
            f"input {result['color_order']}, (x/255 - 0.5)/0.5; names in the source began with "
            f"{result['prefix'] or 'nothing'!r}; {len(result['dropped'])} tensors of the training head left out"
        )
        for row in proof["agreements"]:
            self.stdout.write(
                f"  {row['inputs']:>6}, batch {row['batch']}: max abs difference {row['max_abs_difference']:.2e}, "
                f"min cosine {row['min_cosine']:.7f}"
            )
        self.stdout.write(f"proof: {result['proof_file']}; accuracy: not measured")
        if "int8" in result:
            self.stdout.write(
                f"{result['int8']['output']}: {result['int8']['ms_int8']} ms a face; separation not measured: "
                "run quantize_model with labelled lists before it is used"
            )
        self.stdout.write(
            f"commercial use: {result['commercial_use']}\n  weights: {result['weights_licence']}\n"
            f"  training set: {result['training_data']}\n{result['citation']}"
        )
