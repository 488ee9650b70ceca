from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from ml_models import selectors
from ml_models.management.base import MlCommand
from ml_models.studies.presentation import evaluate_presentation, read

from .compare_versions import in_words
from .evaluate import percent


class Command(MlCommand):
    help = """Measure how a version's network tells people from presentation attacks, in the terms of ISO/IEC 30107-3,
and keep the figures with the version.

MANIFEST is a CSV file with the columns file, subject, session, camera and kind; kind is bona_fide, or the attack's
species in small letters (print_flat, phone_screen, mask, …). Pictures are taken as a verify takes them.

APCER, by species: the share of attacks taken for people. BPCER: the share of people taken for attacks. APNRR and
BPNRR: no verdict, because no face was found or it is too small. Also by camera, and the BPCER where the worst species'
APCER is 5 and 1 %. Every rate has a 95 % interval from a bootstrap over subjects. The report has no file names.

Where ML_MODELS["LIVENESS"] enforces `passive`, a version goes live with such a report alone, on just its network and
numbers, within APCER_LIMIT and BPCER_LIMIT; the lines at the end say whether this one is.

  evaluate_presentation gate/attempts.csv --config 5 --output report/"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("manifest", type=Path, metavar="MANIFEST")
        parser.add_argument("--config", type=int, required=True, metavar="VERSION")
        parser.add_argument("--images", type=Path, metavar="DIR", help="what files are relative to; MANIFEST's folder")
        parser.add_argument(
            "--against",
            type=int,
            metavar="VERSION",
            help="show the same to this one, and say whether --config is better, worse, or whether it cannot be told",
        )
        parser.add_argument("--output", type=Path, metavar="DIR", help="write presentation.html there")

    def run(self, **options: Any) -> dict[str, Any]:
        config = selectors.get_config(options["config"])
        rows = read(options["manifest"], options["images"] or options["manifest"].parent)
        other = selectors.get_config(options["against"]) if options["against"] else None
        result, page = evaluate_presentation(config, rows, self, other)
        if options["output"]:
            options["output"].mkdir(parents=True, exist_ok=True)
            (options["output"] / "presentation.html").write_text(page)
        return result

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"version {result['config']}: {result['subjects']} subjects, {result['sessions']} sessions")
        for name, figures in (("all cameras", result), *result["cameras"].items()):
            self.stdout.write(f"{name}:")
            if people := figures["bona_fide"]:
                rates = f"BPCER {percent(people['error'])}  BPNRR {percent(people['non_response'])}"
                self.stdout.write(f"  bona fide, {people['count']}: {rates}")
            for species, item in figures["species"].items():
                rates = f"APCER {percent(item['error'])}  APNRR {percent(item['non_response'])}"
                self.stdout.write(f"  {species}, {item['count']}: {rates}")
            for apcer, bpcer in figures["bpcer_at_apcer"].items():
                self.stdout.write(f"  BPCER at APCER {float(apcer):.0%}: {percent(bpcer) if bpcer else 'not known'}")
        for change in result.get("against", {}).get("changes", []):
            self.stdout.write(f"against version {result['against']['version']}: {in_words(change)}")
        for line in result["evidence"]:
            self.stdout.write(f"{'✓' if line['met'] else '✗'} {line['says']}")
