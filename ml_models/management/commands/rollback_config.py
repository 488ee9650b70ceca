from typing import Any

from ml_models import rollouts
from ml_models.management.base import MlCommand


class Command(MlCommand):
    help = """Make the version that was active before active again, at once, while it is warm.

It waits for nothing. `not_ready` counts the people who have no face embedded for that version yet: enrolled where its
networks were not loaded. Workers embed them; until then they cannot be verified."""

    def run(self, **options: Any) -> dict[str, Any]:
        config = rollouts.roll_back()
        # counted afterwards: a rollback waits for no count
        return {"version": config.version, "state": "active", "not_ready": rollouts.people_without_template(config)}

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"version {result['version']} is active again")
        if result["not_ready"]:
            self.stdout.write(f"{result['not_ready']} people cannot be verified until workers have embedded them")
