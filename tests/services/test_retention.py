"""Audit rows are kept for so long and no longer."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from backend_easy.celery import app
from ml_models import checks, tasks
from ml_models.models import EnsembleConfig, Rollout, ShadowScore, Verification
from ml_models.services import retention
from tests.support.races import LONG_S

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def a_month(settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "RETENTION_DAYS": 30}


def verified(days_ago: float, config: EnsembleConfig | None = None) -> Verification:
    row = Verification.objects.create(decision="match", config=config)
    Verification.objects.filter(pk=row.pk).update(at=Now() - timedelta(days=days_ago))
    return row


def test_older_rows_go_in_batches_and_a_second_run_does_nothing(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    young = [verified(0), verified(29)]
    for _ in range(5):
        verified(31)
    with CaptureQueriesContext(connection) as queries:
        tasks.remove_expired()
    deletes = [query for query in queries if query["sql"].startswith('DELETE FROM "ml_models_verification"')]
    assert len(deletes) == 3
    assert set(Verification.objects.all()) == set(young)
    assert retention.remove_expired() == 0
    assert Verification.objects.count() == 2


def test_a_score_in_the_shadow_goes_by_its_own_age_and_with_its_verify(served: EnsembleConfig) -> None:
    rollout = Rollout.objects.create(config=served)
    rows = [
        ShadowScore.objects.create(rollout=rollout, verification=verified(days, served), score=1.0)
        for days in (31, 29, 0)
    ]
    ShadowScore.objects.filter(pk=rows[1].pk).update(at=Now() - timedelta(days=31))
    assert retention.remove_expired() == 2
    assert list(ShadowScore.objects.all()) == [rows[2]]
    assert Verification.objects.count() == 2


@pytest.mark.parametrize("forever", [0, None, -1])
def test_nothing_goes_where_rows_are_kept_for_ever(forever: Any, settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "RETENTION_DAYS": forever}
    verified(10_000)
    assert retention.remove_expired() == 0
    assert Verification.objects.exists()


@pytest.mark.parametrize("name", ["RETENTION_DAYS", "AUDIT_DAYS"])
@pytest.mark.parametrize(
    ("days", "ids"), [(30, []), (0, []), (None, []), (-1, ["ml_models.E007"]), ("", ["ml_models.E007"])]
)
def test_a_number_of_days_that_is_none_is_told(name: str, days: Any, ids: list[str], settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, name: days}
    assert [message.id for message in checks.check_retention()] == ids


def test_a_run_leaves_the_rest_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    verified(31)
    monkeypatch.setattr(retention, "MOST_S", 0.0)
    assert retention.remove_expired() == 0
    monkeypatch.undo()
    assert retention.remove_expired() == 1


@pytest.mark.django_db(transaction=True)
def test_a_row_that_somebody_holds_is_not_waited_for(background: Any) -> None:
    held, other = verified(32), verified(31)
    with transaction.atomic():
        Verification.objects.select_for_update().get(pk=held.pk)
        assert background(retention.remove_expired).result(LONG_S) == 1
        assert not Verification.objects.filter(pk=other.pk).exists()
    assert retention.remove_expired() == 1


def test_beat_sends_a_task_that_exists() -> None:
    sent = {entry["task"] for entry in django_settings.CELERY_BEAT_SCHEDULE.values()}
    assert {tasks.tick.name, tasks.remove_expired.name} <= sent
    assert sent <= app.tasks.keys()
