"""What is known of a version before a deployment has measured it, and what nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..models import EnsembleConfig
from . import evidence

HOW = "Cross-validated by subject: people in it took part in the version's making, and the gate does not count it."


@dataclass(frozen=True, slots=True)
class Known:
    """Sentences: `about` whom and how, `figures` of each list and of groups of people, and what it `lacks`; `report` is
    the primary key of the report that they are from."""

    report: int
    about: str
    figures: list[str]
    lacks: list[str]


def known(config: EnsembleConfig) -> Known | None:
    """Of the version's cross-validated report, None when there is none on what it decides with."""
    report = evidence.cross_validated(config)
    if report is None:
        return None
    data, lists = report.data, report.data.get("lists") or {}
    whole = {", ".join(report.measured_on.get("lists", [])) or "all lists": data}
    figures = [_figures(name, item) for name, item in (lists or whole).items()]
    people = str(report.measured_on.get("people", "Nobody said whom the pictures show."))
    about = f"{people} {HOW}"
    return Known(report.pk, about, [*figures, *data.get("groups", {}).get("says", [])], list(data.get("lacks", [])))


def _figures(name: str, data: Mapping[str, Any]) -> str:
    tar = data["fused"]["tar_at_fmr"].get("0.001")
    return (
        f"{name}: {data['subjects']:,} people, FMR {_rate(data['fmr'], 3)}, FNMR {_rate(data['fnmr'])}, "
        f"TAR at FMR 0.1 % {_rate(tar)}."
    )


def _rate(rate: Mapping[str, float] | None, digits: int = 2) -> str:
    if rate is None:
        return "not measured, too few comparisons"
    value, low, high = (f"{100 * rate[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} % ({low}–{high})"
