"""What to do next after an evaluation: sentences, each with the figure that it follows from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..rates.intervals import Rate

ENOUGH = 50
"""Mated comparisons under which a slice's rate is too uncertain for advice."""


def advice(data: Mapping[str, Any]) -> list[str]:
    """What to do next, the most urgent first.

    Args:
        data: what `evaluate --json` prints.
    """
    sentences = [
        *(line["says"] for line in data["evidence"] if not line["met"]),
        *_failures_to_acquire(data),
        *_hardest_slice(data["slices"], data["fnmr"]),
        *_hardest_stress(data["stress"], data["frr"]),
        *_calibration(data["reliability"]),
        *_groups(data["groups"]),
    ]
    return sentences or ["Nothing stands out. Keep the report, and watch live traffic once the version is active."]


def _failures_to_acquire(data: Mapping[str, Any]) -> list[str]:
    if data["fta"]["value"] < 0.01:
        return []
    code, count = max(data["failures"].items(), key=lambda item: item[1])
    return [
        f"No face could be acquired from {100 * data['fta']['value']:.1f} % of the pictures, most often for {code} "
        f"({count}). Look at those pictures first."
    ]


def _groups(groups: Mapping[str, Any]) -> list[str]:
    if groups["tests"] or groups["untested"]:
        return []  # what was found stands at the top of the report
    return ["No list says of which age, gender or other group people are: whether groups differ was not measured."]


def _hardest_slice(slices: Sequence[Mapping[str, Any]], overall: Rate) -> list[str]:
    rated = [row for row in slices if row["mated"] >= ENOUGH and row["fused"]["fnmr"]]
    worst = _surely_worst(rated, lambda row: row["fused"]["fnmr"], overall)
    if worst is None:
        return []
    return [
        f"The hardest slice is {worst['by']}: {worst['slice']}, with an FNMR of {_interval(worst['fused']['fnmr'])}. "
        "Ask for another picture there, or raise that quality limit."
    ]


def _hardest_stress(rows: Sequence[Mapping[str, Any]], clean: Rate) -> list[str]:
    if not rows:
        return ["No stress was measured. Run evaluate --stress all."]
    worst = _surely_worst(rows, lambda row: row["frr"], clean)
    if worst is None:
        return []
    return [
        f"The hardest stress is {worst['stress'].replace('_', ' ')}, with an FRR of {_interval(worst['frr'])}. "
        "If your cameras meet it, measure on their own pictures too."
    ]


def _surely_worst(
    rows: Sequence[Mapping[str, Any]], rate: Callable[[Mapping[str, Any]], Rate], overall: Rate
) -> Mapping[str, Any] | None:
    """The row whose rate has the highest lower bound, where that lies above the whole interval of `overall`: the
    highest value of many rows is often that of the fewest people."""
    worst = max(rows, key=lambda row: rate(row)["low"], default=None)
    return worst if worst and rate(worst)["low"] > overall["high"] else None


def _interval(rate: Rate) -> str:
    return f"{100 * rate['value']:.1f} % ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})"


def _calibration(bins: Sequence[Mapping[str, Any]]) -> list[str]:
    off = [
        item
        for item in bins
        if item["observed"] and not item["observed"]["low"] <= item["claimed"] <= item["observed"]["high"]
    ]
    if not off:
        return []
    return [
        f"In {len(off)} of {len(bins)} score ranges the probability that the scores claim lies outside the 95 % "
        "interval of what was observed. Calibrate on pictures of this kind."
    ]
