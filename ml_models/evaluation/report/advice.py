"""What to do next after an evaluation: sentences, each with the figure that it follows from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
        *_hardest_slice(data["slices"]),
        *_hardest_stress(data["stress"]),
        *_calibration(data["reliability"]),
    ]
    return sentences or ["Nothing stands out. Keep the report, and watch live traffic once the version is active."]


def _failures_to_acquire(data: Mapping[str, Any]) -> list[str]:
    if data["fta"]["value"] < 0.01:
        return []
    code, count = max(data["failures"].items(), key=lambda item: item[1])
    return [
        f"No face could be acquired from {data['fta']['value']:.1%} of the pictures, most often for {code} ({count}). "
        "Look at those pictures first."
    ]


def _hardest_slice(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    rated = [row for row in slices if row["mated"] >= ENOUGH and row["fused"]["fnmr"]]
    if not rated:
        return []
    worst = max(rated, key=lambda row: row["fused"]["fnmr"]["value"])
    return [
        f"The hardest slice is {worst['by']}: {worst['slice']}, with an FNMR of {worst['fused']['fnmr']['value']:.1%}. "
        "Ask for another picture there, or raise that quality limit."
    ]


def _hardest_stress(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["No stress was measured. Run evaluate --stress all."]
    worst = max(rows, key=lambda row: row["frr"]["value"])
    return [
        f"The hardest stress is {worst['stress'].replace('_', ' ')}, with an FRR of {worst['frr']['value']:.1%}. "
        "If your cameras meet it, measure on their own pictures too."
    ]


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
