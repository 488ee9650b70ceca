"""Whether this process answers, and what it lacks besides: for `/readyz`."""

from __future__ import annotations

from dataclasses import dataclass

from .. import runtime, selectors
from ..engine.errors import ArtifactRejected
from ..exceptions import NotReady
from ..models import EnsembleConfig

State = EnsembleConfig.State


@dataclass(frozen=True, slots=True)
class Readiness:
    """`missing`: what keeps this process from answering under the active version, as sentences; empty when it is ready.
    `degraded`: what it lacks for versions that are rolling out or warm, which makes it unready for nobody."""

    missing: list[str]
    degraded: list[str]


def readiness() -> Readiness:
    """How this process stands now."""
    states = selectors.served_states()
    active = next((pk for pk, state in states.items() if state == State.ACTIVE), None)
    missing = ["No version is active."] if active is None else _missing(active)
    known = runtime.current().versions
    others = [(pk, state) for pk, state in states.items() if pk != active and pk not in known]
    return Readiness(missing, [sentence for pk, state in others for sentence in _degraded(pk, state)])


def _missing(active: int) -> list[str]:
    try:
        runtime.served(active)
    except (NotReady, ArtifactRejected) as error:
        return _absent(active) or [str(error)]
    return []


def _degraded(pk: int, state: str) -> list[str]:
    config = runtime.current().configs.get(pk)
    if config is None:
        return ["A version's networks are being loaded."]
    which = f"Version {config.version} ({'rolling out' if state == State.ROLLING_OUT else 'warm'})"
    reasons = _absent(pk) or ["its networks do not fit together: the log says why."]
    return [f"{which}: {reason}" for reason in reasons]


def _absent(pk: int) -> list[str]:
    """Which networks of a version are not loaded, and why."""
    process = runtime.current()
    config = process.configs.get(pk)
    if config is None:
        return ["The networks are being loaded."]
    names = sorted(artifact.name for artifact in config.artifacts if artifact.sha256 not in process.networks)
    return [f"{name} is not loaded: {process.problems.get(name, 'in progress')}." for name in names]
