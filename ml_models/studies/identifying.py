"""A version's thresholds for rosters: fitted, and measured on people they were not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.fuse import Fusion
from ..engine.identify import IdentificationRule
from ..evaluation import identification
from ..evaluation.calibration.cross_validation import Parts, crossed
from ..evaluation.errors import StudyRefused
from ..evaluation.identification import Searches
from ..evaluation.rates.intervals import Subjects
from ..evaluation.scoring import Labelled, score
from ..evaluation.study import Study
from ..models import EnsembleConfig
from ..versions import numbers

TARGET_FPIR = 0.001
"""Where the ensemble file does not say otherwise."""

Offsets = Callable[[Searches, int], NDArray[np.float64]]
"""Each search's offset for a roster's size, shape (searches,)."""


def fit(config: EnsembleConfig, fusion: Fusion, study: Study) -> dict[str, Any]:
    """The `identification` block of an ensemble file, on clean pictures; empty where there are too few people."""
    lists = [Searches.of(item, score(fusion, item).margin) for item in _searches(study)]
    rule = identification.fit(lists, _target(config))
    return numbers.identification_to_json(rule) if rule else {}


def own(config: EnsembleConfig, study: Study) -> tuple[list[Searches], Offsets]:
    """Every list's searches under the version's own numbers.

    Raises:
        NotReady: the version has no thresholds for rosters.
    """
    fusion, rule = numbers.fusion(config), numbers.identification(config)
    lists = [Searches.of(item, score(fusion, item).margin) for item in _searches(study)]
    return lists, lambda item, size: np.full(len(item.margin), rule.at(size).match)


def cross_fitted(
    config: EnsembleConfig, study: Study, fusions: Mapping[Parts, Fusion], part_of: NDArray[np.int32]
) -> tuple[list[Searches], Offsets]:
    """Every list's searches under numbers that know neither the searcher nor whom the template shows, and offsets that
    do not know the searcher.

    Args:
        fusions, part_of: see `evaluation.calibration.cross_validation`.

    Raises:
        StudyRefused: without a part too few people are left to fit the offsets on.
    """
    labelled = _searches(study)
    scored = crossed(fusions, labelled, part_of)
    lists = [Searches.of(item, one.margin) for item, one in zip(labelled, scored, strict=True)]
    rules = {int(part): _without(int(part), labelled, fusions, part_of, _target(config)) for part in np.unique(part_of)}

    def offsets(item: Searches, size: int) -> NDArray[np.float64]:
        of_part = {part: rule.at(size).match for part, rule in rules.items()}
        return np.array([of_part[int(part)] for part in part_of[item.searcher]])

    return lists, offsets


def _without(
    part: int,
    labelled: Sequence[Labelled],
    fusions: Mapping[Parts, Fusion],
    part_of: NDArray[np.int32],
    target_fpir: float,
) -> IdentificationRule:
    lists = []
    for item in labelled:
        everyone = Searches.of(item, score(fusions[part, part], item).margin)
        lists.append(everyone.take(part_of[everyone.searcher] != part, part_of[everyone.template] != part))
    rule = identification.fit(lists, target_fpir)
    if rule is None:
        raise StudyRefused("identify", "Without one part there are too few people to fit thresholds for rosters.")
    return rule


def measure(study: Study, lists: Sequence[Searches], offsets: Offsets, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """The report's `identification`: for every list and size what `evaluation.identification.rates` gives."""
    subjects = Subjects(len(study.all_pairs.subjects))
    return [
        {"list": name, **identification.rates(item, offsets(item, size), subjects, size)}
        for name, item in zip(study.all_pairs.names, lists, strict=True)
        for size in sizes
    ]


def _searches(study: Study) -> list[Labelled]:
    return identification.every_list(study.all_pairs, study.embedded)


def _target(config: EnsembleConfig) -> float:
    return float(config.identification.get("target_fpir", TARGET_FPIR))
