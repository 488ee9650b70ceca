"""An attack detector's place in a version: it travels with the file, and evidence about faces does not depend on it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from django.core.exceptions import ValidationError
from pytest_django import Settings

from ml_models import artifacts, rollouts, runtime
from ml_models.engine.detect import Detector
from ml_models.engine.errors import GoldenMismatch
from ml_models.engine.inference import why_not_openvino
from ml_models.engine.presentation import PresentationContract
from ml_models.engine.types import DetectedFace
from ml_models.models import Artifact, EnsembleConfig
from ml_models.studies import loading
from ml_models.versions import evidence, files, numbers
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened
from tests.support.served import ensemble, write

pytestmark = pytest.mark.django_db

needs_openvino = pytest.mark.skipif(bool(why_not_openvino()), reason=why_not_openvino())
PASSIVE = {"a": 0.5, "b": 1.0, "threshold": -2.0}
WITH = {"presentation": "fr_liveness", "liveness": {"passive": PASSIVE}}


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
    assert pipeline.presentation
    assert pipeline.presentation.engine == engine
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
