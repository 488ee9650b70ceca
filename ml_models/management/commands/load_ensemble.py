from pathlib import Path
from typing import Any

from ml_models.management.base import MlCommand
from ml_models.versions import files


class Command(MlCommand):
    help = """Load an ensemble file (config/ensembles/*.yaml) as a draft version.

Loading the same file again changes nothing. A version that has left `draft` is never changed: give the file a new
version number. Next: validate_config VERSION, then activate_config VERSION."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, metavar="FILE")

    def run(self, **options: Any) -> dict[str, Any]:
        config, done = files.load(options["file"])
        return {"version": config.version, "state": config.state, "result": done}

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"version {result['version']}: {result['result']}, {result['state']}")
