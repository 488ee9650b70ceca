from typing import Any

from ml_models import rollouts
from ml_models.management.base import MlCommand


class Command(MlCommand):
    help = """Prove that a draft version may go live, and mark it `validated`.

Checks weights, calibration, a threshold for every voter set that can occur, families, licences, and every network:
in the bucket at its generation, with its sha256, contract and golden vectors."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("version", type=int, metavar="VERSION")

    def run(self, **options: Any) -> dict[str, Any]:
        rollouts.validate(rollouts.get_config(options["version"]))
        return {"version": options["version"], "state": rollouts.get_config(options["version"]).state}

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"version {result['version']} is {result['state']}")
