"""A version's numbers: read from its rows, written as its ensemble file has them, named by a digest."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from django.db import transaction

from ..engine.calibrate import Affine, Calibration
from ..engine.challenge import TurnedRule
from ..engine.compare import listed
from ..engine.detect import LANDMARKS_ID
from ..engine.errors import MissingThreshold
from ..engine.fuse import Centroids, Condition, Fusion, Pair
from ..engine.identify import IdentificationRule, Offset
from ..engine.presentation import PassiveRule
from ..engine.quality import ENROLL_LIMITS, SCORE_ID, VERIFY_LIMITS, QualityLimits
from ..engine.types import canonical_json
from ..engine.voters import Member, VoterSet
from ..exceptions import ConfigInvalid, NotReady
from ..models import EnsembleConfig, EnsembleMember


def fusion(config: EnsembleConfig) -> Fusion:
    """The version's decision rule.

    Raises:
        ConfigInvalid: a calibration or threshold is missing or not usable.
    """
    try:
        voting, others = _rows(config)
        members = tuple(
            Member(m.artifact.name, m.weight, Calibration(**(m.calibration or {})), m.quality_threshold) for m in voting
        )
        dimensions = {m.artifact.name: m.artifact.contract["dimension"] for m in voting}
        conditions = tuple(_condition(entry, members, dimensions) for entry in config.conditions)
        if lacking := {c.pair.by for c in conditions if c.pair} - {row.artifact.name for row in others}:
            raise ValueError(f"a condition needs {listed(lacking)}, and no such network is in the version")
        if any(condition.measure for condition in conditions) and not config.glasses:
            raise ValueError("a condition has the measure glasses, and no network has that place in the version")
        return Fusion(members, _voter_sets(config.voter_sets), conditions)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid([f"Version {config.version} is not calibrated: run calibrate. ({error})"]) from error


def rule(config: EnsembleConfig) -> Fusion:
    """The decision rule of a version that was validated.

    Raises:
        MissingThreshold: it is not usable after all, which is no fault of the caller's.
    """
    try:
        return fusion(config)
    except ConfigInvalid as error:
        raise MissingThreshold(str(error)) from error


def identification(config: EnsembleConfig) -> IdentificationRule:
    """The thresholds by the number of candidates of a version that was validated.

    Raises:
        NotReady: it has none; verify's would name the more strangers, the more candidates there are.
        MissingThreshold: they are not usable after all.
    """
    if not config.identification:
        raise NotReady(
            f"Version {config.version} has no thresholds to identify with: they rise with the roster, and calibrate "
            "fits them. An operator activates a version that has them."
        )
    try:
        return read_identification(config.identification)
    except ValueError as error:
        raise MissingThreshold(str(error)) from error


def read_identification(block: Mapping[str, Any]) -> IdentificationRule:
    """Raises: ValueError: it is not what calibrate writes."""
    try:
        return IdentificationRule(block["target_fpir"], tuple(Offset(**offset) for offset in block["offsets"]))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"identification is not what calibrate writes: {error}") from error


def identification_to_json(rule: IdentificationRule) -> dict[str, Any]:
    """As the ensemble file has it; rounded up, since down would let through more than the target."""

    def up(value: float) -> float:
        return math.ceil(value * 1e4) / 1e4

    offsets = [{"candidates": o.candidates, "match": up(o.match), "review": up(o.review)} for o in rule.offsets]
    return {"target_fpir": rule.target_fpir, "offsets": offsets}


def _voter_sets(rules: Mapping[str, Any]) -> dict[str, VoterSet]:
    return {
        key: VoterSet(Affine(rule["a"], rule["b"]), rule["threshold"], rule["review_threshold"], rule.get("trust", {}))
        for key, rule in rules.items()
    }


def _condition(entry: Mapping[str, Any], members: Sequence[Member], dimensions: Mapping[str, int]) -> Condition:
    def vector(name: str, text: str) -> tuple[float, ...]:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), "<f2")
        if dimensions.get(name) != len(numbers):
            raise ValueError(f"{entry['name']}: a vector of {name} has not the dimension of a member of that name")
        return tuple(numbers.tolist())

    if strangers := entry["members"].keys() - {member.name for member in members}:
        raise ValueError(f"{entry['name']}: {', '.join(sorted(strangers))} is none of the version's members")
    own = tuple(
        replace(member, calibration=Calibration(**entry["members"][member.name]))
        for member in members
        if member.name in entry["members"]
    )
    return Condition(
        entry["name"],
        {name: vector(name, text) for name, text in entry["directions"].items()},
        entry["offset"],
        {
            name: Centroids(vector(name, sides["probes"]), vector(name, sides["references"]))
            for name, sides in entry["centres"].items()
        },
        Fusion(own, _voter_sets(entry["voter_sets"])),
        entry.get("sides", "probes"),
        entry.get("both_margin", 0.0),
        entry.get("measure", ""),
        Pair(**entry["pair"]) if "pair" in entry else None,
    )


def passive(config: EnsembleConfig) -> PassiveRule | None:
    """How the version judges what its attack detectors say; None where it has none.

    Raises:
        ConfigInvalid: the detectors have no rule, or one that is not usable, or the rule no detector.
    """
    numbers, looks = config.liveness.get("passive"), bool(config.attack_detectors)
    if not looks and numbers is None:
        return None
    try:
        if not looks:
            raise ValueError("liveness has a passive rule, but presentation names no network")
        return PassiveRule(Affine(numbers["a"], numbers["b"]), numbers["threshold"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid(
            [f"Version {config.version} needs liveness.passive with a, b and threshold. ({error})"]
        ) from error


def passive_people(config: EnsembleConfig) -> list[str]:
    """Whom the passive rule was fitted on, as hashes (see `evaluation.lists.pairs`); empty where nobody recorded it."""
    passive = config.liveness.get("passive")
    return str(passive.get("subjects") or "").split() if isinstance(passive, Mapping) else []


def deciding_liveness(config: EnsembleConfig) -> dict[str, Any]:
    """The liveness block without whom it was fitted on, which decides nothing."""
    liveness = dict(config.liveness)
    if isinstance(passive := liveness.get("passive"), Mapping):
        liveness["passive"] = {key: value for key, value in passive.items() if key != "subjects"}
    return liveness


def turned(config: EnsembleConfig) -> TurnedRule | None:
    """How the version judges the frames of a challenge; None where it has no numbers for it.

    Raises:
        ConfigInvalid: the numbers are not usable.
    """
    numbers = config.liveness.get("turned")
    if numbers is None:
        return None
    try:
        return TurnedRule(float(numbers["threshold"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid([f"Version {config.version} needs a threshold in liveness.turned. ({error})"]) from error


DEFAULT_LIMITS = {"verify": VERIFY_LIMITS, "enroll": ENROLL_LIMITS}


def quality_limits(config: EnsembleConfig, step: str) -> QualityLimits:
    """The version's limits for `verify` or `enroll`: the defaults, changed where the version says so."""
    return QualityLimits.from_json({**DEFAULT_LIMITS[step].to_json(), **config.quality_limits.get(step, {})})


def members(config: EnsembleConfig) -> tuple[Member, ...]:
    """The members that vote, with their weights, before any calibration."""
    plain = Calibration(1.0, 0.0)
    voting, _ = _rows(config)
    return tuple(Member(m.artifact.name, m.weight, plain, m.quality_threshold) for m in voting)


def _rows(config: EnsembleConfig) -> tuple[list[EnsembleMember], list[EnsembleMember]]:
    """The members that vote, and the networks that only tell one pair of glasses from another."""
    rows = list(config.members.all())
    return [row for row in rows if row.votes], [row for row in rows if not row.votes]


def pipeline_digest(config: EnsembleConfig) -> str:
    """sha256 of what makes the vectors and what is measured beside them: detector, spaces, quality limits, eyes and
    glasses."""
    parts = {
        "detector": config.detector.sha256,
        "spaces": sorted(member.space for member in config.members.all()),
        "limits": quality_limits(config, "verify").to_json(),
        "landmarks": LANDMARKS_ID,
        "quality": SCORE_ID,
        "eyes": config.eyes and config.eyes.sha256,
    }
    if config.glasses:  # what is kept under an earlier release's digest holds for every version without
        parts["glasses"] = config.glasses.sha256
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def to_json(fusion: Fusion) -> dict[str, Any]:
    """A fitted rule as the ensemble file has it: `members` (calibration by name), `voter_sets` and `conditions`."""
    return {
        **_rules(fusion),
        "conditions": [
            {
                "name": condition.name,
                "directions": {name: _text(direction) for name, direction in condition.directions.items()},
                "offset": condition.offset,
                **_sides(condition),
                "centres": {
                    name: {"probes": _text(centroids.inside), "references": _text(centroids.outside)}
                    for name, centroids in condition.centroids.items()
                },
                **_rules(condition.fusion),
            }
            for condition in fusion.conditions
        ],
    }


def _sides(condition: Condition) -> dict[str, Any]:
    """Nothing for a condition of the probes alone: a file from before version 4 stays as it is, with its digest."""
    if condition.sides == "probes":
        return {}
    measure = {"measure": condition.measure} if condition.measure else {}
    pair = {"pair": asdict(condition.pair)} if condition.pair else {}
    return {"sides": condition.sides, "both_margin": math.ceil(condition.both_margin * 1e4) / 1e4, **measure, **pair}


def _rules(fusion: Fusion) -> dict[str, Any]:
    def rounded(affine: Affine | Calibration) -> dict[str, float]:
        return {name: round(value, 5) for name, value in asdict(affine).items()}

    def thresholds(rule: VoterSet) -> dict[str, float]:
        # rounded up: down would let through more than the target
        names = ("threshold", "review_threshold")
        return {name: math.ceil(getattr(rule, name) * 1e4) / 1e4 for name in names}

    return {
        "members": {member.name: rounded(member.calibration) for member in fusion.members},
        "voter_sets": {
            key: {
                **rounded(rule.calibration),
                "trust": {name: round(value, 5) for name, value in rule.trust.items()},
                **thresholds(rule),
            }
            for key, rule in fusion.voter_sets.items()
        },
    }


def _text(numbers: Sequence[float]) -> str:
    return base64.b64encode(np.array(numbers, "<f2").tobytes()).decode()


def store(config: EnsembleConfig, fitted: Mapping[str, Any], calibrated_on: Mapping[str, Any]) -> None:
    """Write numbers, as `to_json` gives them, into a draft, with whom they were fitted on.

    Raises:
        ValidationError: the version is no draft.
    """
    with transaction.atomic():
        for member in config.members.all():
            member.calibration = fitted["members"].get(member.artifact.name)
            member.save(update_fields=["calibration"])
        config.voter_sets, config.conditions = fitted["voter_sets"], fitted["conditions"]
        config.identification, config.calibrated_on = fitted.get("identification", {}), calibrated_on
        config.save(update_fields=["voter_sets", "conditions", "identification", "calibrated_on"])
