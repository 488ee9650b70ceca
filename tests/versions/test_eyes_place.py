"""A network for eyes in a version: it travels with the file, decides who becomes a reference, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from PIL import Image
from pytest_django import Settings
from rest_framework.test import APIClient

from ml_models import artifacts, rollouts
from ml_models.engine.detect import Detector
from ml_models.engine.errors import ArtifactRejected, ContractMismatch, GoldenMismatch
from ml_models.evaluation.pictures.glasses import clear_glasses, dark_glasses
from ml_models.evaluation.pictures.scene import Scene
from ml_models.exceptions import ConfigInvalid
from ml_models.models import Artifact, AuditEvent, EnsembleConfig, PlacedArtifact, Reference
from ml_models.studies import loading
from ml_models.versions import evidence, files, numbers
from ml_models.versions.validation import problems
from tests.conftest import Portraits
from tests.support.networks import tiny_eyes
from tests.support.pictures import encoded, opened
from tests.support.served import activate, ensemble, rewrite, write
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db

EYES: dict[str, Any] = {"eyes": "eyes"}
# what pixels tell without a network, and what the networks' features tell: neither is the matter here
ALONE = {"quality_limits": {"enroll": {"min_eye_contrast": 0.0, "min_score": 0.0}}}


def load(folder: Path, **changes: Any) -> EnsembleConfig:
    return files.load(write(folder, ensemble(3, **changes)))[0]


def behind(covering: Any, data: bytes, seed: int = 3) -> bytes:
    """A portrait with glasses drawn on."""
    detector = artifacts.load(Artifact.objects.get(name="yunet_2023mar"))
    assert isinstance(detector, Detector)
    image = np.asarray(opened(data))
    scene = Scene.of(image, detector.detect(image)[0].landmarks)
    return encoded(Image.fromarray(covering(scene, np.random.default_rng(seed))), "PNG")


def test_it_travels_with_the_version_and_cannot_change(served: EnsembleConfig, tmp_path: Path) -> None:
    config = load(tmp_path, **EYES)
    assert files.load(write(tmp_path, ensemble(3, **EYES)))[1] == "unchanged"
    for version in (config, files.clone(config)):
        assert files.export(version)["eyes"] == "eyes"
        assert Artifact.objects.get(name="eyes") in version.artifacts
    assert "eyes" not in files.export(served)
    rollouts.validate(config)
    config.refresh_from_db()
    with pytest.raises(ValidationError, match="clone"):
        PlacedArtifact(config=config, place="eyes", artifact=config.detector).save()


@pytest.mark.parametrize("digest", [evidence.config_digest, numbers.pipeline_digest])
def test_evidence_and_what_is_kept_of_pictures_know_its_file(
    served: EnsembleConfig, tmp_path: Path, digest: Callable[[EnsembleConfig], str]
) -> None:
    digests = [digest(load(tmp_path)), digest(load(tmp_path, **EYES))]
    Artifact.objects.filter(name="eyes").update(sha256="0" * 64)
    assert len({*digests, digest(EnsembleConfig.objects.get(version=3))}) == 3


@pytest.mark.parametrize("eyes", [["eyes"], ["eyes", "fr_liveness"], {"eyes": 1}, 3])
def test_what_is_not_the_name_of_one_file_is_refused(served: EnsembleConfig, tmp_path: Path, eyes: Any) -> None:
    with pytest.raises(ConfigInvalid, match=r"eyes is the name of an artifact\."):
        load(tmp_path, eyes=eyes)


def test_a_file_of_another_kind_takes_no_place_and_terms_count(
    served: EnsembleConfig, tmp_path: Path, settings: Settings
) -> None:
    wrong = load(tmp_path, eyes="fr_liveness")
    assert problems(wrong) == ["fr_liveness is published as presentation; its place takes eyes."]
    with pytest.raises(ArtifactRejected, match="takes eyes"):
        loading.pipeline(wrong)
    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": False}
    assert "eyes: commercial use of the weights is unknown" in str(problems(load(tmp_path, **EYES)))


def test_covered_eyes_are_refused_as_references_unless_overridden_and_verified_all_the_same(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, tmp_path: Path, grant: Any, django_user_model: Any
) -> None:
    activate(tmp_path, ensemble(3, **EYES, **ALONE))
    clear, dark = (behind(shape, portraits.eileen_collins) for shape in (clear_glasses, dark_glasses))
    refused = enroll(service, "child-1", dark)
    assert (refused.status_code, refused.json()["code"]) == (422, "low_quality")
    (reason,) = refused.json()["details"]
    assert (reason["code"], reason["measure"], reason["at_least"]) == ("eyes_covered", "eyes_visible", 0.6)
    assert reason["value"] < 0.6
    assert not Reference.objects.exists()

    welcome = enroll(service, "child-1", clear)
    assert (welcome.status_code, welcome.json()["warnings"]) == (201, [])
    assert welcome.json()["quality"]["eyes_visible"] > 0.6
    seen = verify(service, "child-1", dark)
    assert (seen.status_code, seen.json()["quality"]["reasons"]) == (200, [])
    assert seen.json()["quality"]["eyes_visible"] < 0.6

    grant(django_user_model.objects.get(username="kiosk"), "override_reference")
    (warning,) = enroll(service, "child-2", behind(dark_glasses, portraits.grace_hopper), override="true").json()[
        "warnings"
    ]
    assert "eyes seem to be covered" in warning
    event = AuditEvent.objects.latest("pk")
    assert (event.kind, event.facts["reason"]) == ("override", "eyes_covered")


def test_a_version_without_one_does_not_tell_of_eyes(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    rewrite(**ALONE)
    answer = enroll(service, "child-1", behind(dark_glasses, portraits.eileen_collins))
    assert (answer.status_code, answer.json()["quality"]["eyes_visible"]) == (201, None)


def test_what_a_later_build_knows_is_refused_by_this_one(served: EnsembleConfig, tmp_path: Path) -> None:
    config = load(tmp_path, **EYES)
    PlacedArtifact.objects.update(place="ears")
    Artifact.objects.filter(name="eyes").update(kind="ears")
    later = EnsembleConfig.objects.get(pk=config.pk)
    assert problems(later) == ["This build has no place called ears: a later one made the version."]
    with pytest.raises(ArtifactRejected, match="does not know the kind ears"):
        loading.pipeline(later)


def test_another_network_for_eyes_is_published_with_its_facts(served: EnsembleConfig, tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    said = {"contract": {"kind": "eyes", "input": "eyes", "output": "covered"}, "weights_licence": "Ours."}
    facts.write_text(json.dumps(said))
    file = tiny_eyes(tmp_path / "ours.onnx")
    call_command("publish_model", str(file), "--name", "our_eyes", "--family", "eyes", "--facts", str(facts))
    artifact = Artifact.objects.get(name="our_eyes")
    assert (artifact.kind, artifact.weights_licence, artifact.golden_vectors.shape) == ("eyes", "Ours.", (2, 2))
    network = loading.pipeline(load(tmp_path, eyes="our_eyes")).eyes
    assert network
    assert network.golden == pytest.approx(artifact.golden_vectors)

    Artifact.objects.filter(pk=artifact.pk).update(golden=np.zeros((2, 2), "<f4").tobytes())
    with pytest.raises(GoldenMismatch):
        loading.pipeline(EnsembleConfig.objects.get(version=3))
    Artifact.objects.filter(pk=artifact.pk).update(graph_sha256="0" * 64)
    with pytest.raises(ContractMismatch, match="not the one that was published"):
        loading.pipeline(EnsembleConfig.objects.get(version=3))


def test_a_picture_is_told_of_covered_eyes_before_an_attempt(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, tmp_path: Path
) -> None:
    activate(tmp_path, ensemble(3, **EYES, **ALONE))
    dark = behind(dark_glasses, portraits.eileen_collins)

    def told(purpose: str) -> list[str]:
        answer = service.post("/api/v1/face/quality", {"image": SimpleUploadedFile("p.png", dark), "purpose": purpose})
        return [reason["code"] for reason in answer.json()["quality"]["details"]]

    assert told("enroll") == ["eyes_covered"]
    assert told("verify") == []
