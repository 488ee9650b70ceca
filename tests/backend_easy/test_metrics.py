"""The counts of several web processes, behind a real gunicorn."""

import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.support.gunicorn import Server, gunicorn

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "scrape-" + "0" * 20
ANSWERS = 'ml_models_requests_total{call="healthz",code="ok"}'


def get(server: Server, path: str) -> str:
    with closing(server.connect()) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()


def healthy_answers(server: Server) -> float:
    (line,) = [line for line in get(server, "/metrics").splitlines() if line.startswith(ANSWERS)]
    return float(line.rpartition(" ")[2])


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_any_worker_answers_for_all_and_for_one_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    monkeypatch.setenv("ML_MODELS_METRICS_TOKEN", TOKEN)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with gunicorn(tmp_path) as server:
        workers = psutil.Process(server.process.pid).children
        until(lambda: len(workers()) == 2)
        (folder,) = tmp_path.glob("ml_models-metrics-*")
        before, asked = healthy_answers(server), 0
        while len(list(folder.glob("counter_*.db"))) < 2 or asked < 10:  # until each of them has answered
            get(server, "/healthz")
            asked += 1
        told = {healthy_answers(server) for _ in range(6)}
        assert len(told) == 1  # whichever of them is asked
        assert min(told) >= before + asked  # more where a probe was given up on and answered after all

        killed = workers()[0]
        killed.send_signal(signal.SIGKILL)
        killed.wait(30)
        until(lambda: len(workers()) == 2)
        assert healthy_answers(server) >= before + asked
    assert not folder.exists()
