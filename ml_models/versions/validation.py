"""What must hold before a version may go live."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import conf
from ..config import family as family_config
from ..engine.conditions import CONDITIONS
from ..engine.voters import reachable_voter_sets, voter_key
from ..exceptions import ConfigInvalid
from ..models import Artifact, EnsembleConfig
from . import numbers


def problems(config: EnsembleConfig) -> list[str]:
    """Everything that keeps a version from going live, as sentences; the networks themselves are not loaded here."""
    members = list(config.members.all())
    reasons = []
    total = math.fsum(member.weight for member in members)
    if not members or abs(total - 1.0) > 1e-6:
        reasons.append(f"The weights sum to {total:.6f}, not to 1.")
    for place, files in config.placed.items():
        reasons += _place_problems(place, files)
    for member in members:
        reasons += _member_problems(member.artifact)
        if member.weight and not member.votes:
            reasons.append(f"{member.artifact.name} tells glasses, not faces: its weight is 0.")
    reasons += _liveness_problems(config)
    try:
        fusion = numbers.fusion(config)
    except ConfigInvalid as error:
        return reasons + error.reasons
    reasons += _identification_problems(config)
    for where, rules in (("", fusion), *((f" of {c.name} faces", c.fusion) for c in fusion.conditions)):
        for names in reachable_voter_sets(rules.members):
            if voter_key(names) not in rules.voter_sets:
                reasons.append(f"No threshold is set for the voter set {voter_key(names)}{where}: run calibrate.")
    if unknown := sorted({condition.name for condition in fusion.conditions} - CONDITIONS.keys()):
        reasons.append(
            f"This build does not know the condition {', '.join(unknown)}, only {', '.join(CONDITIONS)}. "
            "Calibrate the version again with this build."
        )
    return reasons


def _liveness_problems(config: EnsembleConfig) -> list[str]:
    try:
        numbers.passive(config)
        numbers.turned(config)
    except ConfigInvalid as error:
        return error.reasons
    return []


def _identification_problems(config: EnsembleConfig) -> list[str]:
    """None of a version that cannot identify."""
    try:
        if config.identification:
            numbers.read_identification(config.identification)
    except ValueError as error:
        return [f"{error} Run calibrate."]
    return []


def _place_problems(place: str, files: Sequence[Artifact]) -> list[str]:
    kind = EnsembleConfig.PLACES.get(place)
    if kind is None:
        return [f"This build has no place called {place}: a later one made the version."]
    others = [artifact for artifact in files if artifact.kind != kind]
    wrong = [f"{artifact.name} is published as {artifact.kind}; its place takes {kind}." for artifact in others]
    return wrong + [problem for artifact in files for problem in _licence_problems(artifact)]


def _member_problems(artifact: Artifact) -> list[str]:
    reasons = []
    if artifact.kind != Artifact.Kind.EMBEDDER:
        reasons.append(f"{artifact.name} is not an embedder.")
    if family_config(artifact.family) is None:
        reasons.append(f"{artifact.name}: the family {artifact.family} is unknown to this build or disabled.")
    return reasons + _licence_problems(artifact)


def _licence_problems(artifact: Artifact) -> list[str]:
    """Unknown is refused like forbidden wherever money may be earned."""
    if conf.get("NONCOMMERCIAL") or artifact.commercial_use == Artifact.CommercialUse.ALLOWED:
        return []
    return [
        f"{artifact.name}: commercial use of the weights is {artifact.commercial_use} "
        f"({artifact.weights_licence or 'licence not said'}), and this deployment does not declare itself "
        "non-commercial (the setting NONCOMMERCIAL)."
    ]
