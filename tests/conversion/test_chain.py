"""The whole way once, on seeded weights of the true IR-50 layout: the author's file → an active version's answer."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

torch = pytest.importorskip("torch", reason="conversion tests run in the conversion environment: make convert-env")

from safetensors.torch import save_file  # noqa: E402

from ml_models import artifacts  # noqa: E402
from ml_models.adaface_model import AdaFaceModel  # noqa: E402
from ml_models.conversion.adaface.datasets import CITATION  # noqa: E402
from ml_models.conversion.adaface.seeded import seeded_network  # noqa: E402
from ml_models.engine.embed import golden_crops  # noqa: E402
from ml_models.models import Artifact, EnsembleConfig, RolloutChunk  # noqa: E402
from ml_models.rollouts import backfill  # noqa: E402
from tests.conftest import Portraits  # noqa: E402
from tests.support.pictures import another  # noqa: E402
from tests.support.served import CALIBRATION, RULE, activate  # noqa: E402
from tests.support.uploads import enroll, verify  # noqa: E402
from tests.support.work import work_off  # noqa: E402

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
NAME = "adaface_ir50_ms1mv2"


@pytest.fixture(scope="module")
def network() -> Any:
    return seeded_network("ir50", seed=7)


@pytest.fixture(scope="module")
def converted(network: Any) -> Iterator[Path]:
    """`convert_adaface --int8` on the author's wrapper's form: a folder with the float and the INT8 file."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        state = {f"model.net.{key}": tensor for key, tensor in network.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"conf": {"name": "ir50", "color_space": "BGR"}}))
        write_crops(folder / "crops")
        call_command(
            *("convert_adaface", str(folder / "model.safetensors"), "--dataset", "ms1mv2"),
            *("--output", str(folder / f"{NAME}.onnx"), "--int8", "--calibration", str(folder / "crops")),
            stdout=io.StringIO(),
            stderr=io.StringIO(),
        )
        yield folder


def write_crops(folder: Path) -> None:
    """The two public-domain portraits, turned, shifted and in other light, aligned already."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        crop = golden_crops()[index % 2]
        turn = cv2.getRotationMatrix2D((56, 56), rng.uniform(-15, 15), rng.uniform(0.9, 1.2))
        turn[:, 2] += rng.uniform(-6, 6, 2)
        moved = cv2.warpAffine(crop, turn, (112, 112), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        lit = np.clip(moved * rng.uniform(0.5, 1.3) + rng.normal(0, 6, moved.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index:02d}.png"), cv2.cvtColor(lit, cv2.COLOR_RGB2BGR))


def publish(path: Path, name: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("publish_model", path, name=name, family="adaface", json=True, stdout=out, stderr=io.StringIO())
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def test_from_the_authors_file_to_a_verified_face(
    network: Any,
    converted: Path,
    served: EnsembleConfig,
    service: APIClient,
    portraits: Portraits,
    settings: Any,
    tmp_path: Path,
) -> None:
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201  # under the version before

    # publish: create-only, and a second time nothing
    ensemble = ROOT / "config" / "ensembles" / "v3-adaface.yaml"
    with pytest.raises(CommandError, match=f"{NAME} is not published"):
        call_command("load_ensemble", ensemble)
    published = publish(converted / f"{NAME}.onnx", NAME)
    assert published["uploaded"] is True
    assert published["uri"].endswith(f"{settings.ML_MODELS['PREFIX']}{NAME}.onnx")
    assert published["citation"] == CITATION
    assert publish(converted / f"{NAME}.onnx", NAME) == {**published, "uploaded": False}
    int8 = publish(converted / f"{NAME}_int8.onnx", f"{NAME}_int8")
    assert int8["golden_min_cosine"] < published["golden_min_cosine"] == 0.9999
    assert int8["size"] < published["size"] / 3

    # pull and load, as a process on another machine does: from the bucket into an empty cache
    settings.ML_MODELS = {**settings.ML_MODELS, "CACHE_DIR": str(tmp_path / "cache")}
    adaface = Artifact.objects.get(name=NAME)
    assert artifacts.ensure_local(adaface).read_bytes() == (converted / f"{NAME}.onnx").read_bytes()
    quantised = artifacts.load(Artifact.objects.get(name=f"{NAME}_int8"))
    assert isinstance(quantised, AdaFaceModel)

    # the guide's version is loadable now, and refused until it is calibrated
    call_command("load_ensemble", ensemble)
    with pytest.raises(CommandError, match="run calibrate"):
        call_command("validate_config", "3")
    guide = yaml.safe_load(ensemble.read_text())
    members = [{**member, "calibration": CALIBRATION} for member in guide["members"]]
    names = sorted(member["artifact"] for member in members)
    activate(tmp_path, {**guide, "version": 4, "members": members, "voter_sets": {"+".join(names): RULE}})
    for chunk in RolloutChunk.objects.values_list("pk", flat=True):  # handed out already: no worker runs here
        backfill.embed_chunk(chunk)
    work_off()
    assert EnsembleConfig.objects.get(version=4).state == "active"

    # embed: the wrapper finds the active version's network and answers as PyTorch does
    model, crop = AdaFaceModel(), golden_crops()[0]
    bgr = torch.from_numpy(((crop[..., ::-1].astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None].copy())
    with torch.inference_mode():
        feature = network(bgr)[0].numpy()
    expected = feature / np.linalg.norm(feature)
    assert model.generate_embedding(crop) @ expected > 0.99999
    assert model.feature_norm(crop) == pytest.approx(float(np.linalg.norm(feature)), rel=1e-4)
    assert quantised.generate_embedding(crop) @ expected > 0.97

    # enrol and verify
    assert enroll(service, "child-1", another(portraits.eileen_collins)).status_code == 201
    answer = verify(service, "child-1", portraits.eileen_collins).json()
    assert (answer["decision"], answer["config_version"], answer["voters"]) == ("match", 4, names)
    config = service.get("/api/v1/face/config").json()
    cited = {member["name"]: member for member in config["members"]}[NAME]
    assert (cited["citation"], cited["commercial_use"]) == (CITATION, "allowed")
    assert "MS-Celeb-1M" in cited["training_data"]
