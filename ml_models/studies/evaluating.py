"""A version measured on one study, its report kept, and compared with another version's."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.fuse import Fusion
from ..engine.voters import voter_key
from ..evaluation import report
from ..evaluation.calibration import cross_validation
from ..evaluation.errors import StudyRefused
from ..evaluation.lists.pairs import Pool
from ..evaluation.report import Scorer
from ..evaluation.scoring import Labelled
from ..evaluation.study import Scores, Study, acquired, cells, of_members, score_with
from ..exceptions import ConfigChanged
from ..models import EnsembleConfig, EvaluationReport
from ..versions import comparison, evidence, numbers
from . import identifying, keeping
from .pictures import Sources, Watcher, prepare

UNKNOWN_PEOPLE = (
    "Unknown: nobody said whom the pictures show. Public benchmarks show adults, and figures for adults do not hold "
    "for children."
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """How a version is measured. `all_pairs`: every picture of a list against every other, not the lists' own pairs.
    `cross_validate`: a number of parts, `folds` for the lists' own, "" for the version's own numbers. `people`: whom
    the pictures show. `identify`: sizes of rosters to identify on."""

    sources: Sources
    all_pairs: bool = False
    cross_validate: str = ""
    people: str = UNKNOWN_PEOPLE
    identify: Sequence[int] = ()


def evaluate(config: EnsembleConfig, how: Measurement, watcher: Watcher) -> tuple[dict[str, Any], str]:
    """Measure a version and keep the report.

    Returns: the report's object and page.

    Raises:
        PairListRefused: a list that no honest figure can come from.
        ConfigInvalid: the version has no numbers, and none are to be fitted.
    """
    began, cpu = time.perf_counter(), time.process_time()
    if not how.cross_validate:
        numbers.fusion(config)  # fails before the images are embedded, not after
    study, stressed = prepare(config, how.sources, watcher)
    rated = study.all_pairs if how.all_pairs else study.listed
    if how.cross_validate:
        part_of = _parts(study.listed, how.cross_validate)
        fusions = _fusions(config, study, stressed, part_of, watcher)
        score, threshold = _crossed(fusions, part_of), None
    else:
        score, threshold = _own(config)
    watcher.say("measuring")
    measured = report.build(study, rated, score, threshold, config.target_fmr, stressed)
    identified: list[dict[str, Any]] = []
    if how.identify:
        searched = (
            identifying.cross_fitted(config, study, fusions, part_of)
            if how.cross_validate
            else identifying.own(config, study)
        )
        identified = identifying.measure(study, *searched, how.identify)
    about = {
        "version": config.version,
        "name": config.name,
        "artifacts": {artifact.name: artifact.sha256 for artifact in config.artifacts},
    }
    lists = list(study.listed.names)
    data = {
        "config": config.version,
        "about": {**about, "lists": lists, "people": how.people, "all_pairs": how.all_pairs},
        **measured.data,
        "identification": identified,
        "identification_digest": evidence.identification_digest(config) if identified else "",
        "cross_validated": how.cross_validate or None,
        "digest": evidence.config_digest(config),
        "list_digest": _kind(measured.list_digest, how),
        "calibrated_on": len(config.calibrated_on.get("subjects", [])),
        "timing": _timing(study, stressed, began, cpu),
    }
    measured_on = {"subjects": measured.subjects, "lists": lists, "people": how.people}
    return keeping.keep(config, data, measured_on, measured.draws)


def compare(first: EnsembleConfig, second: EnsembleConfig, how: Measurement, watcher: Watcher) -> list[dict[str, Any]]:
    """The second version, measured just now, against the first; measured too when no report is on the same.

    Raises:
        ConfigChanged: one of them was changed meanwhile.
    """
    latest = second.reports.order_by("-created_at")[0]

    def reports() -> tuple[EvaluationReport, EvaluationReport] | None:
        return next((pair for pair in comparison.common(first, second) if pair[1].pk == latest.pk), None)

    both = reports()
    if both is None:
        evaluate(first, how, watcher)
        both = reports()
    if both is None:
        raise ConfigChanged(f"Version {first.version} or {second.version} was changed meanwhile. Run evaluate again.")
    return [asdict(change) for change in comparison.compare(*both)]


def _kind(list_digest: str, how: Measurement) -> str:
    """The comparisons, and what else makes two reports incomparable."""
    whole = f"{list_digest} {how.sources.crowds} {how.cross_validate}"
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


def _own(config: EnsembleConfig) -> tuple[Scorer, float | None]:
    fusion = numbers.fusion(config)
    full = fusion.voter_sets[voter_key(member.name for member in fusion.members)]
    return partial(score_with, fusion), full.threshold


def _fusions(
    config: EnsembleConfig,
    study: Study,
    stressed: Mapping[str, Study],
    part_of: NDArray[np.int32],
    watcher: Watcher,
) -> dict[cross_validation.Parts, Fusion]:
    """Numbers fitted on other subjects, clean and under stress."""
    fit_on = acquired([study, *stressed.values()])
    attempts = [cell.labelled for _, cell in cells(study, stressed)]
    return cross_validation.fit_parts(
        fit_on, part_of, numbers.members(config), config.target_fmr, attempts, watcher.progress("fitting")
    )


def _crossed(fusions: Mapping[cross_validation.Parts, Fusion], part_of: NDArray[np.int32]) -> Scorer:
    """Scores from numbers fitted on other subjects. There is no one threshold then: margins are compared with 0."""

    def score(labelled: Sequence[Labelled]) -> Scores:
        scored = cross_validation.crossed(fusions, labelled, part_of)
        return Scores(of_members(next(iter(fusions.values())), labelled), scored).scored_ones()

    return score


def _parts(pool: Pool, how: str) -> NDArray[np.int32]:
    if how.isdigit() and int(how) > 1:
        return cross_validation.parts(pool.subjects, int(how))
    if how != "folds":
        raise StudyRefused("cross_validate", "--cross-validate takes a number from 2, or `folds`.")
    part_of = pool.fold_parts()
    if part_of is None:
        raise StudyRefused(
            "cross_validate", "The lists' folds do not part the subjects: give --cross-validate a number."
        )
    free = np.flatnonzero(part_of < 0)
    numbers = np.unique(part_of[part_of >= 0])
    part_of[free] = numbers[cross_validation.parts(pool.subjects, len(numbers))[free]]
    return part_of
