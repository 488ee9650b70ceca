"""`config/artifacts.yaml`: the known model files, where they come from and on which terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ml_models.engine.files import sha256_of
from ml_models.engine.types import canonical_json

from ..errors import ConversionError
from .sources import Member, Source

COMMERCIAL_USE = ("allowed", "forbidden", "unknown")


@dataclass(frozen=True, slots=True)
class Entry:
    """One artifact of the catalogue; `sha256` pins the derived file, made with the catalogue's toolchain."""

    name: str
    kind: str
    family: str
    source: Source
    member: str
    steps: tuple[str, ...]
    quantization: Path | None
    contract: Mapping[str, Any]
    weights_licence: str
    training_data: str
    commercial_use: str
    citation: str
    sha256: str

    def metadata(self, offered_for: str) -> dict[str, str]:
        """What the ONNX file says of itself in its metadata_props."""
        member = self.source.members[self.member]
        numbers = {"ml_models.quantization_sha256": sha256_of(self.quantization)} if self.quantization else {}
        return {
            **numbers,
            "ml_models.contract": canonical_json(self.contract),
            "ml_models.source": f"{self.source.registry}:{self.source.package}@{self.source.version}/{member.path}",
            "ml_models.source_sha256": member.sha256,
            "ml_models.steps": " ".join(self.steps),
            "ml_models.weights_licence": self.weights_licence,
            "ml_models.training_data": self.training_data,
            "ml_models.commercial_use": self.commercial_use,
            "ml_models.citation": self.citation,
            "ml_models.offered_for": offered_for,
        }


@dataclass(frozen=True, slots=True)
class Catalogue:
    offered_for: str
    notice: str
    toolchain: Mapping[str, str]
    entries: Mapping[str, Entry]

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """Read the catalogue. Raises: ConversionError `bad_catalogue`, naming what is missing."""
        try:
            data = yaml.safe_load(path.read_text())
            sources = {name: _source(value, path.parent) for name, value in data["sources"].items()}
            entries = {name: _entry(name, value, sources, path.parent) for name, value in data["artifacts"].items()}
            return cls(data["offered_for"], data["notice"], data["toolchain"], entries)
        except OSError as error:
            raise ConversionError("bad_catalogue", f"{path} cannot be read: {error.strerror}.") from error
        except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise ConversionError("bad_catalogue", f"{path.name} is incomplete or not YAML: {error!r}.") from error


def _source(data: Mapping[str, Any], folder: Path) -> Source:
    members = {name: Member(value["path"], value["sha256"]) for name, value in data["files"].items()}
    archive_sha256 = "" if data["registry"] == "own" else data["sha256"]
    return Source(data["registry"], data["package"], data["version"], archive_sha256, members, folder)


def _entry(name: str, data: Mapping[str, Any], sources: Mapping[str, Source], folder: Path) -> Entry:
    if data["commercial_use"] not in COMMERCIAL_USE:
        raise ConversionError("bad_catalogue", f"{name}: commercial_use is one of {', '.join(COMMERCIAL_USE)}.")
    return Entry(
        name=name,
        kind=data["kind"],
        family=data["family"],
        source=sources[data["source"]],
        member=data["file"],
        steps=tuple(data["steps"]),
        quantization=folder / data["quantization"] if "quantization" in data else None,
        contract=data["contract"],
        weights_licence=data["weights_licence"],
        training_data=" ".join(data["training_data"].split()),
        commercial_use=data["commercial_use"],
        citation=" ".join(data["citation"].split()),
        sha256=data["sha256"],
    )
