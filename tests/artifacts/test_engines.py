"""Which engine serves a network, and that nobody can tell from the answers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

from ml_models import artifacts, checks, runtime
from ml_models.artifacts import engines
from ml_models.engine.choice import Choice
from ml_models.engine.embed import golden_crops
from ml_models.engine.errors import ContractMismatch
from ml_models.engine.inference import why_not_openvino
from ml_models.models import Artifact, EnsembleConfig, ServingProcess
from tests.support.processor import needs_bfloat16
from tests.support.served import DETECTOR

pytestmark = pytest.mark.django_db
needs_openvino = pytest.mark.skipif(bool(why_not_openvino()), reason=why_not_openvino())


FLOAT, INT8 = "sface_2021dec", "arcface_int8"


@pytest.fixture
def setting(settings: Settings) -> Callable[..., None]:
    def change(**changes: object) -> None:
        settings.ML_MODELS = {**settings.ML_MODELS, **changes}

    return change


@pytest.fixture
def folder(demo_pack: dict[str, Artifact], tmp_path: Path, setting: Callable[..., None]) -> Path:
    """An empty folder of choices; the model files are there."""
    for artifact in demo_pack.values():
        (tmp_path / f"{artifact.sha256}.onnx").symlink_to(artifacts.ensure_local(artifact))
    setting(CACHE_DIR=str(tmp_path))
    return tmp_path / "engines"


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> list[Choice]:
    """What the trial says, taken from the end: the clock of a busy machine decides nothing here."""
    answers = [Choice("openvino", "quicker")]
    monkeypatch.setattr(engines, "choose", lambda path, contract: answers.pop())
    return answers


@needs_openvino
def test_the_choice_is_made_once_and_kept_for_this_file_and_processor(
    demo_pack: dict[str, Artifact], folder: Path, choose: list[Choice], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert artifacts.load(demo_pack[FLOAT]).engine == "openvino"
    (kept,) = folder.iterdir()
    assert kept.name.startswith(demo_pack[FLOAT].sha256)

    assert artifacts.load(demo_pack[FLOAT]).engine == "openvino"  # a second trial would find no answer
    monkeypatch.setattr(engines, "identity", lambda: "another processor")
    choose.append(Choice("onnxruntime", "slower there"))
    assert artifacts.load(demo_pack[FLOAT]).engine == "onnxruntime"
    assert len(list(folder.iterdir())) == 2


@needs_openvino
def test_of_two_processes_that_choose_at_once_the_second_follows_the_first(
    demo_pack: dict[str, Artifact], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower_and_later(path: Path, contract: Any) -> Choice:
        monkeypatch.setattr(engines, "choose", lambda path, contract: Choice("openvino", "quicker"))
        assert artifacts.load(demo_pack[FLOAT]).engine == "openvino"
        return Choice("onnxruntime", "quicker")

    monkeypatch.setattr(engines, "choose", slower_and_later)
    assert artifacts.load(demo_pack[FLOAT]).engine == "openvino"
    (kept,) = folder.iterdir()
    assert json.loads(kept.read_text())["engine"] == "openvino"


@needs_openvino
@pytest.mark.parametrize("text", ["", "[]", '{"engine": "tpu", "why": ""}'], ids=["empty", "list", "unknown"])
def test_what_is_not_a_choice_is_replaced_by_one(
    demo_pack: dict[str, Artifact], folder: Path, choose: list[Choice], text: str
) -> None:
    artifacts.load(demo_pack[FLOAT])
    (kept,) = folder.iterdir()
    kept.write_text(text)
    choose.append(Choice("openvino", "quicker"))
    assert artifacts.load(demo_pack[FLOAT]).engine == "openvino"
    assert json.loads(kept.read_text()) == {"engine": "openvino", "why": "quicker"}


@needs_openvino
def test_a_folder_that_cannot_be_written_costs_a_trial_and_no_answer(
    demo_pack: dict[str, Artifact], folder: Path, choose: list[Choice]
) -> None:
    folder.write_text("a file where the folder should be")
    assert artifacts.load(demo_pack[FLOAT]).engine == "openvino"


@needs_openvino
def test_int8_stays_on_onnxruntime_whatever_is_asked_for(
    demo_pack: dict[str, Artifact], folder: Path, setting: Callable[..., None]
) -> None:
    assert artifacts.load(demo_pack[INT8]).engine == "onnxruntime"
    (kept,) = folder.iterdir()
    assert "does not give onnxruntime's embeddings" in json.loads(kept.read_text())["why"]

    setting(INFERENCE="openvino")
    assert artifacts.load(demo_pack[INT8]).engine == "onnxruntime"
    assert artifacts.load(demo_pack[FLOAT]).engine == "openvino"


@needs_openvino
def test_a_kept_choice_does_not_excuse_from_the_proof(
    demo_pack: dict[str, Artifact], folder: Path, choose: list[Choice]
) -> None:
    assert choose == [Choice("openvino", "quicker")]  # of the INT8 file, this time
    assert artifacts.load(demo_pack[INT8]).engine == "onnxruntime"


@needs_openvino
def test_an_engine_that_cannot_load_the_file_leaves_it_to_the_other(
    demo_pack: dict[str, Artifact], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, contract: Any) -> Choice:
        raise ContractMismatch("The file is not a network that OpenVINO can load.")

    monkeypatch.setattr(engines, "choose", fails)
    assert artifacts.load(demo_pack[FLOAT]).engine == "onnxruntime"
    assert not folder.exists()  # tried again next time


@needs_openvino
@pytest.mark.parametrize("name", [FLOAT, "mobilefacenet_192"])
def test_the_embeddings_are_the_same_in_both_engines(
    demo_pack: dict[str, Artifact], folder: Path, setting: Callable[..., None], name: str
) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    faces = np.concatenate([golden_crops(), crops])
    answers = {}
    for engine in ("onnxruntime", "openvino"):
        setting(INFERENCE=engine)
        network = artifacts.load(demo_pack[name])
        assert network.engine == engine
        answers[engine] = network.embed(faces, flip=True)
    ours, theirs = answers.values()
    assert (ours.vectors * theirs.vectors).sum(1).min() > 0.99999
    np.testing.assert_allclose(ours.norms, theirs.norms, rtol=1e-4)


@needs_bfloat16
def test_a_network_in_bfloat16_is_served_so_and_meets_its_float_templates(
    demo_pack: dict[str, Artifact], folder: Path, setting: Callable[..., None]
) -> None:
    networks = []
    for engine in ("onnxruntime", "openvino"):
        setting(INFERENCE=engine)
        networks.append(artifacts.load(demo_pack[f"{FLOAT}_bf16"]))
    assert [network.engine for network in networks] == ["onnxruntime", "openvino, bfloat16"]
    ours, theirs = (network.embed(golden_crops()).vectors for network in networks)
    assert 0.999 < float((ours * theirs).sum(1).min()) < 0.99999


@needs_openvino
def test_the_detector_is_chosen_like_the_face_networks(
    demo_pack: dict[str, Artifact], folder: Path, setting: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [Choice("opencv", "slower"), Choice("openvino", "quicker")]
    monkeypatch.setattr(engines, "choose_detector", lambda path: answers.pop())
    assert artifacts.load(demo_pack[DETECTOR]).engine == "openvino"
    assert artifacts.load(demo_pack[DETECTOR]).engine == "openvino"
    monkeypatch.setattr(engines, "identity", lambda: "another processor")
    assert artifacts.load(demo_pack[DETECTOR]).engine == "opencv"
    setting(INFERENCE="onnxruntime")
    assert artifacts.load(demo_pack[DETECTOR]).engine == "opencv"


def test_without_openvino_everything_is_served_by_onnxruntime(
    served: EnsembleConfig, monkeypatch: pytest.MonkeyPatch, setting: Callable[..., None]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with runtime.current.renewed():
        runtime.refresh()
        runtime.report()
        (process,) = ServingProcess.objects.all()
        members = [member.artifact.name for member in served.members.all()]
        assert process.engines == {**dict.fromkeys(members, "onnxruntime"), DETECTOR: "opencv"}
        assert runtime.active().config == served
    assert checks.check_inference() == []
    setting(INFERENCE="openvino")
    (message,) = checks.check_inference()
    assert (message.id, message.hint) == ("ml_models.E011", "openvino is not installed.")


@needs_openvino
def test_an_openvino_that_would_report_home_is_named_by_the_check(
    setting: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checks.check_inference() == []
    monkeypatch.setattr(checks, "why_not_openvino", lambda: "openvino-telemetry is installed and on")
    assert [message.id for message in checks.check_inference()] == ["ml_models.W003"]


def test_an_unknown_engine_is_refused_by_the_check(setting: Callable[..., None]) -> None:
    setting(INFERENCE="tensorrt")
    assert [message.id for message in checks.check_inference()] == ["ml_models.E010"]
