"""Fixtures for all tests. `devstack.pytest_plugin` has started the services by the time this is read."""

import copy
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection, connections
from django.db.models import Model
from pytest_django import DjangoDbBlocker, Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from devstack.portraits import eileen_collins, grace_hopper
from ml_models import rollouts, runtime
from ml_models.engine.inference import why_not_openvino
from ml_models.models import Artifact, ConfigStep, EnsembleConfig, EnsembleMember, Rollout
from tests.support import opened
from tests.support.served import PACK_CACHE, activate, ensemble, write
from tests.support.uploads import enroll

# a cache that is slow because the cores have much else to do is not one that is down
# and a core that comes late for that reason does come
django_settings.ML_MODELS["MAX_WAIT_S"] = 60.0
# a strong hash takes a third of a second; no test asks how strong it is
django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# proven equal as ever, and not timed first: tests/artifacts asks how an engine is chosen
django_settings.ML_MODELS["INFERENCE"] = "auto" if why_not_openvino() else "openvino"
django_settings.CACHES = {
    "default": {**django_settings.CACHES["default"], "OPTIONS": {"socket_connect_timeout": 30, "socket_timeout": 30}}
}


@dataclass(frozen=True)
class Portraits:
    """Public-domain JPEG files of two different people."""

    eileen_collins: bytes
    grace_hopper: bytes


@pytest.fixture(scope="session")
def portraits() -> Portraits:
    return Portraits(eileen_collins(), grace_hopper())


@pytest.fixture(scope="session", autouse=True)
def _networks_opened_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        opened.once(patch)
        yield


@pytest.fixture
def bucket(settings: Settings, tmp_path: Path) -> str:
    """The prefix of an empty place in the real bucket emulator, and an empty local cache, for one test."""
    prefix = f"tests/{uuid.uuid4().hex}/"
    settings.ML_MODELS = {**settings.ML_MODELS, "PREFIX": prefix, "CACHE_DIR": str(tmp_path / "cache")}
    return prefix


@pytest.fixture(scope="session")
def _version_rows(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> list[list[Model]]:
    """The demo pack in the bucket, once a session; its rows and version 2's by table, taken out of the database."""
    with django_db_blocker.unblock():
        call_command("fetch_demo_pack", cache_dir=PACK_CACHE)
        activate(tmp_path_factory.mktemp("ensemble"), ensemble())
        tables = (Artifact, EnsembleConfig, EnsembleMember, ConfigStep, Rollout)
        rows: list[list[Model]] = [list(table._default_manager.all()) for table in tables]
        for table in reversed(tables):
            table._default_manager.all().delete()
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE ml_models_auditevent")  # a DELETE is refused
    return rows


@pytest.fixture
def served(_version_rows: list[list[Model]], db: None) -> EnsembleConfig:
    """The active version, its networks loaded in this process."""
    for rows in _version_rows:
        type(rows[0])._default_manager.bulk_create(copy.deepcopy(rows))
    runtime.current().versions.clear()  # an earlier test may have changed the rows with these keys
    runtime.refresh()
    return EnsembleConfig.objects.get(state=EnsembleConfig.State.ACTIVE)


@pytest.fixture
def user(db: None, django_user_model: Any) -> Any:
    """A person without any permission."""
    return django_user_model.objects.create_user("parent")


@pytest.fixture
def grant() -> Callable[..., Any]:
    """Give a user permissions of the app: grant(user, "verify_subject", …) → the user, its cache fresh."""

    def give(user: Any, *codenames: str) -> Any:
        permissions = Permission.objects.filter(content_type__app_label="ml_models", codename__in=codenames)
        assert permissions.count() == len(codenames)
        user.user_permissions.add(*permissions)
        return type(user).objects.get(pk=user.pk)

    return give


@pytest.fixture
def service(db: None, django_user_model: Any, grant: Callable[..., Any]) -> APIClient:
    """A client with a token of a service that may act on every subject and see scores."""
    account = django_user_model.objects.create_user("kiosk")
    grant(account, "enroll_subject", "verify_subject", "read_subject", "erase_subject", "view_scores")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=account).key}")
    return client


@pytest.fixture
def people(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> list[str]:
    """Two enrolled subjects, each with the portrait of another person."""
    for subject, portrait in (("child-1", portraits.eileen_collins), ("child-2", portraits.grace_hopper)):
        assert enroll(service, subject, portrait).status_code == 201
    return ["child-1", "child-2"]


@pytest.fixture
def demo_pack(served: EnsembleConfig) -> dict[str, Artifact]:
    """The demo model pack's artifacts by name: files in the bucket, rows in the database."""
    return {artifact.name: artifact for artifact in Artifact.objects.all()}


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    """Run a function in a thread with a database connection of its own."""

    def closing(function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        yield lambda function, *args: pool.submit(closing, function, *args)


_OPERATORS_RIGHTS = (
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
    client.force_authenticate(grant(django_user_model.objects.create_user("operator"), *_OPERATORS_RIGHTS))
    return client


@pytest.fixture
def mirrored(people: list[str], tmp_path: Path) -> EnsembleConfig:
    """A validated version whose every space is new: it averages with the mirror image."""
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, flip=True))))
    rollouts.validate(rollouts.get_config(3))
    return rollouts.get_config(3)
