from typing import Any

from ml_models import rollouts
from ml_models.management.base import MlCommand


class Command(MlCommand):
    help = """Make the version that was active before active again, at once, while it is warm."""

    def run(self, **options: Any) -> dict[str, Any]:
        config = rollouts.roll_back()
        return {"version": config.version, "state": "active"}

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"version {result['version']} is active again")
