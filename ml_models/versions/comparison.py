"""Two versions measured on the same comparisons: better, worse, or it cannot be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..models import EnsembleConfig, EvaluationReport
from . import evidence

LEVEL = 0.95
_DRAWS = 200
"""Replicates of both sides under which nothing is said."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of two versions: `first` and `second` in [0, 1], `low` and `high` of second − first; all None where
    one of them has no such figure. `verdict` is the second version's: better, worse or cannot tell."""

    what: str
    first: float | None
    second: float | None
    low: float | None
    high: float | None
    verdict: str


# what is drawn, its name, and whether more of it is better
_FIGURES = (
    ("tar", "TAR at FMR 0.1 %", True),
    ("eer", "EER", False),
    ("fnmr", "FNMR at its own threshold", False),
    ("fmr", "FMR at its own threshold", False),
)


def common(first: EnsembleConfig, second: EnsembleConfig) -> list[tuple[EvaluationReport, EvaluationReport]]:
    """Reports of both versions on what they decide with now, measured on the same; newest first."""
    one, other = (
        {report.list_digest: report for report in config.reports.filter(digest=evidence.config_digest(config))}
        for config in (first, second)
    )
    return [(one[key], other[key]) for key in one if key and key in other]


def compare(first: EvaluationReport, second: EvaluationReport) -> list[Change]:
    """The second report against the first.

    Every replicate drew the same people for both, so what their luck changes falls out of the difference. The
    interval is of the difference over replicates (percentile bootstrap); it says nothing when 0 lies inside.

    Raises:
        ValueError: they were not measured on the same.
    """
    if first.list_digest != second.list_digest:
        raise ValueError("The two reports were not measured on the same comparisons.")
    values = [_values(report.data) for report in (first, second)]
    return [
        _change(what, values[0][key], values[1][key], first.draws.get(key), second.draws.get(key), more)
        for key, what, more in _FIGURES
    ]


def _values(data: Mapping[str, Any]) -> dict[str, float | None]:
    tar = data["fused"]["tar_at_fmr"].get("0.001")
    return {
        "tar": tar and tar["value"],
        "eer": data["fused"]["eer"]["value"],
        "fnmr": data["fnmr"]["value"],
        "fmr": data["fmr"]["value"],
    }


def _change(what: str, first: float | None, second: float | None, one: Any, other: Any, more_is_better: bool) -> Change:
    pairs = [(a, b) for a, b in zip(one or [], other or [], strict=False) if a is not None and b is not None]
    if first is None or second is None or len(pairs) < _DRAWS:
        return Change(what, first, second, None, None, "cannot tell")
    differences = np.array([b - a for a, b in pairs])
    low, high = (float(q) for q in np.quantile(differences, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)))
    verdict = "cannot tell"
    if low > 0 or high < 0:
        verdict = "better" if (low > 0) == more_is_better else "worse"
    return Change(what, first, second, low, high, verdict)
