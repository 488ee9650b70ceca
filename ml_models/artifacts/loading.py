"""An artifact's row → a network ready to answer."""

from __future__ import annotations

from typing import Any

from ..engine.errors import ArtifactRejected
from ..engine.graph import require_standard
from ..models import Artifact
from .kinds import KINDS
from .pulling import ensure_local


def load(artifact: Artifact) -> Any:
    """Pull an artifact, prove that it is what the database says, and make it ready to answer.

    Returns: what its kind makes of it, see `artifacts.kinds`.

    Raises:
        ArtifactError: it cannot be had, or its bytes are other ones.
        ArtifactRejected: this build does not know its kind, its family is off, its graph does more than compute, its
            contract does not fit, or it does not give its golden vectors.
        InferenceFailed: it does not run.
    """
    if artifact.kind not in KINDS:
        raise ArtifactRejected(f"{artifact.name}: this build does not know the kind {artifact.kind}.")
    path = ensure_local(artifact)
    require_standard(path)
    return KINDS[artifact.kind].load(artifact, path)
