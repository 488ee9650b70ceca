"""The whole service for one drill: real processes, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from devstack import commands, services
from devstack.processes import Child, Interruption, StackError, Supervisor
from devstack.state import ROOT, State, say, service_environment

READY_TIMEOUT_S = 120.0
# stands in the logs, where `leaks` looks for the subjects' ids ("drill-7"): a folder may not look like one
FOLDER = "stack-"


class Stack:
    """PostgreSQL, Valkey, the bucket, gunicorn, Celery and beat."""

    def __init__(self, supervisor: Supervisor, state: State, environment: dict[str, str]) -> None:
        self.supervisor, self.state, self.environment = supervisor, state, environment
        self.url = f"http://127.0.0.1:{environment['PORT']}"
        self.token = ""

    def child(self, name: str) -> Child:
        return next(child for child in self.supervisor.children if child.name == name)

    def start_servers(self) -> None:
        web = self.start("web", commands.WEB)
        self.start("worker", commands.worker(concurrency=1))
        self.start("beat", commands.beat(str(self.state.path / "beat-schedule")))
        self.supervisor.wait_until(self.ready, web, READY_TIMEOUT_S, "the web server", poll_s=0.25)

    def stop_servers(self) -> None:
        for name in ("beat", "worker", "web"):
            self.stop(self.child(name))

    def start_second_worker(self) -> Child:
        return self.start("worker-2", [*commands.worker(concurrency=1), "--hostname", "second@%h"])

    def start(self, name: str, command: list[str]) -> Child:
        """Run a Python module beside the services."""
        return self.supervisor.start(name, [sys.executable, "-m", *command], env=self.environment, cwd=ROOT)

    def kill(self, name: str) -> Callable[[], Child]:
        """SIGKILL a server and all its processes. Returns: what starts it again."""
        child = self.child(name)
        self.supervisor.kill(child)
        return lambda: self.supervisor.start_again(child)

    def stop(self, child: Child) -> None:
        """Ask a server to end, and end it when it does not within a minute."""
        child.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(60)
        self.supervisor.kill(child)

    def ready(self) -> bool:
        try:
            with services.LOOPBACK.open(f"{self.url}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def call(self, method: str, path: str, **data: Any) -> dict[str, Any]:
        """An operator's call. Raises: StackError with the service's own words when it is refused."""
        answer = requests.request(
            method,
            f"{self.url}/api/v1/face/{path}",
            json=data or None,
            headers={"Authorization": f"Token {self.token}"},
            timeout=60,
        )
        if not answer.ok:
            raise StackError(f"{method} {path} was refused: {answer.text}")
        body: dict[str, Any] = answer.json()
        return body


def pool_process(worker: Child) -> psutil.Process:
    """The forked process of a Celery worker that does the work."""
    [process] = psutil.Process(worker.process.pid).children()
    return process


@contextmanager
def stack(interruption: Interruption) -> Iterator[Stack]:
    """Services with crash safety on, in a folder of their own that is gone afterwards; Django set up on them."""
    folder = Path(tempfile.mkdtemp(prefix=FOLDER))
    state = State(folder)
    state.create()
    (folder / "metrics").mkdir()
    supervisor = Supervisor(state.logs, interruption)
    try:
        environment = service_environment(state)
        for name in ("DATABASE_URL", "REDIS_URL", "STORAGE_EMULATOR_HOST"):
            environment.pop(name, None)  # never a database that somebody else uses
        environment |= services.start_missing(supervisor, state, environment, durable=True)
        environment |= {
            "DJANGO_SETTINGS_MODULE": "backend_easy.settings",
            "PORT": str(services.free_port()),
            "ML_MODELS_CACHE_DIR": str(_own_cache(folder)),
            "TMPDIR": str(folder / "tmp"),
            # counts are no temporary files of a request's
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
            "ML_MODELS_AUTOSTART": "0",
            "LOG_LEVEL": "WARNING",
            "WEB_GRACEFUL_TIMEOUT": "3",
            # one account shows the impostors of a whole fleet
            "ML_MODELS_LOCKOUT_AFTER": "0",
        }
        os.environ.update(environment)
        import django

        django.setup()
        yield Stack(supervisor, state, environment)
    except StackError:
        for child in supervisor.children:
            say(f"{child.name}:{child.log_tail()}")
        raise
    finally:
        supervisor.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _own_cache(folder: Path) -> Path:
    """A copy of what the development stack has built and pulled: a drill fills the disk and takes files away."""
    earlier, own = Path(os.environ.get("ML_MODELS_CACHE_DIR", State.default().path / "cache")), folder / "cache"
    if earlier.is_dir():
        shutil.copytree(earlier, own)
    (folder / "tmp").mkdir()
    return own


def wait(
    done: Callable[[], bool], timeout_s: float, what: str, poll_s: float = 0.1, telling: Callable[[], str] | None = None
) -> float:
    """Poll until it is so, telling every ten seconds how far it is. Returns: the seconds that it took.

    Raises: StackError when it takes too long.
    """
    began = reported = time.monotonic()
    while not done():
        now = time.monotonic()
        if now - began > timeout_s:
            raise StackError(f"{what} took longer than {timeout_s:.0f} s. {telling() if telling else ''}")
        if telling and now - reported > 10:
            reported = now
            say(f"    {now - began:.0f} s: {telling()}")
        time.sleep(poll_s)
    return time.monotonic() - began
