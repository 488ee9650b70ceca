"""The doors of the host service: probes, a replacement that loads for long, an ASGI server."""

from __future__ import annotations

import asyncio
import gc
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import requests
from django.db import OperationalError, connection
from django.test import Client
from rest_framework.authtoken.models import Token

from backend_easy import threads
from backend_easy.asgi import application
from devstack.services import free_port
from devstack.state import ROOT
from ml_models import runtime
from ml_models.models import ServingProcess
from tests.conftest import Portraits
from tests.support.gunicorn import database_url, gunicorn

pytestmark = pytest.mark.django_db(transaction=True)


def wait(done: Callable[[], Any], timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_probes_are_answered_by_address_and_without_tls(people: list[str], tmp_path: Path) -> None:
    with gunicorn(tmp_path, {"BEHIND_TLS": "1", "ALLOWED_HOSTS": "faces.example.org"}) as server:
        url = f"http://127.0.0.1:{server.port}"
        pod = {"Host": "10.1.2.3:8000"}
        assert requests.get(f"{url}/healthz", headers=pod, timeout=30, allow_redirects=False).status_code == 200
        wait(lambda: requests.get(f"{url}/readyz", headers=pod, timeout=30, allow_redirects=False).status_code == 200)
        # everything else is as strict as before
        page = f"{url}/api/v1/face/config"
        assert requests.get(page, headers=pod, timeout=30, allow_redirects=False).status_code == 400
        named = {"Host": "faces.example.org"}
        assert requests.get(page, headers=named, timeout=30, allow_redirects=False).status_code == 301
        assert ServingProcess.objects.count() == 1
    assert not ServingProcess.objects.exists()  # or a rollout would wait for it


@pytest.mark.parametrize("allowed", ["*", ".example.org"])
def test_probes_are_answered_where_hosts_are_allowed_by_a_pattern(settings: Any, allowed: str) -> None:
    settings.ALLOWED_HOSTS = [allowed]
    assert Client().get("/healthz", headers={"host": "10.1.2.3:8000"}).status_code == 200


def test_a_process_that_has_to_start_on_a_full_disk_serves(people: list[str], tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server:
        ready = f"http://127.0.0.1:{server.port}/readyz"
        wait(lambda: requests.get(ready, timeout=30).status_code == 200)
        arbiter, first = psutil.Process(server.process.pid), server.worker.pid
        _, most = arbiter.rlimit(psutil.RLIMIT_FSIZE)
        arbiter.rlimit(psutil.RLIMIT_FSIZE, (0, most))  # inherited: no file may grow
        server.worker.kill()
        wait(lambda: arbiter.children() and server.worker.pid != first)
        second = server.worker.pid
        # asked of the second one, or of the next one if that could not start
        wait(lambda: requests.get(ready, timeout=60).status_code == 200)
        assert server.worker.pid == second


def test_a_replacement_that_loads_for_minutes_tells_the_server_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    worker = SimpleNamespace(age=2, notify=lambda: told.append(time.monotonic()))
    loaded: list[bool] = []

    def load(active_only: bool) -> None:
        time.sleep(2.5)
        loaded.append(active_only)

    monkeypatch.setattr(runtime, "refresh", load)
    monkeypatch.setattr(runtime, "start", lambda: loaded.append(len(told) >= 2))
    runpy.run_path(str(ROOT / "config" / "gunicorn.conf.py"))["post_worker_init"](worker)
    gc.unfreeze()
    assert loaded == [True, True]
    time.sleep(1.2)
    assert len(told) == 2  # who has loaded speaks for itself again


def test_a_replacement_that_finds_the_database_gone_begins_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let out of the hook, the error would end the whole server."""
    told: list[str] = []
    log = SimpleNamespace(warning=lambda text, *values: told.append(text % values))
    worker = SimpleNamespace(age=2, notify=lambda: None, log=log)

    def refresh(active_only: bool) -> None:
        raise OperationalError("faces.example.org refuses")

    monkeypatch.setattr(runtime, "refresh", refresh)
    monkeypatch.setattr(runtime, "start", lambda: told.append("started"))
    runpy.run_path(str(ROOT / "config" / "gunicorn.conf.py"))["post_worker_init"](worker)
    gc.unfreeze()
    assert told == ["the database does not answer (OperationalError); loading in the background", "started"]


def test_a_process_that_ends_while_the_database_is_gone_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    server = SimpleNamespace(log=SimpleNamespace(warning=lambda text, *values: told.append(text % values)))

    def stop() -> None:
        raise OperationalError("faces.example.org refuses")

    monkeypatch.setattr(runtime, "stop", stop)
    runpy.run_path(str(ROOT / "config" / "gunicorn.conf.py"))["worker_exit"](server, None)
    assert told == ["left the list of serving processes to time out: OperationalError"]


def test_what_is_imported_is_not_walked_by_each_full_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "start", lambda: None)
    # one of the first accepts at once: nobody else answers yet
    monkeypatch.setattr(runtime, "refresh", lambda **_: pytest.fail("it loads before it accepts"))
    hooks = runpy.run_path(str(ROOT / "config" / "gunicorn.conf.py"))
    gc.unfreeze()
    try:
        hooks["post_worker_init"](SimpleNamespace(age=1, notify=lambda: None))
        assert gc.get_freeze_count() > 100_000
    finally:
        gc.unfreeze()


@contextmanager
def uvicorn(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "backend_easy.asgi:application", "--port", str(port)]
    environment = {**os.environ, "DATABASE_URL": database_url()}
    with (folder / "uvicorn.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)


def test_an_asgi_server_loads_serves_and_takes_itself_off_the_list(
    people: list[str], portraits: Portraits, tmp_path: Path
) -> None:
    headers = {"Authorization": f"Token {Token.objects.get().key}"}

    def ready(url: str) -> bool:
        try:
            return requests.get(f"{url}/readyz", timeout=30).status_code == 200
        except requests.ConnectionError:
            return False

    data, files = {"subject_id": people[0]}, {"image": ("a.jpg", portraits.eileen_collins)}
    with uvicorn(tmp_path) as url:
        wait(lambda: ready(url))
        answers = [
            requests.post(f"{url}/api/v1/face/verify", headers=headers, timeout=60, data=data, files=files)
            for _ in range(20)
        ]
        assert {answer.json()["decision"] for answer in answers} == {"match"}
        assert ServingProcess.objects.count() == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            assert cursor.fetchone()[0] == threads.CONNECTIONS + 1
    assert ServingProcess.objects.count() == 0


def test_a_web_socket_is_closed() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(application({"type": "websocket", "path": "/healthz", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close"}]
