import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import CommandError
from numpy.typing import NDArray

from ml_models import selectors
from ml_models.engine.fuse import voter_key
from ml_models.evaluation import fitting, versions
from ml_models.evaluation.pairs import Pool
from ml_models.evaluation.study import Scores, Study, measure, score_with
from ml_models.management.study import StudyCommand
from ml_models.models import EnsembleConfig


class Command(StudyCommand):
    help = """Measure a version on labelled pairs: from photo to decision, through the version's own pipeline.

FMR and FNMR are of comparisons, FAR and FRR of attempts, failures to acquire included. Every rate has a 95
% interval from a bootstrap over subjects. EER, TAR at fixed FMRs and accuracy are given per member and
fused.

With --cross-validate K the subjects are dealt into K parts, and each part is measured with a calibration
and a threshold fitted on the other parts: so a version is judged on people it was not fitted to without
setting any aside. Without it the version's own numbers are used; make sure that they were fitted on other
people.

  evaluate --config 2 --pairs lfw/pairs.csv --images lfw/images --json
  evaluate --config 2 --pairs cfp/pairs_FP.csv --images cfp/images --all-pairs --cross-validate 5"""

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
            help="fit on K−1 parts, measure on the remaining one, K times; `folds` takes the lists' own",
        )
        parser.add_argument("--output", type=Path, metavar="DIR", help="write the report into this folder")

    def run(self, **options: Any) -> dict[str, Any]:
        config = versions.find(options["config"])
        crossed = options["cross_validate"]
        if not crossed:
            selectors.fusion(config)  # fails before the images are embedded, not after
        study = self.study(config, options)
        rated = study.all_pairs if options["all_pairs"] else study.listed
        if crossed:
            compared, listed, threshold = _crossed(config, study, rated, crossed)
        else:
            compared, listed, threshold = _scored(config, study, rated)
        about = {"version": config.version, "name": config.name, "artifacts": _artifacts(config)}
        result = {"config": config.version, "about": about, **measure(study, compared, listed, threshold)}
        result["cross_validated"] = crossed
        result["engine_s"] = round(study.embedded.engine_s, 1)
        if options["output"]:
            options["output"].mkdir(parents=True, exist_ok=True)
            (options["output"] / "report.json").write_text(json.dumps(result, indent=2) + "\n")
        return result

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write(
            f"version {result['config']}: {result['subjects']} subjects, {result['mated']} mated and "
            f"{result['non_mated']} non-mated comparisons of {result['images']} images"
        )
        for name in ("fta", "fmr", "fnmr", "far", "frr"):
            self.stdout.write(f"{name.upper():5} {percent(result[name])}")
        for name, figures in {**result["members"], "fused": result["fused"]}.items():
            self.stdout.write(f"{name}\n  EER {percent(figures['eer'])}   accuracy {percent(figures['accuracy'])}")
            for fmr, tar in figures["tar_at_fmr"].items():
                self.stdout.write(f"  TAR at FMR {float(fmr):.2%}: {percent(tar) if tar else 'too few comparisons'}")
        for warning in result["warnings"]:
            self.stdout.write(f"! {warning}")


def percent(rate: dict[str, float]) -> str:
    return f"{rate['value']:.3%} ({rate['low']:.3%} – {rate['high']:.3%})"


def _artifacts(config: EnsembleConfig) -> dict[str, str]:
    rows = (config.detector, *(member.artifact for member in config.members.all()))
    return {artifact.name: artifact.sha256 for artifact in rows}


def _scored(config: EnsembleConfig, study: Study, rated: Pool) -> tuple[Scores, Scores, float | None]:
    fusion = selectors.fusion(config)
    full = fusion.voter_sets[voter_key(member.name for member in fusion.members)]
    compared, listed = (score_with(fusion, study.labelled(pool)) for pool in (rated, study.listed))
    return compared, listed, full.threshold


def _crossed(config: EnsembleConfig, study: Study, rated: Pool, how: str) -> tuple[Scores, Scores, float | None]:
    """Scores from numbers fitted on other subjects. There is no one threshold then: margins are compared
    with 0."""
    part_of = _parts(study.listed, how)
    fit_on, members = study.labelled(study.all_pairs), versions.members(config)

    def scores(pool: Pool) -> Scores:
        labelled = study.labelled(pool)
        return Scores(labelled, fitting.crossed(fit_on, labelled, part_of, members, config.target_fmr)).within_parts()

    return scores(rated), scores(study.listed), None


def _parts(pool: Pool, how: str) -> NDArray[np.int32]:
    if how.isdigit() and int(how) > 1:
        return fitting.parts(pool.subjects, int(how))
    if how != "folds":
        raise CommandError("--cross-validate takes a number from 2, or `folds`.")
    part_of = pool.fold_parts()
    if part_of is None:
        raise CommandError("The lists' folds do not part the subjects: give --cross-validate a number.")
    free = np.flatnonzero(part_of < 0)
    numbers = np.unique(part_of[part_of >= 0])
    part_of[free] = numbers[fitting.parts(pool.subjects, len(numbers))[free]]
    return part_of
