"""An operator, two people enrolled under the active version 2, and a validated version whose every space is new."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

from ml_models import rollouts
from ml_models.models import EnsembleConfig
from tests.support.served import ensemble, write

RIGHTS = (
    "view_ensembleconfig",
    "validate_config",
    "activate_config",
    "rollback_config",
    "view_rollout",
    "control_rollout",
)


@pytest.fixture
def operator(grant: Any, django_user_model: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(grant(django_user_model.objects.create_user("operator"), *RIGHTS))
    return client


@pytest.fixture
def mirrored(people: list[str], tmp_path: Path) -> EnsembleConfig:
    """A validated version whose every space is new: it averages with the mirror image."""
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, flip=True))))
    rollouts.validate(rollouts.get_config(3))
    return rollouts.get_config(3)
