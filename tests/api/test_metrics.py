"""/metrics: who may read it, what it says, and what it never says."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from ml_models import checks, metrics, runtime
from ml_models.models import Embedding, EnsembleConfig, Rollout, ServingProcess
from ml_models.rollouts import progress
from tests.conftest import Portraits
from tests.support.uploads import verify

pytestmark = pytest.mark.django_db
TOKEN = "scrape-" + "0" * 20


@pytest.fixture
def scrape(settings: Settings) -> Callable[[], dict[str, float]]:
    """Read `/metrics` as a monitoring system does: value by name with labels."""
    settings.ML_MODELS = {**settings.ML_MODELS, "METRICS_TOKEN": TOKEN}

    def read() -> dict[str, float]:
        answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer["Content-Type"]) == (200, metrics.CONTENT_TYPE)
        lines = [line for line in answer.content.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    return read


def grown(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after.get(name, 0) - before.get(name, 0)


def test_a_verify_is_counted_by_decision_call_and_step_and_by_nothing_of_the_person(
    people: list[str], service: APIClient, portraits: Portraits, scrape: Callable[[], dict[str, float]]
) -> None:
    before = scrape()
    assert verify(service, people[0], portraits.eileen_collins).status_code == 200
    assert verify(service, people[0], portraits.grace_hopper).status_code == 200
    assert verify(service, people[0], b"no picture").status_code == 422
    after = scrape()

    counted = {
        'ml_models_requests_total{call="verify",code="ok"}': 2,
        'ml_models_requests_total{call="verify",code="undecodable_image"}': 1,
        'ml_models_request_seconds_count{call="verify"}': 3,
        'ml_models_decisions_total{outcome="match"}': 1,
        'ml_models_decisions_total{outcome="no_match"}': 1,
        'ml_models_decisions_total{outcome="undecodable_image"}': 1,
        'ml_models_frames_dropped_total{code="undecodable_image"}': 1,
        'ml_models_step_seconds_count{step="detect"}': 2,
        'ml_models_step_seconds_count{step="sface_2021dec"}': 2,
    }
    assert {name: grown(before, after, name) for name in counted} == counted
    text = " ".join(after)
    account = service._credentials["HTTP_AUTHORIZATION"].split()[1]  # type: ignore[attr-defined]
    assert not [secret for secret in (*people, account, TOKEN) if secret in text]


def test_what_a_policy_monitors_is_counted_by_verdict(
    people: list[str],
    service: APIClient,
    portraits: Portraits,
    scrape: Callable[[], dict[str, float]],
    settings: Settings,
) -> None:
    before = scrape()
    for mode in ("off", "monitor", "enforce"):
        settings.ML_MODELS = {**settings.ML_MODELS, "LIVENESS": {"verify": {"passive": mode}}}
        verify(service, people[0], portraits.eileen_collins)
    after = scrape()
    # this version has no network: monitored nobody can tell, enforced nobody is let through
    assert grown(before, after, 'ml_models_liveness_total{verdict="uncertain"}') == 1
    assert grown(before, after, 'ml_models_decisions_total{outcome="not_ready"}') == 1
    assert grown(before, after, 'ml_models_decisions_total{outcome="match"}') == 2


def test_the_processes_the_engines_and_the_version_are_told_from_the_database(
    people: list[str], scrape: Callable[[], dict[str, float]]
) -> None:
    runtime.report()
    (process,) = ServingProcess.objects.all()
    told = scrape()
    who = f'host="{process.host}",kind="web",pid="{process.pid}"'
    assert 0 <= told[f"ml_models_process_heartbeat_age_seconds{{{who}}}"] < 60
    assert told[f"ml_models_process_problems{{{who}}}"] == 0
    assert told['ml_models_version{state="active"}'] == 2
    assert told['ml_models_rollout_chunks{state="leased"}'] == 0
    assert "ml_models_rollout_missing" not in told
    assert told["ml_models_subjects_locked"] == 0
    for artifact, engine in process.engines.items():
        assert told[f'ml_models_engine_processes{{artifact="{artifact}",engine="{engine}"}}'] == 1


def test_an_open_rollout_tells_what_is_left_and_counts_it_once_a_minute(
    people: list[str], scrape: Callable[[], dict[str, float]], django_assert_num_queries: Any
) -> None:
    config = EnsembleConfig.objects.get(version=2)
    Rollout.objects.create(config=config, pairs=6)
    Embedding.objects.filter(reference__subject__subject_id=people[0]).delete()
    told = scrape()
    assert (told["ml_models_rollout_missing"], told["ml_models_rollout_pairs"]) == (3, 6)
    with django_assert_num_queries(1):
        progress.gauges()


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer None", f"Bearer {TOKEN}x", f"Token {TOKEN}"], ids=repr
)
@pytest.mark.parametrize("token", [None, "", TOKEN], ids=["unset", "empty", "set"])
def test_without_the_token_it_is_closed(settings: Settings, header: str, token: str | None) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "METRICS_TOKEN": token}
    answer = Client().get("/metrics", headers={"authorization": header} if header else {})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_the_token_opens_nothing_else(settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "METRICS_TOKEN": TOKEN}
    assert Client().get("/api/v1/face/config", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_a_short_token_is_refused_by_the_check(settings: Settings) -> None:
    for token, ids in ((None, []), (TOKEN, []), ("short", ["ml_models.E012"])):
        settings.ML_MODELS = {**settings.ML_MODELS, "METRICS_TOKEN": token}
        assert [message.id for message in checks.check_metrics_token()] == ids


def test_a_host_without_the_client_counts_nothing_and_serves(
    scrape: Any, service: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "installed", False)
    assert service.get("/readyz").status_code == 503  # no version: an answer, and it was not counted
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_counters_that_cannot_be_written_refuse_nobody(
    scrape: Callable[[], dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metrics._REQUESTS, "labels", full)
    assert Client().get("/healthz").status_code == 200


_TWO_PROCESSES = """
import os, sys
from pathlib import Path
from ml_models import metrics
metrics.answered("verify", "ok", 0.1)
if child := os.fork():
    os.waitpid(child, 0)
    assert len(list(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("counter_*.db"))) == 2
    sys.stdout.write(metrics.exposition([]).decode())
else:
    metrics.answered("verify", "ok", 0.1)
    os._exit(0)
"""


def test_any_process_answers_for_all_of_them(tmp_path: Path) -> None:

    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _TWO_PROCESSES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'ml_models_requests_total{call="verify",code="ok"} 2.0' in done.stdout


def test_a_host_without_the_package_can_import_what_counts() -> None:

    code = "import sys; sys.modules['prometheus_client'] = None; from ml_models import metrics; "
    code += (
        "metrics.answered('verify', 'ok', 1.0); metrics.verified('match', {'total': 1.0}); assert not metrics.installed"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
