import json
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ml_models import artifacts, conf
from ml_models.engine.errors import ContractMismatch
from ml_models.engine.graph import read_metadata
from ml_models.management.base import MlCommand
from ml_models.models import Artifact

FACTS = ("weights_licence", "training_data", "commercial_use", "citation")


class Command(MlCommand):
    help = """Publish an ONNX file: into the bucket, and its row into the database.

FILE carries its contract, licences and citation in its metadata (convert_adaface, import_model, quantize_model and
fetch_demo_pack write them). It is loaded and asked for two portraits' embeddings first, the golden vectors that every
process compares with before it serves, and by how much another processor may differ from them is measured. A network
that gives both portraits the same vector is refused.

A network that looks for presentation attacks, and says nothing of itself, is published with --facts FILE: a JSON object
with its contract (see ml_models.engine.presentation.PresentationContract), weights_licence, training_data,
commercial_use and citation. Its logits for two portraits are its golden vectors.

The object <prefix>NAME.onnx is created, never overwritten, and read back: size, CRC32C and SHA-256 must agree. An
upload that was interrupted goes on where it stopped when the command is run again. The same bytes again change
nothing; other bytes under a published name are refused.

Example:
  manage.py publish_model adaface_ir50_ms1mv2.onnx --name adaface_ir50_ms1mv2 --family adaface
  manage.py load_ensemble config/ensembles/v3-adaface.yaml
  manage.py publish_model minifasnet_v1se.onnx --name minifasnet_v1se --family minifasnet --facts v1se.json"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--name", required=True, help="how ensemble files call it; letters, digits, . _ -")
        parser.add_argument("--family", required=True, choices=artifacts.families())
        parser.add_argument("--facts", type=Path, metavar="FILE", help="JSON: what the network does not say of itself")

    def run(self, **options: Any) -> dict[str, Any]:
        path, facts = options["file"], self._facts(options["file"], options["facts"])
        contract = facts["contract"]
        if facts.get("family", options["family"]) != options["family"]:
            raise CommandError(
                f"family_conflict: --family says {options['family']}, {path.name} is of the family {facts['family']}."
            )
        artifact, uploaded = artifacts.publish(
            path,
            options["name"],
            kind=contract.get("kind", Artifact.Kind.EMBEDDER),
            family=options["family"],
            contract=contract,
            weights_licence=facts.get("weights_licence", ""),
            training_data=facts.get("training_data", ""),
            commercial_use=facts.get("commercial_use", Artifact.CommercialUse.UNKNOWN),
            citation=facts.get("citation", ""),
            progress=self.progress(f"uploading {options['name']}"),
        )
        return {
            "name": artifact.name,
            "uploaded": uploaded,
            "uri": artifact.uri,
            "generation": artifact.generation,
            "sha256": artifact.sha256,
            "size": artifact.size,
            "family": artifact.family,
            "dimension": artifact.dimension,
            "golden_min_cosine": artifact.golden_min_cosine,
            "separation": facts.get("separation"),
            "weights_licence": artifact.weights_licence,
            "training_data": artifact.training_data,
            "commercial_use": artifact.commercial_use,
            "citation": artifact.citation,
        }

    def _facts(self, path: Path, beside: Path | None) -> dict[str, Any]:
        """What the file says of itself, without the `ml_models.` in front of each name; or what `beside` says of it."""
        try:
            metadata = read_metadata(path)
        except OSError as error:
            raise CommandError(f"not_found: {path} cannot be read: {error.strerror}.") from error
        if beside:
            return _said_beside(beside, metadata)
        if "ml_models.contract" not in metadata:
            raise ContractMismatch(
                f"{path.name} says nothing of its contract: bring a face network into form with import_model, and give "
                "--facts for one that looks for presentation attacks or for eyes."
            )
        facts: dict[str, Any] = {key.removeprefix("ml_models."): value for key, value in metadata.items()}
        try:
            return {**facts, "contract": dict(json.loads(facts["contract"]))}
        except (ValueError, TypeError) as error:
            raise ContractMismatch(f"{path.name}: the contract in its metadata is not readable.") from error

    def show(self, result: dict[str, Any]) -> None:
        done = "uploaded and read back" if result["uploaded"] else "already there, nothing changed"
        self.stdout.write(
            f"{result['uri']}: {done}\n"
            f"generation {result['generation']}, {result['size'] / 1e6:.1f} MB, sha256 {result['sha256']}\n"
            f"golden vectors: every process must reach cosine {result['golden_min_cosine']}"
        )
        if result["separation"] == "not measured":
            self.stdout.write("This INT8 file has NOT proven that it still tells people apart: see quantize_model.")
        use = result["commercial_use"]
        refused = "" if use == Artifact.CommercialUse.ALLOWED or conf.get("NONCOMMERCIAL") else ": refused here"
        self.stdout.write(
            f"commercial use: {use}{refused}\n  weights: {result['weights_licence'] or 'not said'}\n"
            f"  training set: {result['training_data'] or 'not said'}\n{result['citation'] or 'no citation given'}"
        )


def _said_beside(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if "ml_models.contract" in metadata:
        raise ContractMismatch("The network says its contract itself. Leave --facts out.")
    try:
        facts = json.loads(path.read_text())
        kind = facts["contract"]["kind"]
        texts = {key: str(facts[key]) for key in FACTS if key in facts}
        unknown = facts.keys() - {"contract", *FACTS}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ContractMismatch(f"{path.name} is no JSON object with a contract that says its kind.") from error
    if unknown:
        raise ContractMismatch(f"{path.name}: {', '.join(sorted(unknown))} is none of contract, {', '.join(FACTS)}.")
    if kind not in (Artifact.Kind.PRESENTATION, Artifact.Kind.EYES):
        raise ContractMismatch("A face network is brought into form, and proven, with import_model.")
    return {**texts, "contract": dict(facts["contract"])}
