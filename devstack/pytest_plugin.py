"""Starts the services once for a test run, before Django reads its settings; loaded by `-p` in pyproject.toml.

Under pytest-xdist the controller starts them and the workers inherit their URLs; each worker has its own database
(pytest-django sees to it), its own Valkey database and its own prefix in the bucket.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit, urlunsplit

import pytest

from devstack.ephemeral import ephemeral_services
from devstack.state import State

_services = ExitStack()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """A wrapper, since those run before pytest-django's own hook, which loads the settings."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        environment = _services.enter_context(ephemeral_services())
        # a test that wants a network loads it; the demo model pack's files are fetched once a machine
        cache = os.environ.get("ML_MODELS_CACHE_DIR", str(State.default().path / "cache"))
        os.environ.update(environment, ML_MODELS_AUTOSTART="0", ML_MODELS_PREFIX="tests/", ML_MODELS_CACHE_DIR=cache)
    else:
        _separate(int(worker.removeprefix("gw")))
    yield


def pytest_unconfigure() -> None:
    _services.close()


def _separate(index: int) -> None:
    url = urlsplit(os.environ["REDIS_URL"])
    os.environ["REDIS_URL"] = urlunsplit(url._replace(path=f"/{index + 1}"))
    os.environ["ML_MODELS_PREFIX"] = f"tests/gw{index}/"
