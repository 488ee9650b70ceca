"""What `make check` refuses, on a copy of the tree with one fault in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.check import CHECKS
from devstack.state import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of all that the checks read."""
    for name in ("backend_easy", "config", "devstack", "ml_models", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [ROOT / "manage.py", ROOT / "pyproject.toml", *ROOT.glob("requirements*")]:
        shutil.copy(file, tmp_path)
    return tmp_path


def check(name: str, tree: Path) -> tuple[bool, str]:
    done = subprocess.run(
        [sys.executable, *CHECKS[name]],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["wheel dependencies", "service dependencies", "development dependencies"])
def test_the_tree_as_it_is_passes(name: str, tree: Path) -> None:
    good, output = check(name, tree)
    assert good, output


@pytest.mark.parametrize(
    ("file", "old", "new", "name", "problem"),
    [
        ("pyproject.toml", '"pyyaml>=6",', '"pyyaml>=6", "prometheus-client",', "wheel", "DEP002 'prometheus-client'"),
        ("pyproject.toml", '"numpy>=2",', "", "wheel", "DEP003 'numpy'"),
        ("requirements.in", "redis\n", "redis\nprometheus-client\n", "service", "DEP002 'prometheus-client'"),
        ("requirements.in", "dj-database-url\n", "", "service", "DEP003 'dj_database_url'"),
        ("requirements-dev.in", "psutil\n", "psutil\nhypothesis\n", "development", "DEP002 'hypothesis'"),
        ("requirements-dev.in", "\ntflite\n", "\n", "development", "DEP003 'tflite'"),
    ],
)
def test_an_unused_and_an_undeclared_dependency_fail(
    file: str, old: str, new: str, name: str, problem: str, tree: Path
) -> None:
    declared = (tree / file).read_text()
    assert old in declared
    (tree / file).write_text(declared.replace(old, new, 1))
    good, output = check(f"{name} dependencies", tree)
    assert not good
    assert problem in output
