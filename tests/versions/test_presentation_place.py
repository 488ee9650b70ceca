"""An attack detector's place in a version: it travels with the file, and evidence about faces does not depend on it."""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from ml_models import artifacts, rollouts, runtime
from ml_models.engine.detect import Detector
from ml_models.engine.errors import ArtifactRejected, GoldenMismatch
from ml_models.engine.inference import why_not_openvino
from ml_models.engine.presentation import PresentationContract, cut
from ml_models.engine.types import DetectedFace, canonical_json
from ml_models.exceptions import ConfigChanged, ConfigInvalid, NotReady
from ml_models.models import Artifact, EnsembleConfig, PlacedArtifact, ServingProcess
from ml_models.rollouts import processes
from ml_models.studies import loading
from ml_models.versions import evidence, files, numbers
from ml_models.versions.validation import problems
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened
from tests.support.served import activate, ensemble, publish_presentation, write

pytestmark = pytest.mark.django_db

needs_openvino = pytest.mark.skipif(bool(why_not_openvino()), reason=why_not_openvino())
PASSIVE = {"a": 0.5, "b": 1.0, "threshold": -2.0}
WITH: dict[str, Any] = {"presentation": "fr_liveness", "liveness": {"passive": PASSIVE}}


@pytest.fixture
def pair(served: EnsembleConfig, tmp_path: Path) -> dict[str, Any]:
    """The pack's attack detector and another one, which is shown a wider crop."""
    publish_presentation(tmp_path)
    return {**WITH, "presentation": ["fr_liveness", "minifasnet"]}


def load(folder: Path, **changes: Any) -> EnsembleConfig:
    return files.load(write(folder, ensemble(3, **changes)))[0]


def test_it_travels_with_the_version_and_cannot_change(served: EnsembleConfig, tmp_path: Path) -> None:
    config = load(tmp_path, **WITH)
    assert files.load(write(tmp_path, ensemble(3, **WITH)))[1] == "unchanged"
    for version in (config, files.clone(config)):
        exported = files.export(version)
        assert {key: exported[key] for key in WITH} == WITH
    assert not files.export(served).keys() & WITH.keys()
    rollouts.validate(config)
    config.refresh_from_db()
    for field, value in (("liveness", {}), ("presentation", None)):
        setattr(config, field, value)
        with pytest.raises(ValidationError, match="clone"):
            config.save()
        config.refresh_from_db()


def test_whose_face_it_is_keeps_its_evidence_and_liveness_has_a_digest_of_its_own(
    served: EnsembleConfig, tmp_path: Path
) -> None:
    without, comparing = load(tmp_path), evidence.config_digest(served)
    digests = [evidence.liveness_digest(without)]
    variants: list[dict[str, Any]] = [WITH, {**WITH, "liveness": {"passive": {**PASSIVE, "threshold": -1.0}}}]
    for changes in variants:
        config = load(tmp_path, **changes)
        assert evidence.config_digest(config) == comparing
        digests.append(evidence.liveness_digest(config))
    assert len(set(digests)) == 3
    assert evidence.liveness_digest(load(tmp_path, **WITH, target_fmr=0.002)) not in digests


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_every_extraction_says_what_it_makes_of_the_face(
    served: EnsembleConfig, tmp_path: Path, portraits: Portraits, settings: Settings, engine: str
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "INFERENCE": engine}
    assert runtime.active().pipeline.extract(portraits.eileen_collins).presentation is None
    config = load(tmp_path, **WITH)
    pipeline = loading.pipeline(config)
    assert [network.engine for network in pipeline.presentation] == [engine]
    seen = pipeline.extract(portraits.eileen_collins).presentation
    assert seen
    assert seen.enough
    face, by_hand = _by_hand(portraits.eileen_collins, pipeline.detector)
    assert seen.logit == pytest.approx(by_hand, abs=0.02)

    picture = opened(portraits.eileen_collins)
    scale = 44 / min(face.box[2:])
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    small = pipeline.extract(encoded(picture, quality=95)).presentation
    assert small
    assert not small.enough
    rule = numbers.passive(config)
    assert rule
    assert rule.judge([small])[0] == "uncertain"


def test_several_travel_with_the_version_and_cannot_change(
    served: EnsembleConfig, pair: dict[str, Any], tmp_path: Path
) -> None:
    config = load(tmp_path, **pair)
    # the release before reads the column alone: with half of them it would judge by the numbers of both
    assert config.presentation is None
    backwards = {**pair, "presentation": pair["presentation"][::-1]}
    assert files.load(write(tmp_path, ensemble(3, **backwards)))[1] == "unchanged"
    for version in (config, files.clone(config)):
        assert files.export(version)["presentation"] == pair["presentation"]
    (tmp_path / "v3.yaml").write_text(files.dump(files.export(config)))
    assert files.load(tmp_path / "v3.yaml")[1] == "unchanged"

    assert load(tmp_path, **WITH).attack_detectors == [Artifact.objects.get(name="fr_liveness")]
    config = load(tmp_path, **pair)
    assert [artifact.name for artifact in config.attack_detectors] == pair["presentation"]
    rollouts.validate(rollouts.get_config(3))
    with pytest.raises(ValidationError, match="clone"):
        PlacedArtifact(config=config, place="presentation", artifact=config.detector).save()
    with pytest.raises(ConfigChanged):
        load(tmp_path, **WITH)


def test_of_one_the_digest_is_what_it_was_and_of_several_each_counts(
    served: EnsembleConfig, pair: dict[str, Any], tmp_path: Path
) -> None:
    def digest(*names: str) -> str:
        config = load(tmp_path, **{**WITH, "presentation": [*names]} if names else {})
        assert evidence.config_digest(config) == evidence.config_digest(served)
        return evidence.liveness_digest(config)

    def as_before_there_could_be_several(presentation: Any, liveness: dict[str, Any]) -> str:
        whole = {"comparing": evidence.config_digest(served), "presentation": presentation, "liveness": liveness}
        return hashlib.sha256(canonical_json(whole).encode()).hexdigest()

    one, other = (Artifact.objects.get(name=name) for name in pair["presentation"])
    assert digest() == as_before_there_could_be_several([], {})
    assert digest(one.name) == as_before_there_could_be_several([one.sha256, one.contract], WITH["liveness"])
    assert digest(one.name, other.name) == digest(other.name, one.name)
    assert len({digest(one.name), digest(other.name), digest(one.name, other.name)}) == 3
    Artifact.objects.filter(pk=other.pk).update(contract={**other.contract, "scale": 2.7})
    changed = digest(one.name, other.name)
    Artifact.objects.filter(pk=other.pk).update(contract=other.contract)
    assert digest(one.name, other.name) != changed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"presentation": ["fr_liveness", "fr_liveness"]}, "a list of different ones"),
        ({"presentation": [3]}, "a list of different ones"),
        ({"presentation": {"fr_liveness": 0.5}}, "a list of different ones"),
        ({"presentation": ["fr_liveness", "nobodys"]}, "nobodys is not published"),
        ({"detector": ["yunet_2023mar"]}, "detector is the name of an artifact."),
        ({"detector": None}, "detector is the name of an artifact."),
    ],
)
def test_what_names_no_files_is_refused(
    served: EnsembleConfig, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigInvalid, match=says):
        load(tmp_path, **{**WITH, **changes})


def test_each_of_several_is_looked_at_like_one_alone_before_the_version_goes_live(
    served: EnsembleConfig, pair: dict[str, Any], tmp_path: Path, settings: Settings
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": False}
    assert "minifasnet: commercial use of the weights is unknown" in str(problems(load(tmp_path, **pair)))
    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": True}
    wrong = load(tmp_path, **{**pair, "presentation": ["fr_liveness", "arcface_int8"]})
    assert problems(wrong) == ["arcface_int8 is published as embedder; its place takes presentation."]
    with pytest.raises(ArtifactRejected, match="takes presentation"):
        loading.pipeline(wrong)
    config = load(tmp_path, **pair)
    config.liveness = {}
    assert "needs liveness.passive" in str(problems(config))
    Artifact.objects.filter(name="minifasnet").update(golden=np.zeros((2, 3), "<f4").tobytes())
    with pytest.raises(ConfigInvalid, match="minifasnet cannot be used: golden_mismatch"):
        rollouts.validate(rollouts.get_config(3))


def test_a_version_with_several_answers_when_each_is_loaded_and_names_them_all(
    service: APIClient, pair: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = activate(tmp_path, ensemble(3, **pair))
    assert {artifact["name"] for artifact in service.get("/api/v1/face/config").json()["presentation"]} == {
        "fr_liveness",
        "minifasnet",
    }
    capsys.readouterr()
    call_command("pull_models")
    assert {"fr_liveness", "minifasnet"} <= set(capsys.readouterr().out.split())
    assert not processes.unready(config)
    lost = Artifact.objects.get(name="minifasnet").sha256
    ServingProcess.objects.update(artifacts=[each.sha256 for each in config.artifacts if each.sha256 != lost])
    assert processes.unready(config)
    del runtime.current().networks[lost]
    runtime.current().versions.clear()
    with pytest.raises(NotReady, match=r"^minifasnet is not loaded"):
        runtime.active()
    runtime.refresh()
    assert len(runtime.active().pipeline.presentation) == 2


def test_several_look_each_at_its_own_crop_and_a_small_one_leaves_all_uncertain(
    served: EnsembleConfig, pair: dict[str, Any], tmp_path: Path, portraits: Portraits
) -> None:
    config = load(tmp_path, **pair)
    pipeline, rule = loading.pipeline(config), numbers.passive(config)
    assert rule
    seen = pipeline.extract(portraits.eileen_collins).presentation
    assert seen
    face, first = _by_hand(portraits.eileen_collins, pipeline.detector)
    # the tiny network's classes are the crop's mean blue, green and red in hundredths
    wide = cut(np.asarray(opened(portraits.eileen_collins)), face.box, 4.0)
    red, green, blue = wide.reshape(-1, 3).mean(axis=0) / 100
    second = green - np.logaddexp(blue, red)
    assert seen.logit == pytest.approx((first + second) / 2, abs=0.02)
    assert rule.judge([seen])[1] == pytest.approx(PASSIVE["a"] * seen.logit + PASSIVE["b"])

    publish_presentation(tmp_path, "hungry", side=400, scale=1.0)
    hungry = load(tmp_path, **{**pair, "presentation": [*pair["presentation"], "hungry"]})
    small = loading.pipeline(hungry).extract(portraits.eileen_collins).presentation
    assert small
    assert rule.judge([small]) == ("uncertain", None)


def _by_hand(data: bytes, detector: Detector) -> tuple[DetectedFace, float]:
    """With onnxruntime itself and none of our own steps but the detector."""
    import onnxruntime

    bgr = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    face = detector.detect(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8))[0]
    x, y, width, height = face.box
    scale = min(2.7, (bgr.shape[0] - 1) / height, (bgr.shape[1] - 1) / width)
    across, down = width * scale, height * scale
    left = min(max(x + width / 2 - across / 2, 0), bgr.shape[1] - 1 - across)
    top = min(max(y + height / 2 - down / 2, 0), bgr.shape[0] - 1 - down)
    crop = bgr[int(top) : int(top) + int(down), int(left) : int(left) + int(across)]
    batch = cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32).transpose(2, 0, 1)[None]
    path = artifacts.ensure_local(Artifact.objects.get(name="fr_liveness"))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    numbers = session.run(None, {"input": batch})[0][0].astype(np.float64)
    odds = np.exp(numbers - numbers.max())
    return face, float(np.log(odds[0] / (odds[1] + odds[2])))


def test_a_file_in_other_colours_does_not_load(served: EnsembleConfig) -> None:
    artifact = Artifact.objects.get(name="fr_liveness")
    assert PresentationContract.from_json(artifact.contract).color_order == "BGR"
    artifacts.load(artifact)
    artifact.contract = {**artifact.contract, "color_order": "RGB"}
    with pytest.raises(GoldenMismatch):
        artifacts.load(artifact)
