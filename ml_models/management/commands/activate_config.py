from typing import Any

from ml_models import rollouts, tasks
from ml_models.exceptions import RolloutRefused
from ml_models.management.base import MlCommand
from ml_models.management.watching import watch
from ml_models.models import Rollout
from ml_models.rollouts.progress import progress


class Command(MlCommand):
    help = """Bring a validated version live.

Celery workers embed what is missing while the old version keeps answering; then the versions change in one
transaction. Where nothing is missing and every running process has the networks, that happens at once. Where no web
process runs it waits for one, and says so; a first version goes live without.

The exit code is 0 when the rollout is open, with --wait when the version is active."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("version", type=int, metavar="VERSION")
        parser.add_argument("--wait", action="store_true", help="return when the version is active")
        parser.add_argument(
            "--hold-for-approval", action="store_true", help="wait for `rollout go` before cutting over"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        config = rollouts.get_config(options["version"])
        rollout = rollouts.open_rollout(config, hold_for_approval=options["hold_for_approval"])
        if not tasks.nudge():
            self.say("The task queue does not answer: the rollout is open, and goes on once it does.")
        rollout = rollouts.get_rollout(rollout.pk)
        if options["wait"] and (rollout := watch(self, rollout)).state != Rollout.State.COMPLETE:
            raise RolloutRefused(f"The rollout is {rollout.state}: {rollout.reason}")
        reason = progress(rollout).reason
        return {"version": config.version, "rollout_id": str(rollout.pk), "state": rollout.state, "reason": reason}

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"version {result['version']}: rollout {result['rollout_id']} is {result['state']}")
        if result["reason"]:
            self.stdout.write(result["reason"])
