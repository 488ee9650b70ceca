"""Operators of the panel: staff accounts, each with the rights a test names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from ml_models import rollouts
from ml_models.models import EnsembleConfig
from tests.support.served import ensemble, write

VIEWS = (
    "view_ensembleconfig",
    "view_rollout",
    "view_rolloutfailure",
    "view_artifact",
    "view_subject",
    "view_reference",
    "view_verification",
    "view_servingprocess",
    "view_erasure",
    "view_auditevent",
    "view_evaluationreport",
    "view_credentialcount",
    "view_group",
    "view_identification",
)
DEEDS = (
    "add_ensembleconfig",
    "change_ensembleconfig",
    "validate_config",
    "activate_config",
    "rollback_config",
    "discard_config",
    "end_warmth",
    "control_rollout",
    "erase_subject",
    "release_subject",
    "release_credential",
    "exempt_subject",
    "view_scores",
)


@pytest.fixture
def staff(grant: Any, django_user_model: Any) -> Callable[..., Client]:
    """A browser in which somebody with exactly these rights is logged in."""

    def made(*codenames: str, **options: Any) -> Client:
        name = f"staff{django_user_model.objects.count()}"
        account = grant(django_user_model.objects.create_user(name, is_staff=True), *codenames)
        client = Client(**options)
        client.force_login(account)
        return client

    return made


@pytest.fixture
def operator(staff: Callable[..., Client]) -> Client:
    """Everything that the panel offers."""
    return staff(*VIEWS, *DEEDS)


@pytest.fixture
def viewer(staff: Callable[..., Client]) -> Client:
    return staff(*VIEWS)


@pytest.fixture
def draft(served: EnsembleConfig, tmp_path: Path) -> EnsembleConfig:
    """Version 3: every space is new, for it averages with the mirror image."""
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, name="mirrored", flip=True))))
    return rollouts.get_config(3)


@pytest.fixture
def validated(draft: EnsembleConfig) -> EnsembleConfig:
    rollouts.validate(draft)
    return rollouts.get_config(3)
