"""What a process loads, reports and answers with."""

import gc
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client

from ml_models import artifacts, rollouts, runtime
from ml_models.adaface_model import AdaFaceModel
from ml_models.arcface_model import ArcFaceModel
from ml_models.config import FACE_RECOGNITION_MODELS
from ml_models.engine.embed import Embedder, golden_crops
from ml_models.engine.inference import with_onnxruntime
from ml_models.engine.processor import has_vnni
from ml_models.exceptions import NotReady
from ml_models.mobilefacenet_model import MobileFaceNetModel
from ml_models.models import Artifact, EnsembleConfig
from ml_models.sface_model import SFaceModel
from tests.support.served import DETECTOR, EMBEDDERS, RULE, ensemble, write

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fresh() -> Iterator[None]:
    """A process that has loaded nothing yet."""
    with runtime.current.renewed():
        yield


def test_readyz_is_503_until_every_network_is_loaded_and_says_what_is_missing(
    served: EnsembleConfig, fresh: None
) -> None:
    client = Client()
    before = client.get("/readyz")
    assert (before.status_code, before.json()["code"]) == (503, "not_ready")

    runtime.refresh()
    assert client.get("/readyz").json() == {"status": "ready", "degraded": []}


def test_readyz_names_the_network_that_cannot_be_loaded(served: EnsembleConfig, fresh: None) -> None:
    Artifact.objects.filter(name="sface_2021dec").update(golden_min_cosine=1.5)
    runtime.refresh()

    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert "sface_2021dec is not loaded: golden_mismatch" in answer.json()["detail"]
    with pytest.raises(NotReady):
        runtime.served(served.pk)


@pytest.fixture
def elsewhere(served: EnsembleConfig, fresh: None, tmp_path: Path) -> EnsembleConfig:
    """Version 3, validated, of which one network's file is lost; nothing is loaded here."""
    artifact = Artifact.objects.get(name="sface_2021dec")
    artifact.pk, artifact.name, artifact.sha256 = None, "lost", "0" * 64
    artifact.save()
    data = ensemble(3)
    data["members"][2]["artifact"] = "lost"
    data["voter_sets"] = {"+".join(sorted([*EMBEDDERS[:2], "lost"])): RULE}
    call_command("load_ensemble", str(write(tmp_path, data)))
    EnsembleConfig.objects.filter(version=3).update(state="validated")
    return rollouts.get_config(3)


@pytest.mark.parametrize("state", ["rolling_out", "retired"], ids=["rolling out", "warm"])
def test_a_network_that_only_another_version_needs_makes_nobody_unready(elsewhere: EnsembleConfig, state: str) -> None:
    EnsembleConfig.objects.filter(version=3).update(state=state, warm_until=Now() + timedelta(days=7))
    before = Client().get("/readyz")
    assert before.status_code == 503
    runtime.refresh()

    answer = Client().get("/readyz")
    which = "rolling out" if state == "rolling_out" else "warm"
    reasons = [f"Version 3 ({which}): lost is not loaded: artifact_corrupt."]
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "degraded": reasons})
    assert runtime.active().config.version == 2


@pytest.mark.parametrize("active_only", [False, True])
def test_the_active_versions_networks_are_loaded_first(
    elsewhere: EnsembleConfig, monkeypatch: pytest.MonkeyPatch, active_only: bool
) -> None:
    EnsembleConfig.objects.filter(version=3).update(state="rolling_out")
    asked: list[str] = []
    load = artifacts.load

    def watched(artifact: Artifact) -> Any:
        if artifact.name == "lost":  # whatever this one takes, the active version answers meanwhile
            assert Client().get("/readyz").status_code == 200
        asked.append(artifact.name)
        return load(artifact)

    monkeypatch.setattr(artifacts, "load", watched)
    runtime.refresh(active_only)
    assert asked == [DETECTOR, *sorted(EMBEDDERS), *([] if active_only else ["lost"])]


def test_a_replacement_worker_loads_the_active_version_before_it_accepts(
    elsewhere: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    EnsembleConfig.objects.filter(version=3).update(state="rolling_out")
    hooks = runpy.run_path(str(ROOT / "config" / "gunicorn.conf.py"))
    monkeypatch.setattr(runtime, "start", lambda: None)  # accepting begins when the hook returns
    hooks["post_worker_init"](SimpleNamespace(age=hooks["workers"] + 1, notify=lambda: None))
    gc.unfreeze()
    assert Client().get("/readyz").json() == {
        "status": "ready",
        "degraded": ["Version 3 (rolling out): lost is not loaded: in progress."],
    }


def test_healthz_needs_nothing(fresh: None) -> None:
    assert Client().get("/healthz").json() == {"status": "ok"}


def test_the_files_of_what_is_served_are_marked_as_used(served: EnsembleConfig) -> None:
    """Or a download would let go of them in the cache."""
    path = artifacts.local_path(served.detector)
    os.utime(path, (0, 0))
    runtime.refresh()
    assert path.stat().st_mtime > time.time() - 60


def test_networks_that_no_served_version_needs_are_let_go(served: EnsembleConfig, fresh: None) -> None:
    runtime.refresh()
    EnsembleConfig.objects.update(state="retired")
    runtime.refresh()
    assert not runtime.current().networks


@pytest.mark.parametrize(("wrapper", "dimension"), [(MobileFaceNetModel, 192), (ArcFaceModel, 512), (SFaceModel, 128)])
def test_a_wrapper_without_arguments_is_the_active_versions_network(
    served: EnsembleConfig, wrapper: type, dimension: int
) -> None:
    face = golden_crops()[0]
    embedding = wrapper().generate_embedding(face)

    assert (embedding.shape, embedding.dtype) == ((dimension,), np.float32)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(wrapper().generate_embeddings(golden_crops())[0], embedding, atol=1e-5)


def test_adaface_is_not_ready_while_the_active_version_has_none(served: EnsembleConfig) -> None:
    with pytest.raises(NotReady, match="adaface"):
        AdaFaceModel()


def test_a_wrapper_loads_on_its_own_where_the_runtime_has_not(served: EnsembleConfig, fresh: None) -> None:
    assert SFaceModel().generate_embedding(golden_crops()[1]).shape == (128,)


def test_every_family_of_the_build_has_a_wrapper_that_answers_to_its_name() -> None:
    from django.utils.module_loading import import_string

    for name, entry in FACE_RECOGNITION_MODELS.items():
        assert import_string(entry["class"]).family == name


def test_colour_order_comes_from_the_contract_and_swapping_it_is_noticed(served: EnsembleConfig) -> None:
    artifact = Artifact.objects.get(name="arcface_int8")
    assert artifact.contract["color_order"] == "BGR"
    right = ArcFaceModel().generate_embedding(golden_crops()[0])
    swapped = ArcFaceModel().generate_embedding(np.ascontiguousarray(golden_crops()[0][..., ::-1]))
    assert float(right @ swapped) < artifact.golden_min_cosine


@pytest.mark.skipif(not has_vnni(), reason="without VNNI the option changes the answers: that is what it is for")
def test_with_vnni_an_int8_network_answers_the_same_to_the_bit_without_the_option(
    served: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = Artifact.objects.get(name="arcface_int8")
    path = artifacts.ensure_local(artifact)
    plain = Embedder(path, artifact.input_contract).embed(golden_crops())
    monkeypatch.setattr(with_onnxruntime, "has_vnni", lambda: False)
    exact = Embedder(path, artifact.input_contract).embed(golden_crops())
    assert np.array_equal(plain.features, exact.features)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("arguments", "loads"),
    [
        ("manage.py migrate", False),
        ("/venv/bin/django-admin check", False),
        ("/venv/django/__main__.py migrate", False),
        ("/venv/bin/pytest --collect-only", False),
        ("/venv/pytest/__main__.py", False),
        ("manage.py runserver", True),
        ("/venv/bin/uvicorn shop.asgi:application", True),
    ],
)
def test_with_autostart_servers_load_networks_and_commands_do_not(
    arguments: str, loads: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    settings.ML_MODELS = {**settings.ML_MODELS, "AUTOSTART": True}
    monkeypatch.setattr(sys, "argv", arguments.split())
    monkeypatch.setattr(runtime, "start", lambda: started.append(True))
    apps.get_app_config("ml_models").ready()
    assert bool(started) is loads


def test_migrate_and_check_load_no_network() -> None:
    code = """
import sys, threading
sys.argv = ["manage.py", "migrate"]
import django
from django.core.management import call_command
django.setup()
call_command("check")
call_command("migrate", "--plan")
assert not [t for t in threading.enumerate() if t.name == "ml_models-runtime"]
from ml_models import runtime
assert not runtime.current().networks
"""
    done = python(code, DJANGO_SETTINGS_MODULE="backend_easy.settings", ML_MODELS_AUTOSTART="1")
    assert done.returncode == 0, done.stderr


def test_a_forked_child_starts_with_nothing_loaded(served: EnsembleConfig) -> None:
    runtime.refresh()
    assert runtime.current().networks
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # no test code runs on in the child
        os.write(write, b"empty" if not runtime.current().networks else b"inherited")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 20) == b"empty"


def test_the_engine_runs_where_django_is_not_installed(portraits: Any) -> None:
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"django", "rest_framework", "celery", "google", "psycopg"}:
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Refuse())
import ml_models.engine.pipeline, ml_models.engine.fuse, ml_models.engine.graph
assert "django" not in sys.modules
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
