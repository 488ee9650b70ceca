from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ml_models import selectors
from ml_models.management.study import StudyCommand
from ml_models.studies.calibrating import calibrate, calibrate_identification


class Command(StudyCommand):
    help = """Fit a version's calibration and thresholds on labelled pairs.

Every image goes through the version's own pipeline, and all images of a list are compared with all others.
Each member's similarity, with the length of its features, becomes a log-likelihood ratio; each voter set
learns how far to trust its members beyond their weights, and gets a last calibration and the threshold at
which at most the version's target_fmr of the non-mated comparisons match: in every list, with --stress also
under every stress, and for 1, 3 and 5 references by 1 and 3 frames, each by itself. From the stresses
motion_blur, defocus_blur, face_mask, sunglasses, eyes_barred and spectacles it also learns how to recognise a
blurred face, a covered one, covered eyes and glasses. The first three get numbers of their own, where that is
better; where both pictures show glasses the thresholds rise. Under these stresses the references are put, too.
docs/decisions/fusion.md says it on a page.

From the clean pictures comes what a roster's size adds to the thresholds, so that somebody who is not on it is
named in at most target_fpir of the searches (0.001, or what the file's identification block says); for as
many candidates as the lists have people for, and extrapolated beyond. docs/decisions/identify.md says how.
With --identification-only these are all that is fitted, and everything else stays.

The numbers go into the draft in the database and, with --output, into a copy of its ensemble file. A
version that is no draft any more is not changed: only --output is written. Measure on other people than
these:
  calibrate --config 2 --pairs lfw/pairs.csv --images lfw/images --part 1/2 --stress
  evaluate  --config 2 --pairs lfw/pairs.csv --images lfw/images --part 2/2 --stress"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--output", type=Path, metavar="FILE", help="write the ensemble file here (.yaml)")
        parser.add_argument(
            "--identification-only", action="store_true", help="fit the thresholds for rosters alone; needs --output"
        )
        parser.add_argument("--all-pairs", action="store_true", help="always on for calibrating; accepted for symmetry")
        parser.set_defaults(stress_images=200)

    def run(self, **options: Any) -> dict[str, Any]:
        config = selectors.get_config(options["config"])
        if options["identification_only"]:
            if not options["output"]:
                raise CommandError("--identification-only writes a copy of the ensemble file: give --output FILE.")
            return calibrate_identification(config, self.sources(options), self, options["output"])
        return calibrate(config, self.sources(options), self, options["output"])

    def show(self, result: dict[str, Any]) -> None:
        for offset in result["identification"].get("offsets", ()):
            self.stdout.write(
                f"{offset['candidates']} candidates: a match {offset['match']:+.2f}, a review {offset['review']:+.2f} "
                "from verify's threshold"
            )
        if "lists" in result:
            self._show_fit(result)

    def _show_fit(self, result: dict[str, Any]) -> None:
        for item in result["lists"]:
            self.stdout.write(
                f"{item['name']}: {item['subjects']} subjects, {item['mated']} mated and {item['non_mated']} non-mated "
                f"comparisons, FMR {item['fmr']:.4%}, FNMR {item['fnmr']:.3%} at the threshold"
            )
        for cell in result["cells"]:
            self.stdout.write(
                f"{cell['name']}, {cell['references']} references × {cell['frames']} frames: {cell['mated']} mated and "
                f"{cell['non_mated']} non-mated attempts, FMR {cell['fmr']:.4%}, FNMR {cell['fnmr']:.3%}"
            )
        self._show_rules("", result)
        for condition in result["conditions"]:
            self._show_rules(f"{condition['name']}: ", condition)
            if condition.get("sides") == "shared":
                self.stdout.write(
                    f"{condition['name']} on both sides: thresholds rise by up to {condition['both_margin']}"
                )

    def _show_rules(self, where: str, rules: dict[str, Any]) -> None:
        for name, c in rules["members"].items():
            self.stdout.write(f"{where}{name}: a {c['a']}, b {c['b']}, d {c['d']}")
        for name, rule in rules["voter_sets"].items():
            trust = ", ".join(f"{member} {value:.2f}" for member, value in rule["trust"].items())
            self.stdout.write(
                f"{where}{name}: a {rule['a']}, b {rule['b']}, threshold {rule['threshold']}, "
                f"review from {rule['review_threshold']}; trust {trust}"
            )
