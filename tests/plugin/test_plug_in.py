"""The app as a wheel in a project that is not ours; docs/plug-in.md is this in words."""

import json
import os
import shutil
import uuid
from pathlib import Path

import pytest

from ml_models import artifacts
from ml_models.models import Artifact
from tests.conftest import Portraits
from tests.support.served import DETECTOR, PACK_CACHE, ensemble, write

from .conftest import environment, run, site_of

HERE = Path(__file__).parent


def test_a_project_of_its_own_installs_the_wheel_migrates_enrolls_and_verifies(
    host: Path, database: str, tmp_path: Path, portraits: Portraits
) -> None:
    project = shutil.copytree(HERE / "project", tmp_path / "project")
    variables = {
        **environment(host, host / "venv" / "bin"),
        "DATABASE_URL": database,
        "SECRET_KEY": os.environ["SECRET_KEY"],
        "ML_MODELS_KEYSET": os.environ["ML_MODELS_KEYSET"],
        "ML_MODELS_PREFIX": f"shop/{uuid.uuid4().hex}/",
        "ML_MODELS_CACHE_DIR": str(tmp_path / "cache"),
    }
    pictures = []
    for name in ("eileen_collins", "grace_hopper"):
        pictures.append(tmp_path / f"{name}.jpg")
        pictures[-1].write_bytes(getattr(portraits, name))

    def python(*arguments: str) -> str:
        return run([str(host / "venv" / "bin" / "python"), *arguments], cwd=project, env=variables)

    python("manage.py", "makemigrations", "people")
    python("set_up.py", str(PACK_CACHE), str(write(tmp_path, ensemble())))
    answers = json.loads(python("use.py", *map(str, pictures)))

    assert answers.pop("installed") == str(site_of(host) / "ml_models")
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
        "in German": "Hier ist nichts.",  # the catalogues are in the wheel
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


def test_a_report_is_drawn_from_the_wheel_where_django_is_not_installed(host: Path, tmp_path: Path) -> None:
    plot = run([str(host / "venv" / "bin" / "python"), "-c", _REPORT_ALONE], cwd=tmp_path)
    assert plot.count("<polyline") == 1


@pytest.mark.django_db
def test_the_engine_runs_where_django_is_not_installed(
    host: Path, tmp_path: Path, portraits: Portraits, demo_pack: dict[str, Artifact]
) -> None:
    picture = tmp_path / "face.jpg"
    picture.write_bytes(portraits.eileen_collins)
    python = str(host / "venv" / "bin" / "python")
    command = [python, "-c", _ENGINE_ALONE, str(picture), str(artifacts.ensure_local(demo_pack[DETECTOR]))]
    assert run(command, cwd=tmp_path).strip() == "(112, 112, 3)"
