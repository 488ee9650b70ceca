"""How the service stands: by the database's clock, from rows alone."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from ml_models import tasks
from ml_models.models import Identification, JobRun, ServingProcess, Verification
from ml_models.services import overview

pytestmark = pytest.mark.django_db


def process(kind: str, silent_s: float, pid: int) -> None:
    at = Now() - timedelta(seconds=silent_s)
    ServingProcess.objects.create(host="bus", pid=pid, kind=kind, heartbeat_at=at, started_at=Now())


Rows = type[Verification | Identification]


def attempt(rows: Rows, hours_ago: float, **outcome: Any) -> None:
    more = {"roster_digest": "0" * 64, "roster_size": 2, "candidates": 2} if rows is Identification else {}
    row = rows.objects.create(**outcome, **more)
    rows.objects.filter(pk=row.pk).update(at=Now() - timedelta(hours=hours_ago))


def test_a_process_that_stops_reporting_itself_is_silent_within_40_s_and_forgotten_later() -> None:
    process("web", 5, 1)
    process("web", 31, 2)
    process("worker", 3600, 3)
    health = overview.health()
    assert health.live == {"web": ["bus:1"], "worker": []}
    assert list(health.silent) == ["web bus:2"]
    assert 31 <= health.silent["web bus:2"] < 60


def test_the_jobs_of_beat_count_as_run_once_the_task_is_done_and_not_when_it_was_long_ago() -> None:
    assert (overview.health().job_s, overview.health().jobs_run) == (None, False)
    for _ in range(2):
        tasks.audit()
    assert JobRun.objects.count() == 1
    assert overview.health().jobs_run
    JobRun.objects.update(ran_at=Now() - timedelta(seconds=31))
    assert not overview.health().jobs_run


@pytest.mark.parametrize("rows", [Verification, Identification])
def test_attempts_are_counted_by_hour_and_outcome_beside_the_day_before(rows: Rows) -> None:
    attempt(rows, 0.1, decision="match")
    attempt(rows, 0.2, code="no_face_found")
    attempt(rows, 1.5, decision="no_match")
    attempt(rows, 23.9, code="inference_failed")
    attempt(rows, 24.1, decision="match")
    attempt(rows, 47.9, decision="match")
    attempt(rows, 48.1, decision="match")
    counted = overview.attempts(rows)
    assert counted.hours[-1] == {"match": 1, "not_acquired": 1}
    assert counted.hours[-2] == {"no_match": 1}
    assert counted.hours[0] == {"failed": 1}
    assert counted.lately.total() == 4
    assert counted.before == {"match": 2}
