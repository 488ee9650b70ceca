from pathlib import Path
from typing import Any

from django.db import transaction

from ml_models.management.base import DEMO_PACK, MlCommand
from ml_models.studies import keeping
from ml_models.versions import files


def _ensemble(given: str) -> Path:
    """The file itself, else the one that ships under this name."""
    shipped = DEMO_PACK / "ensembles" / f"{given}.yaml"
    return shipped if shipped.is_file() and not Path(given).is_file() else Path(given)


class Command(MlCommand):
    help = """Load an ensemble file as a draft version: a path, or the name of one that ships (v10 is
config/ensembles/v10.yaml).

Loading the same file again changes nothing. A version that has left `draft` is never changed: give the file a new
version number. Next: validate_config VERSION, then activate_config VERSION.

A cross-validated report beside the file (v2.report.json beside v2.yaml) is kept with the version and shown; the gate
never counts it. A report on other numbers than the file's is refused, and nothing is loaded."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="a path, or v1, v2, … for one that ships")
        parser.add_argument("--no-report", action="store_true", help="load the version without the report beside it")

    def run(self, **options: Any) -> dict[str, Any]:
        file = _ensemble(options["file"])
        beside = keeping.shipped_beside(file)
        with transaction.atomic():
            config, done = files.load(file)
            wanted = beside.exists() and not options["no_report"]
            report = keeping.load_shipped(config, beside) if wanted else None
        return {"version": config.version, "state": config.state, "result": done, "report": report}

    def show(self, result: dict[str, Any]) -> None:
        report = f"; its report: {result['report']}" if result["report"] else ""
        self.stdout.write(f"version {result['version']}: {result['result']}, {result['state']}{report}")
