"""A worker's end."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_models.models import ServingProcess
from tests.support.worker import celery_worker

pytestmark = pytest.mark.django_db(transaction=True)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def test_a_worker_that_is_told_to_end_does_not_look_as_if_it_hung(tmp_path: Path) -> None:
    with celery_worker(tmp_path) as worker:
        assert within(60, ServingProcess.objects.exists), worker.log.read_text()
        worker.process.terminate()
        worker.process.wait(60)
        assert not ServingProcess.objects.exists()
