import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ml_models import selectors
from ml_models.engine.identify import MAX_CANDIDATES
from ml_models.evaluation.rates.metrics import RATES
from ml_models.management.study import StudyCommand
from ml_models.studies.evaluating import UNKNOWN_PEOPLE, Measurement, compare, evaluate

from .compare_versions import in_words

IDENTIFICATION = ("fpir", "fnir", "misidentified")


class Command(StudyCommand):
    help = """Measure a version on labelled pairs: from photo to decision, through the version's own pipeline.

FMR and FNMR are of comparisons, FAR and FRR of attempts, failures to acquire included. Every rate has a 95
% interval from a bootstrap over subjects. EER, TAR at fixed FMRs and accuracy are given per member and
fused; then by pose, light, blur, size and the attributes that a list has, and with --stress with the second
picture of each pair under conditions made from it.

With --attributes people are in groups, by age or gender, say. Where groups differ beyond chance the report says so
first; otherwise it says how large a difference could not be seen. No group of fewer than five people is shown.

With --cross-validate K the subjects are dealt into K parts, and every comparison is scored with a
calibration and a threshold fitted without the parts of both its people: so a version is judged on people it
was not fitted to without setting any aside. (Of two parts only comparisons within one are measured.)
Without it the version's own numbers are used; make sure that they were fitted on other people.

The report is kept beside the version, as a page in the admin, and written into --output. A long run that
was stopped goes on where it stopped when --cache is given.

  evaluate --config 2 --pairs lfw/pairs.csv --images lfw/images --json
  evaluate --config 2 --pairs lfw/pairs.csv --images lfw/images --part 2/2 --all-pairs --stress all
  evaluate --config 2 --pairs cfp/pairs_FP.csv --images cfp/images --all-pairs --cross-validate 5
  evaluate --config 2 --pairs trips/pairs.csv --images trips/images --attributes trips/people.csv --all-pairs"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--all-pairs",
            action="store_true",
            help="compare all images of a list with all others (frontal with profile where a list parts them)",
        )
        parser.add_argument(
            "--cross-validate",
            metavar="K",
            help="measure on one or two of K parts, fit on the rest, in all ways; `folds` takes the lists' own",
        )
        parser.add_argument(
            "--identify",
            type=int,
            nargs="+",
            default=[],
            metavar="SIZE",
            help=f"also identify on rosters of so many, 1 to {MAX_CANDIDATES}: FPIR, FNIR and misidentifications",
        )
        parser.add_argument(
            "--against",
            type=int,
            metavar="VERSION",
            help="then say whether --config is better than this one, worse, or whether it cannot be told",
        )
        parser.add_argument("--about", default=UNKNOWN_PEOPLE, metavar="TEXT", help="whom the pictures show")
        parser.add_argument("--output", type=Path, metavar="DIR", help="write report.html and report.json here")

    def run(self, **options: Any) -> dict[str, Any]:
        if wrong := [size for size in options["identify"] if not 1 <= size <= MAX_CANDIDATES]:
            raise CommandError(f"--identify takes sizes from 1 to {MAX_CANDIDATES}, not {wrong[0]}.")
        config = selectors.get_config(options["config"])
        other = selectors.get_config(options["against"]) if options["against"] else None
        how = Measurement(
            self.sources(options),
            options["all_pairs"],
            options["cross_validate"] or "",
            options["about"],
            options["identify"],
        )
        result, html = evaluate(config, how, self)
        if other:
            result["against"] = {"version": other.version, "changes": compare(other, config, how, self)}
        if options["output"]:
            options["output"].mkdir(parents=True, exist_ok=True)
            (options["output"] / "report.json").write_text(json.dumps(result, indent=1) + "\n")
            (options["output"] / "report.html").write_text(html)
        return result

    def show(self, result: dict[str, Any]) -> None:
        for sentence in result["groups"]["says"]:
            self.stdout.write(sentence)
        self.stdout.write(
            f"version {result['config']}: {result['subjects']} subjects, {result['mated']} mated and "
            f"{result['non_mated']} non-mated comparisons of {result['images']} images"
        )
        for name in ("fta", "fmr", "fnmr", "far", "frr"):
            self.stdout.write(f"{name.upper():5} {percent(result[name])}")
        for name, figures in {**result["members"], "fused": result["fused"]}.items():
            rates = "   ".join(f"{rate.title} {percent(figures[key])}" for key, rate in RATES.items())
            self.stdout.write(f"{name}\n  {rates}")
            for fmr, tar in figures["tar_at_fmr"].items():
                self.stdout.write(f"  TAR at FMR {float(fmr):.2%}: {percent(tar) if tar else 'too few comparisons'}")
        for line in result["stress"]:
            self.stdout.write(f"under {line['stress']}: FRR {percent(line['frr'])}, FTA {percent(line['fta'])}")
        for change in result.get("against", {}).get("changes", []):
            self.stdout.write(f"against version {result['against']['version']}: {in_words(change)}")
        self._show_identification(result["identification"])
        if gain := result["advantage"]:
            value, low, high = (100 * gain["tar"][name] for name in ("estimate", "low", "high"))
            change = f"{value:+.2f} ({low:+.2f} to {high:+.2f}) points"
            self.stdout.write(f"fused over {gain['over']}: TAR at FMR 0.10% {change}")
        for warning in result["warnings"]:
            self.stdout.write(f"! {warning}")
        for line in result["evidence"]:
            self.stdout.write(f"{'✓' if line['met'] else '✗'} {line['says']}")

    def _show_identification(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            rates = "   ".join(f"{name} {percent(line[name])}" for name in IDENTIFICATION if line[name])
            beyond = ", extrapolated" if line["extrapolated"] else ""
            self.stdout.write(f"identify, {line['list']}, {line['candidates']} candidates{beyond}: {rates}")


def percent(rate: dict[str, float]) -> str:
    return f"{rate['value']:.3%} ({rate['low']:.3%} – {rate['high']:.3%})"
