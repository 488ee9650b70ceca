from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from ml_models.config import FACE_RECOGNITION_MODELS
from ml_models.management.conversion import ConversionCommand


class Command(ConversionCommand):
    help = """Bring somebody else's face network, ONNX or TFLite, to this app's contract, and prove it.

Repaired are: a fixed batch, other names, weights listed as inputs, float16, weights in a file beside the model, and a
head that normalises the feature (its length is a quality signal). NCHW and NHWC are both taken. The result is
compared with the file as it came, as convert_adaface does it; under a cosine of 0.9999 nothing is written.

Colour order and normalisation are not in such a file. With --pairs every usual one is tried on a labelled list (a CSV
with the columns same,a,b, images in images/ beside it) and the lowest equal error rate is taken; what was tried is
reported. Or say them: --color-order with --mean and --std, for (x - mean) / std.

Example:
  manage.py import_model ir50.onnx --output adaface_ir50_community.onnx --family adaface --pairs lfw/pairs.csv \\
    --source datnt114/adaface-onnx --weights-licence MIT --training-data MS1MV2"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--output", type=Path, required=True, metavar="FILE")
        parser.add_argument("--family", required=True, choices=[*FACE_RECOGNITION_MODELS])
        parser.add_argument("--pairs", type=Path, action="append", default=[], metavar="LIST")
        parser.add_argument("--color-order", choices=["RGB", "BGR"])
        parser.add_argument("--mean", type=float)
        parser.add_argument("--std", type=float)
        parser.add_argument(
            "--output-name", metavar="NAME", help="which output is the feature, where there are several"
        )
        parser.add_argument("--source", default="", help="where the file comes from")
        parser.add_argument("--weights-licence", default="unknown")
        parser.add_argument("--training-data", default="unknown", help="what it was trained on, and its terms")
        parser.add_argument("--commercial-use", choices=["allowed", "forbidden", "unknown"], default="unknown")
        parser.add_argument("--citation", default="")
        parser.add_argument("--detector", type=Path, metavar="FILE", help="YuNet; default: the published yunet_2023mar")

    def run(self, **options: Any) -> dict[str, Any]:
        from ml_models.conversion.errors import ConversionError
        from ml_models.conversion.importing import import_model
        from ml_models.conversion.proof import proof_path
        from ml_models.conversion.separation import read_faces

        if (options["mean"] is None) != (options["std"] is None):
            raise ConversionError("contract_required", "--mean and --std belong together.")
        aligner = self.aligner(options["detector"])
        done = import_model(
            options["file"],
            options["output"],
            facts={
                f"ml_models.{key}": options[key]
                for key in ("family", "source", "weights_licence", "training_data", "commercial_use", "citation")
            },
            color_order=options["color_order"],
            normalisation=None if options["mean"] is None else (options["mean"], options["std"]),
            output_name=options["output_name"],
            lists=[
                read_faces(path, "frontal", aligner, self.progress(f"aligning {path.parent.name}/{path.stem}"))
                for path in options["pairs"]
            ],
            say=self.say,
        )
        return {
            "output": str(done.output),
            "proof_file": str(proof_path(done.output)),
            "contract": done.contract.to_json(),
            "repairs": list(done.repairs),
            "tried": [trial.to_json() for trial in done.trials],
            "proof": done.proof.to_json(),
        }

    def show(self, result: dict[str, Any]) -> None:
        contract, proof = result["contract"], result["proof"]
        for repair in result["repairs"]:
            self.stdout.write(f"repaired: {repair}")
        for trial in result["tried"]:
            self.stdout.write(
                f"tried: {trial['color_order']}, (x - {trial['mean']:g}) / {trial['std']:g}: "
                f"EER {100 * trial['eer']:.2f} %"
            )
        self.stdout.write(
            f"{result['output']}: {contract['color_order']}, (x - {contract['mean']:g}) / {contract['std']:g}, "
            f"{contract['layout']}, {contract['dimension']} numbers, sha256 {proof['sha256']}\n"
            f"min cosine to the file as it came {proof['min_cosine']:.7f}, {proof['ms_per_face']} ms a face\n"
            f"proof: {result['proof_file']}; accuracy: not measured"
        )
