from typing import Any

from ml_models import artifacts, selectors
from ml_models.management.base import MlCommand
from ml_models.models import Artifact


class Command(MlCommand):
    help = """Pull the model files of the served versions from the bucket into the local cache, and prove them.

Every file is checked against the size and sha256 in the database, its contract and its golden vectors. A process
does the same when it starts; run this before, so that it starts at once."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("--all", action="store_true", help="every published artifact, not only the served ones")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["all"]:
            wanted = set(Artifact.objects.all())
        else:
            wanted = {artifact for config in selectors.served_configs() for artifact in config.artifacts}
        pulled = {}
        for artifact in sorted(wanted, key=lambda a: a.name):
            artifacts.ensure_local(artifact, self.progress(artifact.name))
            artifacts.load(artifact)
            pulled[artifact.name] = artifact.sha256
        return {"artifacts": pulled}

    def show(self, result: dict[str, Any]) -> None:
        for name, sha256 in result["artifacts"].items():
            self.stdout.write(f"{name}  {sha256}  proven")
        if not result["artifacts"]:
            self.stdout.write("No version is served; --all pulls every published artifact.")
