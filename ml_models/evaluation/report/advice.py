"""What a report's figures ask for, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ENOUGH = 50
"""Mated comparisons under which a slice's rate is not worth a remark."""


def advice(data: Mapping[str, Any]) -> list[str]:
    """What to do next, the most urgent first.

    Args:
        data: what `evaluate --json` prints.
    """
    missing = [line["says"] for line in data.get("evidence", []) if not line["met"]]
    found = [*missing, *_acquire(data), *_slice(data["slices"]), *_stress(data["stress"]), *_scores(data)]
    return found or ["Nothing stands out. Keep the report, and look at live traffic after the version is active."]


def _acquire(data: Mapping[str, Any]) -> list[str]:
    if data["fta"]["value"] < 0.01:
        return []
    code, count = max(data["failures"].items(), key=lambda item: item[1])
    return [
        f"{data['fta']['value']:.1%} of the pictures gave no face, most often {code} ({count}): look at those first."
    ]


def _slice(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    rated = [row for row in slices if row["mated"] >= ENOUGH and row["fused"]["fnmr"]]
    if not rated:
        return []
    worst = max(rated, key=lambda row: row["fused"]["fnmr"]["value"])
    return [
        f"The hardest slice is {worst['by']}: {worst['slice']}, with an FNMR of {worst['fused']['fnmr']['value']:.1%}. "
        "Ask for another picture there, or raise that quality limit."
    ]


def _stress(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["Measure it under stress too: evaluate --stress all."]
    worst = max(rows, key=lambda row: row["frr"]["value"])
    return [f"The hardest stress is {worst['stress'].replace('_', ' ')}: {worst['frr']['value']:.1%} are rejected."]


def _scores(data: Mapping[str, Any]) -> list[str]:
    off = [
        item
        for item in data["reliability"]
        if item["observed"] and not item["observed"]["low"] <= item["claimed"] <= item["observed"]["high"]
    ]
    if not off:
        return []
    return [
        f"In {len(off)} of {len(data['reliability'])} ranges the scores claim what is not so on these pictures: "
        "calibrate on pictures of this kind."
    ]
