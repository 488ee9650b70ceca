import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from ml_models import selectors
from ml_models.evaluation.report import quality_curves
from ml_models.evaluation.report.page import discard_plot
from ml_models.management.study import StudyCommand
from ml_models.studies.quality import measure_quality

from .evaluate import percent


class Command(StudyCommand):
    help = """Show whether the quality score, and each measure behind it, predicts a version's errors.

All images of a list are compared with all others; the threshold is set at the version's target FMR. Then the
mated comparisons with the poorest picture are discarded, more and more of them, by each measure: the FNMR of
what is left falls for a measure that knows something. `gain` is the part of the area that it wins between a
measure that knows nothing (0) and one that knows the errors (1). Every figure has a 95 % interval from a
bootstrap over subjects. Also: how many images verification and enrolment refuse.

  evaluate_quality --config 2 --pairs lfw/pairs.csv --images lfw/images --part 2/2 --output report/"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--output", type=Path, metavar="DIR", help="write quality.json and quality.svg there")

    def run(self, **options: Any) -> dict[str, Any]:
        config = selectors.get_config(options["config"])
        result = measure_quality(config, self.sources({**options, "stress": ()}), self)
        curves = {name: figures.pop("curves") for name, figures in _each(result)}
        if options["output"]:
            options["output"].mkdir(parents=True, exist_ok=True)
            (options["output"] / "quality.json").write_text(json.dumps(result, indent=2) + "\n")
            (options["output"] / "quality.svg").write_text(discard_plot(quality_curves.SHARES.tolist(), curves))
        return result

    def show(self, result: dict[str, Any]) -> None:
        for name, figures in _each(result):
            self.stdout.write(
                f"{name}: {figures['subjects']} subjects, {figures['images']} images, {figures['mated']} mated and "
                f"{figures['non_mated']} non-mated comparisons; FNMR {percent(figures['fnmr'])} at FMR "
                f"{result['target_fmr']:.2%}"
            )
            self.stdout.write(
                f"  refused: {percent(figures['fta'])} at verification, "
                f"{percent(figures['refused_at_enrolment'])} at enrolment"
            )
            for measure, curve in figures["measures"].items():
                gain, left = curve["gain"], curve["fnmr_at_discard"]
                at = "  ".join(f"{float(share):.0%}: {value['value']:.3%}" for share, value in left.items())
                self.stdout.write(
                    f"  {measure:34} gain {gain['value']:+.3f} ({gain['low']:+.3f} – {gain['high']:+.3f})  FNMR at {at}"
                )
        for warning in result["warnings"]:
            self.stdout.write(f"! {warning}")


def _each(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("all", result), *result["lists"].items()]
