from typing import Any

from ml_models import rollouts
from ml_models.management.base import MlCommand


class Command(MlCommand):
    help = """Let go of a retired version before its rollback window ends.

Its networks are not loaded any more, nobody is embedded for it, nobody can roll back to it, and the next purge_retired
deletes what it alone has embedded. For a version whose file is lost, or whose cost is not worth the way back."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("version", type=int, metavar="VERSION")

    def run(self, **options: Any) -> dict[str, Any]:
        config = rollouts.get_config(options["version"])
        rollouts.end_warmth(config)
        return {"version": config.version, "warm": False}

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"version {result['version']} is not warm any more")
