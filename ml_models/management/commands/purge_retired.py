from typing import Any

from ml_models.management.base import MlCommand
from ml_models.rollouts import purging


class Command(MlCommand):
    help = """Delete the embeddings that no version needs any more.

Kept are the spaces of the active, rolling-out, validated and warm versions (a retired version is warm until its
rollback window ends). References and their chips stay, so a retired version can be activated again later."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="count only")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["dry_run"]:
            return {"embeddings": purging.unneeded().count(), "deleted": 0}
        deleted = 0
        total = purging.unneeded().count()
        report = self.progress("purging")
        for count in purging.purge():
            deleted += count
            report(deleted, total)
        return {"embeddings": total, "deleted": deleted}

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"{result['deleted']} of {result['embeddings']} unneeded embeddings deleted")
