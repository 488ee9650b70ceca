"""Does a version's quality score predict its errors? See `evaluation.report.quality_curves`."""

from __future__ import annotations

from typing import Any

from ..evaluation.report import quality_curves
from ..evaluation.study import score_with
from ..models import EnsembleConfig
from ..versions import numbers
from .pictures import Sources, Watcher, prepare


def measure_quality(config: EnsembleConfig, sources: Sources, watcher: Watcher) -> dict[str, Any]:
    """The object of `evaluate_quality --json`, with the `curves` of each list beside its figures.

    Raises:
        PairListRefused: a list that no honest figure can come from.
        ConfigInvalid: the version has no numbers.
    """
    fusion = numbers.fusion(config)
    study, _ = prepare(config, sources, watcher)
    scores = [scored.score for scored in score_with(fusion, study.labelled(study.all_pairs)).fused]
    limits = numbers.quality_limits(config, "enroll")
    return {
        "config": config.version,
        **quality_curves.report(study, scores, config.target_fmr, limits),
        "warnings": list(study.listed.warnings),
    }
