"""The import paths that hosts rely on, wherever the code behind them lives."""

import pytest
from django.utils.module_loading import import_string

from ml_models import models
from ml_models.wrapper import FaceModel

PATHS = [
    "config.FACE_RECOGNITION_MODELS",
    "adaface_model.AdaFaceModel",
    "arcface_model.ArcFaceModel",
    "mobilefacenet_model.MobileFaceNetModel",
    "sface_model.SFaceModel",
    "eyewear_model.EyewearModel",
    "broker.Transport",
    "services.verify",
    "services.enroll",
    "services.erase_subject",
    "services.erase_reference",
    "rollouts.validate",
    "rollouts.discard",
    "rollouts.open_rollout",
    "rollouts.advance",
    "rollouts.cut_over",
    "rollouts.roll_back",
    "rollouts.pause",
    "rollouts.resume",
    "rollouts.abort",
    "rollouts.get_config",
    "rollouts.get_rollout",
    "rollouts.failures_allowed",
    "artifacts.publish",
    "artifacts.ensure_local",
    "artifacts.require_in_bucket",
    "artifacts.local_path",
    "artifacts.object_name",
    "runtime.start",
    "runtime.stop",
    "runtime.refresh",
    "signals.verification_decided",
    "signals.subject_erased",
    "signals.rollout_finished",
    "signals.subject_locked_out",
    "signals.audit_chained",
    "signals.subject_released",
    "signals.credential_suspected",
    "signals.reference_overridden",
    "crypto.EnvironmentKeys",
    "crypto.KeyProvider",
    "api.access.default_policy",
    "api.access.self_service",
    "services.audit.record",
    "services.lockout.release",
    "tasks.tick",
    "tasks.embed_chunk",
    "tasks.audit",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_public_path_leads_to_something(path: str) -> None:
    assert import_string(f"ml_models.{path}") is not None


def test_every_model_is_imported_from_one_place() -> None:
    from django.apps import apps

    for model in apps.get_app_config("ml_models").get_models():
        assert getattr(models, model.__name__) is model


@pytest.mark.parametrize("path", [path for path in PATHS if "_model." in path])
def test_the_guides_models_are_wrappers_of_a_family(path: str) -> None:
    model = import_string(f"ml_models.{path}")
    assert issubclass(model, FaceModel)
    assert model.family in import_string("ml_models.config.FACE_RECOGNITION_MODELS")


def test_the_tasks_keep_their_names_in_the_queue() -> None:
    from ml_models import tasks

    assert (tasks.tick.name, tasks.embed_chunk.name) == ("ml_models.tick", "ml_models.embed_chunk")
    assert tasks.audit.name == "ml_models.audit"
