"""One cache of the demo pack for the whole run, kept between runs: the registries are asked once."""

import os
from pathlib import Path

import pytest

from ml_models.conversion.pack import BuiltFile, build
from ml_models.conversion.pack.catalogue import Catalogue

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue.read(ROOT / "config" / "artifacts.yaml")


@pytest.fixture(scope="session")
def pack_cache() -> Path:
    return Path(os.environ.get("ML_MODELS_CACHE_DIR", ROOT / ".devstack" / "cache"))


@pytest.fixture(scope="session")
def pack(catalogue: Catalogue, pack_cache: Path) -> dict[str, BuiltFile]:
    """Every artifact of the catalogue, built or from the cache, by name."""
    return {file.entry.name: file for file in build(catalogue, [], pack_cache, print)}
