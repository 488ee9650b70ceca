"""The wheel, built and installed by the page's own commands, beside what it asks for and nothing else."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import uuid
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from packaging.requirements import Requirement
from psycopg import sql

from tests.support.served import ROOT

from .page import blocks

# what the other project asks for itself, and the installer
OF_THE_HOST = ("pip", "psycopg[binary]", "dj-database-url")
EXTRAS = "ml-models[demo,metrics]"
# nothing is fetched: pip finds each requirement satisfied, or fails; 0 is how this variable says "no isolation"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a virtual environment `venv`, in which the wheel is installed."""
    home = tmp_path_factory.mktemp("host")
    build, install = (block.text for block in blocks()[:2])
    source = home / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ml_models", source / "ml_models", ignore=shutil.ignore_patterns("__pycache__"))
    run(["bash", "-ec", build], cwd=source, env=environment(home, Path(sys.executable).parent))
    venv.create(home / "venv", with_pip=False, symlinks=True)
    (wheel,) = (home / "wheels").glob("*.whl")
    link(wheel, site_of(home))
    run(["bash", "-ec", install], cwd=home, env=environment(home, home / "venv" / "bin"))
    return home


def site_of(home: Path) -> Path:
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    return site


def environment(home: Path, binaries: Path) -> dict[str, str]:
    """The tests' environment without what configures our own service and tests."""
    ours = ("DJANGO_", "PYTEST_", "ML_MODELS_", "COVERAGE_", "COV_", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return {**kept, **OFFLINE, "HOME": str(home), "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}


def link(wheel: Path, site: Path) -> None:
    """Put what the wheel asks for, and what that asks for, into `site`, out of the tests' own environment."""
    with zipfile.ZipFile(wheel) as opened:
        (metadata,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        ours = importlib.metadata.PathDistribution(zipfile.Path(opened, metadata.removesuffix("METADATA")))
        found: dict[str, importlib.metadata.Distribution] = {"ml-models": ours}
        wanted = [Requirement(text) for text in (EXTRAS, *OF_THE_HOST)]
        seen = set()
        while wanted:
            requirement = wanted.pop()
            if str(requirement) in seen:
                continue
            seen.add(str(requirement))
            name = requirement.name.lower().replace("_", "-")
            if name not in found:
                found[name] = importlib.metadata.distribution(name)
            for text in found[name].requires or []:
                each = Requirement(text)
                if each.marker is None or any(each.marker.evaluate({"extra": x}) for x in ("", *requirement.extras)):
                    wanted.append(each)
    del found["ml-models"]
    for distribution in found.values():
        for file in distribution.files or []:
            if ".." not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(distribution.locate_file(file))  # type: ignore[arg-type]


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty database on the tests' server."""
    url = urlsplit(os.environ["DATABASE_URL"])
    name = f"shop_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlunsplit(url._replace(path=f"/{name}"))
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
