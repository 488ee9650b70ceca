"""The app as a wheel in a project that is not ours; docs/plug-in.md is this in words."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from ml_models import artifacts
from ml_models.models import Artifact
from tests.conftest import Portraits
from tests.support.served import DETECTOR, PACK_CACHE, ROOT, ensemble, write

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the built wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ml_models", source / "ml_models", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index"]
    run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(folder), str(source)])
    (built,) = folder.glob("*.whl")
    run([*pip, "install", *offline, "--target", str(folder / "site"), str(built)])
    return folder / "site"


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty database on the tests' server."""
    url = urlsplit(os.environ["DATABASE_URL"])
    name = f"shop_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlunsplit(url._replace(path=f"/{name}"))
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_project_of_its_own_installs_the_wheel_migrates_enrolls_and_verifies(
    wheel: Path, database: str, tmp_path: Path, portraits: Portraits
) -> None:
    project = shutil.copytree(HERE / "project", tmp_path / "project")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "PYTEST_"))},
        "PYTHONPATH": f"{project}{os.pathsep}{wheel}",
        "DATABASE_URL": database,
        "ML_MODELS_PREFIX": f"shop/{uuid.uuid4().hex}/",
        "ML_MODELS_CACHE_DIR": str(tmp_path / "cache"),
    }
    pictures = []
    for name in ("eileen_collins", "grace_hopper"):
        pictures.append(tmp_path / f"{name}.jpg")
        pictures[-1].write_bytes(getattr(portraits, name))

    def python(*arguments: str) -> str:
        return run([sys.executable, *arguments], cwd=project, env=environment)

    def manage(*arguments: str) -> str:
        return python("manage.py", *arguments)

    manage("makemigrations", "people")
    assert "No changes" in manage("makemigrations", "--check", "--dry-run", "ml_models")
    manage("migrate")
    manage("check")
    manage("fetch_demo_pack", "--catalogue", str(ROOT / "config" / "artifacts.yaml"), "--cache-dir", str(PACK_CACHE))
    manage("load_ensemble", str(write(tmp_path, ensemble())))
    manage("validate_config", "2")
    manage("activate_config", "2")

    answers = json.loads(python("use.py", *map(str, pictures)))

    assert answers.pop("installed") == str(wheel / "ml_models")
    assert "ml_models.tick" in answers.pop("tasks")
    assert answers == {
        "queue": "faces",
        "health": 200,
        "ready": 200,
        "a stranger": [401, "not_authenticated"],
        "the customer enrolls": [403, "forbidden"],
        "the till enrolls": [201, "ok"],
        "the customer verifies": [200, "match"],
        "somebody else's face": [200, "no_match"],
        "no picture": [422, "undecodable_image"],
        "the till erases": [403, "forbidden"],
        "the customer erases": [200, "ok"],
        "and is gone": [404, "not_enrolled"],
        "back office": 200,
        "heard": ["match", "no_match", "erased"],
    }


_ENGINE_ALONE = """
import sys
for name in ("django", "rest_framework", "celery", "google", "psycopg", "redis", "cryptography"):
    sys.modules[name] = None
from pathlib import Path
from ml_models.engine import align, calibrate, decode, detect, embed, fuse, graph, pipeline, quality
detector = detect.Detector(sys.argv[2])
image = decode.decode(Path(sys.argv[1]).read_bytes())
face = detect.the_one_face(detector.detect(image), image.shape, 20, 0.25)
print(align.align(image, face.landmarks).shape)
"""


_REPORT_ALONE = """
import sys
for name in ("django", "rest_framework", "celery", "google", "psycopg", "redis", "cryptography"):
    sys.modules[name] = None
from ml_models.evaluation.report.page import discard_plot
print(discard_plot([0.0, 0.3], {"all": {"score": [0.1, 0.05]}}))
"""


def test_a_report_is_drawn_from_the_wheel_where_django_is_not_installed(wheel: Path, tmp_path: Path) -> None:
    plot = run([sys.executable, "-c", _REPORT_ALONE], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(wheel)})
    assert plot.count("<polyline") == 1


@pytest.mark.django_db
def test_the_engine_runs_where_django_is_not_installed(
    wheel: Path, tmp_path: Path, portraits: Portraits, demo_pack: dict[str, Artifact]
) -> None:
    picture = tmp_path / "face.jpg"
    picture.write_bytes(portraits.eileen_collins)
    command = [sys.executable, "-c", _ENGINE_ALONE, str(picture), str(artifacts.ensure_local(demo_pack[DETECTOR]))]
    assert run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(wheel)}).strip() == "(112, 112, 3)"
