import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from django.core.management.base import CommandError
from django.db import transaction

from ml_models import selectors
from ml_models.engine.fuse import Fusion
from ml_models.evaluation.calibration import fitting
from ml_models.evaluation.lists.pairs import subject_hashes
from ml_models.evaluation.scoring import Labelled, score
from ml_models.evaluation.study import acquired, cells
from ml_models.management.study import StudyCommand
from ml_models.models import EnsembleConfig
from ml_models.versions import files
from ml_models.versions.numbers import members, to_json


class Command(StudyCommand):
    help = """Fit a version's calibration and thresholds on labelled pairs.

Every image goes through the version's own pipeline, and all images of a list are compared with all others.
Each member's similarity, with the length of its features, becomes a log-likelihood ratio; each voter set
learns how far to trust its members beyond their weights, and gets a last calibration and the threshold at
which at most the version's target_fmr of the non-mated comparisons match: in every list, with --stress also
under every stress, and for 1, 3 and 5 references by 1 and 3 frames, each by itself. From the stresses
motion_blur, defocus_blur and face_mask it also learns what tells a blurred or covered face, and numbers of
their own for these, where that is better. docs/decisions/fusion.md says it on a page.

The numbers go into the draft in the database and, with --output, into a copy of its ensemble file. A
version that is no draft any more is not changed: only --output is written. Measure on other people than
these:
  calibrate --config 2 --pairs lfw/pairs.csv --images lfw/images --part 1/2 --stress
  evaluate  --config 2 --pairs lfw/pairs.csv --images lfw/images --part 2/2 --stress"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--output", type=Path, metavar="FILE", help="write the ensemble file here (.yaml)")
        parser.add_argument("--all-pairs", action="store_true", help="always on for calibrating; accepted for symmetry")
        parser.set_defaults(stress_images=200)

    def run(self, **options: Any) -> dict[str, Any]:
        config = selectors.get_config(options["config"])
        output: Path | None = options["output"]
        if config.state != EnsembleConfig.State.DRAFT and output is None:
            raise CommandError(f"Version {config.version} is {config.state} and cannot change: give an --output FILE.")
        study = self.study(config, options)
        stressed = {name: self.under(study, name) for name in options["stress"]}
        labelled = acquired([study, *stressed.values()])
        several = cells(study, stressed)
        self.say("fitting")
        fusion = fitting.fit(members(config), labelled, config.target_fmr, [cell.labelled for _, cell in several])
        fitted = to_json(fusion)
        used = np.unique(np.concatenate([side for c in study.all_pairs.lists for side in (c.subject_a, c.subject_b)]))
        calibrated_on = {
            "subjects": subject_hashes(study.listed.subjects[i] for i in used),
            "lists": list(study.listed.names),
        }
        if config.state == EnsembleConfig.State.DRAFT:
            _store(config, fitted, calibrated_on)
        names = [_named(name, under) for under in ("", *stressed) for name in study.listed.names]
        if output:
            _write(output, _content(config, fitted))
        return {
            "config": config.version,
            "target_fmr": config.target_fmr,
            "lists": [_realised(fusion, name, item) for name, item in zip(names, labelled, strict=True)],
            "cells": [
                {"references": cell.references, "frames": cell.frames}
                | _realised(fusion, _named(cell.labelled.name, under), cell.labelled)
                for under, cell in several
            ],
            "failures": study.embedded.failures(range(len(study.embedded.codes))),
            **fitted,
            "stored": config.state == EnsembleConfig.State.DRAFT,
            "output": output and str(output),
        }

    def show(self, result: dict[str, Any]) -> None:
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

    def _show_rules(self, where: str, rules: dict[str, Any]) -> None:
        for name, c in rules["members"].items():
            self.stdout.write(f"{where}{name}: a {c['a']}, b {c['b']}, d {c['d']}")
        for name, rule in rules["voter_sets"].items():
            trust = ", ".join(f"{member} {value:.2f}" for member, value in rule["trust"].items())
            self.stdout.write(
                f"{where}{name}: a {rule['a']}, b {rule['b']}, threshold {rule['threshold']}, "
                f"review from {rule['review_threshold']}; trust {trust}"
            )


def _named(name: str, under: str) -> str:
    return f"{name} ({under})" if under else name


def _realised(fusion: Fusion, name: str, item: Labelled) -> dict[str, Any]:
    matched, c = score(fusion, item).margin >= 0, item.comparisons
    return {
        "name": name,
        "subjects": len(np.union1d(c.subject_a, c.subject_b)),
        "mated": int(c.same.sum()),
        "non_mated": int((~c.same).sum()),
        "fmr": float(matched[~c.same].mean()),
        "fnmr": float((~matched[c.same]).mean()),
    }


def _store(config: EnsembleConfig, numbers: dict[str, Any], calibrated_on: dict[str, Any]) -> None:
    with transaction.atomic():
        for member in config.members.all():
            member.calibration = numbers["members"][member.artifact.name]
            member.save(update_fields=["calibration"])
        config.voter_sets, config.conditions = numbers["voter_sets"], numbers["conditions"]
        config.calibrated_on = calibrated_on
        config.save(update_fields=["voter_sets", "conditions", "calibrated_on"])


def _content(config: EnsembleConfig, numbers: dict[str, Any]) -> dict[str, Any]:
    content = files.export(config)
    for member in content["members"]:
        member["calibration"] = numbers["members"][member["artifact"]]
    return files.normalised({**content, **{name: numbers[name] for name in ("voter_sets", "conditions")}})


def _write(path: Path, content: dict[str, Any]) -> None:
    """The ensemble file, keeping the comment that a file of this name begins with."""
    head = re.match(r"(#.*\n)*", path.read_text()) if path.exists() else None
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    path.write_text((head.group() if head else "") + text)
