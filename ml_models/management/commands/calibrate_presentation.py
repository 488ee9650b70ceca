from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ml_models import selectors
from ml_models.evaluation.errors import StudyRefused
from ml_models.management.base import MlCommand
from ml_models.studies.presentation import calibrate_presentation, read


class Command(MlCommand):
    help = """Fit the numbers that a version judges its attack detector by: the calibration to a log-likelihood ratio of
a person over an attack, and the threshold from which on it is a person. Of several networks the mean of their log-odds
is judged.

MANIFEST is that of evaluate_presentation. What the detector has no verdict on, because no face was found or it is too
small, is left out. The threshold is the highest one at which at most --bpcer of the people shown are taken for attacks.

The numbers go into the draft in the database and, with --output, into a copy of its ensemble file; a version that is
no draft any more is not changed. Whom they were fitted on goes with them, as hashes: measure on others, or the evidence
does not count.

  calibrate_presentation gate/first.csv  --config 7
  evaluate_presentation  gate/second.csv --config 7"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("manifest", type=Path, metavar="MANIFEST")
        parser.add_argument("--config", type=int, required=True, metavar="VERSION")
        parser.add_argument("--images", type=Path, metavar="DIR", help="what files are relative to; MANIFEST's folder")
        parser.add_argument("--bpcer", type=_share, default=0.05, metavar="SHARE", help="0.05 by default")
        parser.add_argument("--output", type=Path, metavar="FILE", help="write the ensemble file here (.yaml)")

    def run(self, **options: Any) -> dict[str, Any]:
        config = selectors.get_config(options["config"])
        rows = read(options["manifest"], options["images"] or options["manifest"].parent)
        try:
            return calibrate_presentation(config, rows, options["bpcer"], self, options["output"])
        except StudyRefused as error:
            raise CommandError(f"{error.code}: {error}") from error

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(
            f"version {result['config']}: a {result['a']}, b {result['b']}, threshold {result['threshold']}; fitted on "
            f"{result['subjects']} subjects, {result['bona_fide']} presentations of people and {result['attacks']} "
            f"attacks; {result['left_out']} had no verdict"
        )


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"The BPCER is a share from 0 up to 1, not {text}.")
    return value
