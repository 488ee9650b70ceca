import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from django.core.management.base import CommandError
from django.db import transaction

from ml_models import ensembles
from ml_models.engine.fuse import Fusion
from ml_models.evaluation import fitting, versions
from ml_models.evaluation.scoring import score
from ml_models.management.study import StudyCommand
from ml_models.models import EnsembleConfig


class Command(StudyCommand):
    help = """Fit a version's calibration and thresholds on labelled pairs.

Every image goes through the version's own pipeline. Each member's similarity becomes a log-likelihood ratio
by logistic regression; each voter set gets an affine calibration of the weighted mean, and the threshold at
which at most the version's target_fmr of the non-mated comparisons match, in every list by itself. All
images of a list are compared with all others for it.

The numbers go into the draft in the database and, with --output, into a copy of its ensemble file. A
version that is no draft any more is not changed: only --output is written. Measure on other people than
these:
  calibrate --config 2 --pairs lfw/pairs.csv --images lfw/images --part 1/2
  evaluate  --config 2 --pairs lfw/pairs.csv --images lfw/images --part 2/2"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--output", type=Path, metavar="FILE", help="write the ensemble file here (.yaml)")
        parser.add_argument("--all-pairs", action="store_true", help="always on for calibrating; accepted for symmetry")

    def run(self, **options: Any) -> dict[str, Any]:
        config = versions.find(options["config"])
        output: Path | None = options["output"]
        if config.state != EnsembleConfig.State.DRAFT and output is None:
            raise CommandError(f"Version {config.version} is {config.state} and cannot change: give an --output FILE.")
        study = self.study(config, options)
        labelled = study.labelled(study.all_pairs)
        fusion = fitting.fit(versions.members(config), labelled, config.target_fmr)
        numbers = versions.numbers(fusion)
        if config.state == EnsembleConfig.State.DRAFT:
            _store(config, numbers)
        if output:
            _write(output, _content(config, numbers))
        return {
            "config": config.version,
            "target_fmr": config.target_fmr,
            "lists": [_realised(fusion, item) for item in labelled],
            "failures": study.embedded.failures(range(len(study.embedded.codes))),
            **numbers,
            "stored": config.state == EnsembleConfig.State.DRAFT,
            "output": output and str(output),
        }

    def show(self, result: dict[str, Any]) -> None:
        for item in result["lists"]:
            self.stdout.write(
                f"{item['name']}: {item['subjects']} subjects, {item['mated']} mated and {item['non_mated']} non-mated "
                f"comparisons, FMR {item['fmr']:.4%} at the threshold"
            )
        for name, affine in result["members"].items():
            self.stdout.write(f"{name}: a {affine['a']}, b {affine['b']}, d {affine['d']}")
        for name, rule in result["voter_sets"].items():
            self.stdout.write(
                f"{name}: a {rule['a']}, b {rule['b']}, threshold {rule['threshold']}, "
                f"review from {rule['review_threshold']}"
            )


def _realised(fusion: Fusion, item: fitting.Labelled) -> dict[str, Any]:
    c, margin = item.comparisons, score(fusion, item.seen, item.quality).margin
    return {
        "name": item.name,
        "subjects": len(np.union1d(c.subject_a, c.subject_b)),
        "mated": int(c.same.sum()),
        "non_mated": int((~c.same).sum()),
        "fmr": float((margin[~c.same] >= 0).mean()),
    }


def _store(config: EnsembleConfig, numbers: dict[str, Any]) -> None:
    with transaction.atomic():
        for member in config.members.all():
            member.calibration = numbers["members"][member.artifact.name]
            member.save(update_fields=["calibration"])
        config.voter_sets = numbers["voter_sets"]
        config.save(update_fields=["voter_sets"])


def _content(config: EnsembleConfig, numbers: dict[str, Any]) -> dict[str, Any]:
    content = ensembles.export(config)
    for member in content["members"]:
        member["calibration"] = numbers["members"][member["artifact"]]
    return {**content, "voter_sets": numbers["voter_sets"]}


def _write(path: Path, content: dict[str, Any]) -> None:
    """The ensemble file, keeping the comment that a file of this name begins with."""
    head = re.match(r"(#.*\n)*", path.read_text()) if path.exists() else None
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    path.write_text((head.group() if head else "") + text)
