"""A version measured on one study, and its report kept: what `evaluate` and `compare_versions` share."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from django.core.management.base import CommandError
from numpy.typing import NDArray

from ml_models.engine.fuse import voter_key
from ml_models.evaluation import report
from ml_models.evaluation.calibration import cross_validation
from ml_models.evaluation.lists.pairs import Pool
from ml_models.evaluation.report import Scorer
from ml_models.evaluation.report.page import page
from ml_models.evaluation.scoring import Labelled
from ml_models.evaluation.study import Scores, Study, acquired, cells, score_with
from ml_models.models import EnsembleConfig
from ml_models.versions import comparison, evidence, numbers

from .study import StudyCommand

UNKNOWN_PEOPLE = (
    "Unknown: nobody said whom the pictures show. Public benchmarks show adults, and figures for adults do not hold "
    "for children."
)


def evaluate(command: StudyCommand, config: EnsembleConfig, options: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Measure a version and keep the report.

    Returns: the report's object and page.

    Raises:
        PairListRefused: a list that no honest figure can come from.
        ConfigInvalid: the version has no numbers, and none are to be fitted.
    """
    began, cpu = time.perf_counter(), time.process_time()
    crossed = options["cross_validate"]
    if not crossed:
        numbers.fusion(config)  # fails before the images are embedded, not after
    study = command.study(config, dict(options))
    stressed = {name: command.under(study, name) for name in options["stress"]}
    rated = study.all_pairs if options["all_pairs"] else study.listed
    score, threshold = _crossed(command, config, study, stressed, crossed) if crossed else _own(config)
    command.say("measuring")
    found = report.build(study, rated, score, threshold, config.target_fmr, stressed)
    about = {"version": config.version, "name": config.name, "artifacts": _artifacts(config)}
    lists = list(study.listed.names)
    data = {
        "config": config.version,
        "about": {**about, "lists": lists, "people": options["about"], "all_pairs": options["all_pairs"]},
        **found.data,
        "cross_validated": crossed,
        "digest": evidence.config_digest(config),
        "list_digest": _kind(found.list_digest, options),
        "calibrated_on": len(config.calibrated_on.get("subjects", [])),
        "timing": _timing(study, stressed, began, cpu),
    }
    measured_on = {"subjects": found.subjects, "lists": lists, "people": options["about"]}
    kept = evidence.store(config, data, "", data["list_digest"], measured_on, found.draws)
    # what the report itself proves is part of what it says
    data["evidence"] = [asdict(line) for line in evidence.lines(config)]
    html = page(data)
    kept.data, kept.html = data, html
    kept.save(update_fields=["data", "html"])
    return data, html


def against(
    command: StudyCommand, first: EnsembleConfig, second: EnsembleConfig, options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The second version, measured just now, against the first; measured too when no report is on the same."""
    latest = second.reports.order_by("-created_at")[0]
    both = [pair for pair in comparison.common(first, second) if pair[1].pk == latest.pk]
    if not both:
        evaluate(command, first, options)
        both = [pair for pair in comparison.common(first, second) if pair[1].pk == latest.pk]
    return [asdict(change) for change in comparison.compare(*both[0])]


def _kind(list_digest: str, options: Mapping[str, Any]) -> str:
    """The comparisons, and what else makes two reports incomparable."""
    whole = f"{list_digest} {options['crowds']} {options['cross_validate'] or ''}"
    return hashlib.sha256(whole.encode()).hexdigest()


def _timing(study: Study, stressed: Mapping[str, Study], began: float, cpu: float) -> dict[str, Any]:
    """Seconds: `engine` is the processor time of the engine alone, `processor` of everything, `wall` on the clock.
    `overhead` is processor over engine, None where vectors came from the cache."""
    embedded = [study.embedded, *(other.probes for other in stressed.values() if other.probes)]
    engine, processor = sum(item.engine_s for item in embedded), time.process_time() - cpu
    fresh = not any(item.reused for item in embedded)
    return {
        "engine": round(engine, 1),
        "processor": round(processor, 1),
        "wall": round(time.perf_counter() - began, 1),
        "threads": os.cpu_count(),
        "overhead": round(processor / engine, 3) if fresh and engine else None,
    }


def _artifacts(config: EnsembleConfig) -> dict[str, str]:
    rows = (config.detector, *(member.artifact for member in config.members.all()))
    return {artifact.name: artifact.sha256 for artifact in rows}


def _own(config: EnsembleConfig) -> tuple[Scorer, float | None]:
    fusion = numbers.fusion(config)
    full = fusion.voter_sets[voter_key(member.name for member in fusion.members)]
    return partial(score_with, fusion), full.threshold


def _crossed(
    command: StudyCommand, config: EnsembleConfig, study: Study, stressed: Mapping[str, Study], how: str
) -> tuple[Scorer, None]:
    """Scores from numbers fitted on other subjects, clean and under stress. There is no one threshold then: margins
    are compared with 0."""
    part_of = _parts(study.listed, how)
    fit_on = acquired([study, *stressed.values()])
    attempts = [cell.labelled for _, cell in cells(study, stressed)]
    fusions = cross_validation.fit_parts(
        fit_on, part_of, numbers.members(config), config.target_fmr, attempts, command.progress("fitting")
    )

    def score(labelled: Sequence[Labelled]) -> Scores:
        return Scores(list(labelled), cross_validation.crossed(fusions, labelled, part_of)).scored_ones()

    return score, None


def _parts(pool: Pool, how: str) -> NDArray[np.int32]:
    if how.isdigit() and int(how) > 1:
        return cross_validation.parts(pool.subjects, int(how))
    if how != "folds":
        raise CommandError("--cross-validate takes a number from 2, or `folds`.")
    part_of = pool.fold_parts()
    if part_of is None:
        raise CommandError("The lists' folds do not part the subjects: give --cross-validate a number.")
    free = np.flatnonzero(part_of < 0)
    numbers = np.unique(part_of[part_of >= 0])
    part_of[free] = numbers[cross_validation.parts(pool.subjects, len(numbers))[free]]
    return part_of
