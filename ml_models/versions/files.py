"""Ensemble files (config/ensembles/*.yaml) ↔ draft versions in the database."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from django.db import IntegrityError, transaction
from django.db.models import Max

from ..config import family
from ..engine.quality import QualityLimits
from ..exceptions import ConfigChanged, ConfigInvalid
from ..models import Actor, Artifact, ConfigStep, EnsembleConfig, EnsembleMember, PlacedArtifact, actor_id

_FIELDS = {
    "version",
    "name",
    "notes",
    *EnsembleConfig.PLACES,
    "flip",
    "target_fmr",
    "quality_limits",
    "members",
    "voter_sets",
    "conditions",
    "liveness",
    "identification",
    "calibrated_on",
}
_LIMITED_STEPS = ("enroll", "verify")
_MEMBER_FIELDS = {"artifact", "weight", "calibration", "quality_threshold"}


def load(path: Path, by: Actor = None) -> tuple[EnsembleConfig, str]:
    """Read an ensemble file into a draft.

    Loading the same file again changes nothing; an edited file updates the draft; a version that has left `draft` is
    never changed.

    Returns: the version, and `created`, `updated` or `unchanged`.

    Raises:
        ConfigInvalid: the file is not an ensemble, or names artifacts that are not published.
        ConfigChanged: the version is no draft any more and the file says something else.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid([f"{path.name} cannot be read: {error}"]) from error
    return load_text(text, path.name, by)


def load_text(text: str, name: str, by: Actor = None) -> tuple[EnsembleConfig, str]:
    """As `load`, of a file's text; `name` is the file's, for what is said of it."""
    return write(_parsed(text, name), by, "from a file")


def write(data: dict[str, Any], by: Actor, how: str) -> tuple[EnsembleConfig, str]:
    """As `load`, of a file's content.

    Args:
        how: stands behind `created` or `updated` in the version's step.
    """
    artifacts = _artifacts(data)
    for member in data["members"]:
        entry = family(artifacts[member["artifact"]].family)
        member.setdefault("quality_threshold", entry["quality_threshold"] if entry else 0.0)
    with transaction.atomic():
        config = EnsembleConfig.objects.select_for_update().filter(version=data["version"]).first()
        content = normalised(data)
        if config and _agrees(config, content):
            return config, "unchanged"
        if config and config.state != EnsembleConfig.State.DRAFT:
            raise ConfigChanged(
                f"Version {config.version} is {config.state} and cannot change. Give the file a new version number."
            )
        content = _with_fitted_weights(content, config)
        own = {key: content[key] for key in content.keys() - {"members", "version", *EnsembleConfig.PLACES}}
        placed = {place: [artifacts[name] for name in _named(content, place)] for place in EnsembleConfig.PLACES}
        alone = {place: placed[place][0] if len(placed[place]) == 1 else None for place in EnsembleConfig.RELATIONS}
        empty: dict[str, Any] = {"conditions": [], "liveness": {}, "identification": {}, "calibrated_on": {}}
        fields = {**empty, **own}
        done = "updated" if config else "created"
        config, _ = EnsembleConfig.objects.update_or_create(version=data["version"], defaults={**fields, **alone})
        config.placements.all().delete()
        for place, found in placed.items():
            for artifact in () if alone.get(place) else found:
                PlacedArtifact.objects.create(config=config, place=place, artifact=artifact)
        config.members.all().delete()
        for member in data["members"]:
            EnsembleMember.objects.create(
                config=config,
                artifact=artifacts[member["artifact"]],
                weight=member["weight"],
                calibration=member.get("calibration"),
                quality_threshold=member["quality_threshold"],
            )
        ConfigStep.objects.create(config=config, to_state=config.state, by_id=actor_id(by), reason=f"{done} {how}")
    return config, done


def _with_fitted_weights(content: dict[str, Any], before: EnsembleConfig | None) -> dict[str, Any]:
    """The content with the weights that its thresholds were fitted for: what the file says of it; else what is known of
    the draft, while the thresholds stay; else the weights beside them."""
    people = content.get("calibrated_on", {})
    if not content["voter_sets"] or "weights" in people:
        return content
    weights = weights_of(content)
    if before and before.voter_sets == content["voter_sets"]:
        weights = before.calibrated_on.get("weights") or weights_of(export(before))
    return {**content, "calibrated_on": {**people, "weights": weights}}


def weights_of(content: dict[str, Any]) -> dict[str, float]:
    """The members' weights by name."""
    return {member["artifact"]: member["weight"] for member in content["members"]}


def _agrees(config: EnsembleConfig, content: dict[str, Any]) -> bool:
    """Whether a version says what a file says; a file need not name whom it was calibrated on."""
    current = export(config)
    if "calibrated_on" not in content:
        current.pop("calibrated_on", None)
    elif "weights" not in content["calibrated_on"]:
        current["calibrated_on"] = {k: v for k, v in current.get("calibrated_on", {}).items() if k != "weights"}
    return current == content


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigInvalid([f"{name} cannot be read: {error}"]) from error
    require_content(data, name)
    return dict(data)


def require_content(data: Any, name: str) -> None:
    """Refuse what is no content of an ensemble file.

    Raises:
        ConfigInvalid: with every reason.
    """
    if not isinstance(data, dict) or not isinstance(data.get("members"), list):
        raise ConfigInvalid([f"{name} is not an ensemble file: it needs version, name, detector and members."])
    reasons = [f"{name}: {key} is missing." for key in ("version", "name", "detector") if key not in data]
    reasons += [f"{name}: {key} is not known." for key in sorted(set(data) - _FIELDS)]
    for member in data["members"]:
        if not isinstance(member, dict) or not {"artifact", "weight"} <= member.keys() <= _MEMBER_FIELDS:
            reasons.append(f"{name}: a member has {', '.join(sorted(_MEMBER_FIELDS))}, the first two always.")
    reasons += _wrong_values(name, data) if not reasons else []
    if reasons:
        raise ConfigInvalid(reasons)


def _wrong_values(name: str, data: dict[str, Any]) -> list[str]:
    reasons = []
    weights = [member["weight"] for member in data["members"]]
    if not all(isinstance(weight, int | float) and 0 <= weight <= 1 for weight in weights):
        reasons.append(f"{name}: every weight is a number in [0, 1].")
    elif abs(math.fsum(weights) - 1) > 1e-6:
        reasons.append(f"{name}: the weights sum to {math.fsum(weights):.6f}, not to 1.")
    if not isinstance(data["version"], int) or data["version"] < 1:
        reasons.append(f"{name}: the version is a whole number from 1.")
    conditions = data.get("conditions") or []
    if not isinstance(conditions, list) or not all(isinstance(condition, dict) for condition in conditions):
        reasons.append(f"{name}: conditions are what calibrate writes, or nothing.")
    reasons += [*_wrong_places(name, data), *_wrong_blocks(name, data)]
    if not _names_people(data.get("calibrated_on") or {}):
        reasons.append(f"{name}: calibrated_on is what calibrate writes: lists, subjects and weights.")
    try:
        limits = dict(data.get("quality_limits") or {})
        if unknown := sorted(map(str, limits.keys() - _LIMITED_STEPS)):
            reasons.append(f"{name}: quality_limits are for {' and '.join(_LIMITED_STEPS)}, not {unknown[0]}.")
        for limit in limits.values():
            QualityLimits.from_json(limit)
    except (TypeError, ValueError, AttributeError) as error:
        reasons.append(f"{name}: quality_limits: {error}.")
    return reasons


def _wrong_places(name: str, data: dict[str, Any]) -> list[str]:
    reasons = []
    for place in EnsembleConfig.PLACES:
        named, several = data.get(place), place in EnsembleConfig.SEVERAL
        if not named and place != "detector":
            continue
        names = named if several and isinstance(named, list) else [named]
        if not all(isinstance(each, str) for each in names) or len(set(names)) < len(names):
            or_more = ", or a list of different ones" if several else ""
            reasons.append(f"{name}: {place} is the name of an artifact{or_more}.")
    return reasons


def _wrong_blocks(name: str, data: dict[str, Any]) -> list[str]:
    blocks = {"liveness": "has the numbers of passive and turned", "identification": "is what calibrate writes"}
    wrong = [block for block in blocks if not isinstance(data.get(block) or {}, dict)]
    return [f"{name}: {block} {blocks[block]}, or nothing." for block in wrong]


def _names_people(calibrated_on: Any) -> bool:
    return (
        isinstance(calibrated_on, dict)
        and calibrated_on.keys() <= {"lists", "subjects", "weights"}
        and isinstance(calibrated_on.get("weights", {}), dict)
        and isinstance(calibrated_on.get("lists", []), list)
        and isinstance(calibrated_on.get("subjects", ""), str | list)
    )


def _artifacts(data: dict[str, Any]) -> dict[str, Artifact]:
    placed = (name for place in EnsembleConfig.PLACES for name in _named(data, place))
    names = {*placed, *(member["artifact"] for member in data["members"])}
    known = {artifact.name: artifact for artifact in Artifact.objects.filter(name__in=names)}
    if absent := sorted(names - known.keys()):
        raise ConfigInvalid([f"{name} is not published: run fetch_demo_pack or publish_model." for name in absent])
    return known


def _named(data: dict[str, Any], place: str) -> list[str]:
    """The artifacts of a place by name: in a file one name, or a list of several."""
    named = data.get(place) or []
    return [named] if isinstance(named, str) else sorted(named)


def normalised(data: dict[str, Any]) -> dict[str, Any]:
    """An ensemble file's content with the defaults written out, members sorted by name."""
    members = [
        {
            "artifact": member["artifact"],
            "weight": float(member["weight"]),
            "calibration": member.get("calibration"),
            "quality_threshold": member.get("quality_threshold", 0.0),
        }
        for member in data["members"]
    ]
    placed = {place: _named(data, place) for place in EnsembleConfig.PLACES}
    return {
        "version": data["version"],
        "name": data["name"],
        "notes": data.get("notes") or "",
        **{place: names[0] if len(names) == 1 else names for place, names in placed.items() if names},
        "flip": bool(data.get("flip", False)),
        "target_fmr": float(data.get("target_fmr", 0.001)),
        "quality_limits": data.get("quality_limits") or {},
        "members": sorted(members, key=lambda member: str(member["artifact"])),
        "voter_sets": data.get("voter_sets") or {},
        # omitted where empty, so that digests of older versions, and their reports, stay valid
        **({"conditions": data["conditions"]} if data.get("conditions") else {}),
        **({"liveness": data["liveness"]} if data.get("liveness") else {}),
        **({"identification": data["identification"]} if data.get("identification") else {}),
        **({"calibrated_on": _people(data["calibrated_on"])} if data.get("calibrated_on") else {}),
    }


def _people(calibrated_on: dict[str, Any]) -> dict[str, Any]:
    """In a file the hashes are one text, separated by blanks: a line for each would be thousands."""
    subjects = calibrated_on.get("subjects", [])
    return {**calibrated_on, "subjects": subjects.split() if isinstance(subjects, str) else subjects}


def dump(content: dict[str, Any]) -> str:
    """An ensemble file's text."""
    if people := content.get("calibrated_on"):
        content = {**content, "calibrated_on": {**people, "subjects": " ".join(people["subjects"])}}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def export(config: EnsembleConfig) -> dict[str, Any]:
    """A version as the content of an ensemble file."""
    return normalised(
        {
            "version": config.version,
            "name": config.name,
            "notes": config.notes,
            **{place: [artifact.name for artifact in found] for place, found in config.placed.items()},
            "flip": config.flip,
            "target_fmr": config.target_fmr,
            "quality_limits": config.quality_limits,
            "voter_sets": config.voter_sets,
            "conditions": config.conditions,
            "liveness": config.liveness,
            "identification": config.identification,
            "calibrated_on": config.calibrated_on,
            "members": [
                {
                    "artifact": member.artifact.name,
                    "weight": member.weight,
                    "calibration": member.calibration,
                    "quality_threshold": member.quality_threshold,
                }
                for member in config.members.select_related("artifact").defer("artifact__golden")
            ],
        }
    )


def clone(config: EnsembleConfig, by: Actor = None) -> EnsembleConfig:
    """A new draft with the next free number that says the same as `config`, whatever state that one is in.

    Raises:
        ConfigChanged: another version took the number meanwhile.
    """
    same = {field: getattr(config, field) for field in ("name", "notes", *EnsembleConfig.FROZEN) if field != "version"}
    try:
        with transaction.atomic():
            latest = EnsembleConfig.objects.aggregate(latest=Max("version"))["latest"]
            draft = EnsembleConfig.objects.create(version=latest + 1, **same)
            for row in config.placements.all():
                PlacedArtifact.objects.create(config=draft, place=row.place, artifact_id=row.artifact_id)
            for member in config.members.all():
                EnsembleMember.objects.create(
                    config=draft,
                    artifact_id=member.artifact_id,
                    weight=member.weight,
                    calibration=member.calibration,
                    quality_threshold=member.quality_threshold,
                )
            ConfigStep.objects.create(
                config=draft, to_state=draft.state, by_id=actor_id(by), reason=f"cloned from version {config.version}"
            )
    except IntegrityError as error:
        raise ConfigChanged("Another version was made at the same moment. Look at the list and try again.") from error
    return draft
