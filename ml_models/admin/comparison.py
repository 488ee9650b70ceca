"""A version beside another one, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_models.models import EnsembleConfig, EnsembleMember, EvaluationReport
from ml_models.versions import numbers

from .display import headline, words


@dataclass(frozen=True, slots=True)
class Line:
    what: str
    this: str
    other: str

    @property
    def differs(self) -> bool:
        return self.this != self.other


def beside(
    config: EnsembleConfig,
    report: EvaluationReport | None,
    other: EnsembleConfig | None,
    other_report: EvaluationReport | None,
) -> list[Line]:
    """Everything that a version decides with, with the other version's value next to it."""
    this, that = _values(config, report), _values(other, other_report) if other else {}
    return [Line(what, this.get(what, "–"), that.get(what, "–")) for what in [*this, *(that.keys() - this.keys())]]


def difference(config: EnsembleConfig, other: EnsembleConfig | None) -> str:
    """What going from `other` to `config` would mean, in a few words."""
    if other is None:
        return "none is active"
    if config.pk == other.pk:
        return "this one"
    spaces = {member.space for member in other.members.all()}
    new = [member.artifact.name for member in config.members.all() if member.space not in spaces]
    if new:
        return f"other embeddings: {', '.join(new)}"
    return "same embeddings" if _rules(config) != _rules(other) else "the same"


def _rules(config: EnsembleConfig) -> dict[str, str]:
    return {what: value for what, value in _values(config, None).items() if what != "Name"}


def _values(config: EnsembleConfig, report: EvaluationReport | None) -> dict[str, str]:
    values = {
        "Name": config.name,
        "Evidence": headline(report),
        "Detector": config.detector.name,
        "Attack detector": " + ".join(artifact.name for artifact in config.attack_detectors) or "none",
        "Network for eyes": config.eyes.name if config.eyes else "none",
        "Network for glasses": config.glasses.name if config.glasses else "none",
        "Flip averaging": "yes" if config.flip else "no",
        "Target FMR": f"{100 * config.target_fmr:g} %",
    }
    for member in config.members.all():
        values[member.artifact.name] = _member(member)
    for voters, rule in config.voter_sets.items():
        values[f"Threshold, {voters.replace('+', ' + ')}"] = _rule(rule)
    for condition in config.conditions:
        for voters, rule in condition.get("voter_sets", {}).items():
            values[f"Face {words(str(condition.get('name')))}, {voters.replace('+', ' + ')}"] = _rule(rule)
        if condition.get("sides") == "shared":
            most = _number(condition.get("both_margin"))
            same = ", for the same pair alone" if condition.get("pair") else ""
            values[f"Face {words(str(condition.get('name')))} on both sides"] = f"thresholds rise by up to {most}{same}"
    for what, rule in numbers.deciding_liveness(config).items():
        values[f"Liveness, {what}"] = _pairs(rule) if isinstance(rule, Mapping) else str(rule)
    for step, limits in config.quality_limits.items():
        values[f"Quality, {step}"] = _pairs(limits)
    return values


def _member(member: EnsembleMember) -> str:
    if not member.votes:
        return "tells one pair of glasses from another, without a vote"
    calibration = _pairs(member.calibration) if member.calibration else "not calibrated"
    return f"weight {member.weight:.2f}; {calibration}; from quality {member.quality_threshold:g}"


def _rule(rule: Mapping[str, Any]) -> str:
    known = {"threshold": "match from", "review_threshold": "review from"}
    parts = [f"{text} {rule[key]:g}" for key, text in known.items() if isinstance(rule.get(key), int | float)]
    return "; ".join(parts) or "not set"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_number(value)}" for key, value in values.items())


def _number(value: Any) -> str:
    """Of a draft's blocks, which may hold anything until the draft is validated."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
