import os
from collections.abc import Iterator

import pytest
from google.cloud.storage._bucket_metadata_cache import BucketMetadataCache
from pytest_django import Settings

from ml_models.artifacts import gcs
from tests.support import opened
from tests.support.flaky import Line, flaky_line

PIECE = 256 * 1024


@pytest.fixture(autouse=True)
def _networks_opened_anew(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """As in the service: at each load, and in the engine that was chosen."""
    settings.ML_MODELS = {**settings.ML_MODELS, "INFERENCE": "auto"}
    opened.anew(monkeypatch)


@pytest.fixture(autouse=True)
def _nothing_asked_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's client asks where a bucket lies in a thread of its own, which tries again long after its test and
    draws its waits from `random`: Hypothesis takes that for the strategy of whatever test runs then."""
    monkeypatch.setattr(BucketMetadataCache, "_fetch_background", lambda *_: None)


@pytest.fixture
def line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line to the bucket that can be told to fail, uploads in pieces of 256 KiB, and no long waits."""
    monkeypatch.setattr(gcs, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(gcs, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(gcs, "TIMEOUT_S", 2.0)
    with flaky_line(os.environ["STORAGE_EMULATOR_HOST"]) as line:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", line.url)
        yield line
