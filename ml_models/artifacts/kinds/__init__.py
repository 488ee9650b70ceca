"""The kinds of model files: for each of `Artifact.Kind` the module of that name.

A kind knows what to note of a file when it is published, and how to load it, prove it and have it answer once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ...models import Artifact


class Kind(Protocol):
    """What each module of this package offers."""

    def families(self) -> Collection[str]:
        """Which families a file of this kind can be of."""

    def measure(self, path: Path, contract: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `Artifact` that are read off the file itself.

        Raises:
            ArtifactRejected, InferenceFailed: the file is not what the contract says, or no use.
        """

    def load(self, artifact: Artifact, path: Path) -> Any:
        """The network in a verified local file, proven against its row and warmed up.

        Raises:
            ArtifactRejected, InferenceFailed: it is not what the row says, or does not run.
        """

    def seconds_per_face(self, network: Any) -> float | None:
        """How long a loaded network takes for one face on one core of this machine; None where nobody asks."""


KINDS: dict[str, Kind] = {kind: cast(Kind, import_module(f".{kind}", __name__)) for kind in Artifact.Kind.values}


def families() -> list[str]:
    """Every family that a file can be published as."""
    return [family for kind in KINDS.values() for family in kind.families()]
