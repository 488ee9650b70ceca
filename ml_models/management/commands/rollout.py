from dataclasses import asdict
from typing import Any
from uuid import UUID

from ml_models import rollouts
from ml_models.management.base import MlCommand
from ml_models.management.watching import watch
from ml_models.rollouts.failures import given_up
from ml_models.rollouts.progress import progress

STEER = {
    "pause": rollouts.pause,
    "resume": rollouts.resume,
    "abort": rollouts.abort,
    "go": rollouts.cut_over,
}


class Command(MlCommand):
    help = """Look at a rollout and steer it.

  status   how far it is; --watch keeps a progress bar up until it is over, --failures lists who is to be enrolled again
  pause    hand out nothing more; what is done stays
  resume   go on where it stopped
  abort    give up; the version is `validated` again, and what is embedded is not embedded again later
  go       an operator's approval: cut over now

Without --rollout it is the latest one."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", choices=["status", *STEER], metavar="status|pause|resume|abort|go")
        parser.add_argument("--rollout", type=UUID, metavar="ID")
        parser.add_argument("--watch", action="store_true", help="with status: until the rollout is over")
        parser.add_argument(
            "--failures", action="store_true", help="the references that could not be embedded, with their subjects"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        rollout = rollouts.get_rollout(options["rollout"])
        if options["action"] != "status":
            STEER[options["action"]](rollout)
        rollout = watch(self, rollout) if options["watch"] else rollouts.get_rollout(rollout.pk)
        where = progress(rollout)
        result = {**asdict(where), "percent": where.percent}
        if options["failures"]:
            rows = given_up(rollout).order_by("reference__subject__subject_id", "pk")
            named = rows.values_list("reference__subject__subject_id", "reference_id", "code")
            result["failed"] = [{"subject_id": s, "reference_id": str(r), "code": c} for s, r, c in named]
        return result

    def show(self, result: dict[str, Any]) -> None:
        done = result["pairs"] - result["missing"]
        self.stdout.write(f"version {result['version']}: {result['state']}, {result['percent']} %")
        self.stdout.write(f"{done} of {result['pairs']} embeddings, {sum(result['failures'].values())} failures")
        if result["seconds_left"] is not None:
            self.stdout.write(f"{result['references_per_s']:.1f} references/s, {result['seconds_left']:.0f} s left")
        for code, count in result["failures"].items():
            self.stdout.write(f"  {code}: {count}")
        for failed in result.get("failed", []):
            self.stdout.write(f"  enrol {failed['subject_id']} again: {failed['code']}, {failed['reference_id']}")
        for process, ready in result["processes"].items():
            self.stdout.write(f"  {process}: {'ready' if ready else 'loading'}")
        if (shadow := result["shadow"])["scored"]:
            self.stdout.write(f"shadow: {shadow['scored']} live verifies, {shadow['agreement']:.1%} decided alike")
            for live, shift in shadow["score_shift"].items():
                self.stdout.write(f"  {live}: score {shift:+.2f}")
            for change, count in shadow["changes"].items():
                self.stdout.write(f"  {change}: {count}")
        if result["reason"]:
            self.stdout.write(result["reason"])
