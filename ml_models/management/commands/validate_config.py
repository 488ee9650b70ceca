from dataclasses import asdict
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from ml_models import rollouts
from ml_models.management.base import MlCommand
from ml_models.versions import evidence
from ml_models.versions.known import known


class Command(MlCommand):
    help = """Prove that a draft version may go live, and mark it `validated`.

Checks weights, calibration, a threshold for every voter set that can occur, families, licences, and every network:
in the bucket at its generation, with its sha256, contract and golden vectors.

A deployment that decides about people also asks for evidence: a report of `evaluate` on just what this version
decides with, on enough people, none of them used to calibrate it, within the deployment's limits of FMR and FNMR
(ML_MODELS["EVIDENCE_GATE"], "FMR_LIMIT", "FNMR_LIMIT"). Where ML_MODELS["LIVENESS"] enforces `passive`, it asks for one
of `evaluate_presentation`, too ("APCER_LIMIT", "BPCER_LIMIT"). What a cross-validated report says is printed, and is no
such evidence. A superuser can answer for missing evidence, and for nothing else; who, and why, stays with the version:
  validate_config 2 --override-evidence "pilot with twenty adults until May" --as anna"""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("version", type=int, metavar="VERSION")
        parser.add_argument("--override-evidence", default="", metavar="REASON", help="go on without evidence")
        parser.add_argument("--as", dest="username", metavar="USER", help="the superuser who answers for that")

    def run(self, **options: Any) -> dict[str, Any]:
        config = rollouts.get_config(options["version"])
        lines = evidence.lines(config)
        for line in lines:
            self.say(f"{'✓' if line.met else '✗'} {line.says}")
        about = known(config)
        if about:
            self.say(f"Known: {about.about}")
            for says in about.figures:
                self.say(f"· {says}")
            for says in about.lacks:
                self.say(f"Not known: {says}")
        by = None
        if options["override_evidence"]:
            by = get_user_model().objects.filter(username=options["username"]).first()
            if by is None:
                raise CommandError("--override-evidence takes --as USER, a superuser.")
        rollouts.validate(config, by, options["override_evidence"])
        return {
            "version": config.version,
            "state": rollouts.get_config(config.version).state,
            "evidence": [asdict(line) for line in lines],
            "known": asdict(about) if about else None,
        }

    def show(self, result: dict[str, Any]) -> None:
        if any(not line["met"] for line in result["evidence"]):
            self.stdout.write("evidence is missing (✗ above): not for decisions about people")
        self.stdout.write(f"version {result['version']} is {result['state']}")
