from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from ml_models import selectors
from ml_models.management.base import MlCommand
from ml_models.versions import comparison


class Command(MlCommand):
    help = """Say whether version B is better than version A, worse, or whether it cannot be told.

Takes the reports that `evaluate` kept of both on the same pairs. Every replicate of the bootstrap drew the
same people for both, so the difference has an interval of its own; where 0 lies inside, it cannot be told.

  evaluate --config 1 --pairs lfw/pairs.csv --images lfw/images --all-pairs
  evaluate --config 2 --pairs lfw/pairs.csv --images lfw/images --all-pairs
  compare_versions 1 2

or in one go: evaluate --config 2 --against 1 --pairs … --images …"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("first", type=int, metavar="A")
        parser.add_argument("second", type=int, metavar="B")

    def run(self, **options: Any) -> dict[str, Any]:
        first, second = (selectors.get_config(options[name]) for name in ("first", "second"))
        comparisons = [
            {"lists": two.measured_on.get("lists", []), "changes": [asdict(c) for c in comparison.compare(one, two)]}
            for one, two in comparison.common(first, second)
        ]
        if not comparisons:
            raise CommandError(
                f"No report of version {first.version} and of version {second.version} as they are now is on the same "
                f"pairs: run evaluate --config {second.version} --against {first.version} --pairs … --images …"
            )
        return {"first": first.version, "second": second.version, "comparisons": comparisons}

    def show(self, result: dict[str, Any]) -> None:
        for item in result["comparisons"]:
            self.stdout.write(f"version {result['second']} against {result['first']} on {', '.join(item['lists'])}")
            for change in item["changes"]:
                self.stdout.write(f"  {in_words(change)}")


def in_words(change: dict[str, Any]) -> str:
    if change["low"] is None:
        return f"{change['what']}: cannot tell, too few comparisons"
    return (
        f"{change['what']}: {change['first']:.3%} → {change['second']:.3%}, change {100 * change['low']:+.3f} to "
        f"{100 * change['high']:+.3f} points: {change['verdict']}"
    )
