"""A real Celery worker, as `make run` starts it, on the tests' own database, queue and bucket."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from celery import current_app

from devstack import commands
from devstack.state import ROOT

from .gunicorn import database_url


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen[bytes]
    log: Path

    def freeze(self) -> None:
        """Stop it and its children where they are, as a machine does that swaps or a disk that hangs."""
        os.killpg(self.process.pid, signal.SIGSTOP)


@contextmanager
def celery_worker(folder: Path) -> Iterator[Worker]:
    """For a test with `transaction=True`: the worker sees what is committed."""
    current_app.control.purge()  # earlier tests' hints
    log = folder / "worker.log"
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "tests.support.quick_settings",
        "WORKER_NICE": "0",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *commands.worker(1)],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield Worker(process, log)
    finally:
        with suppress(ProcessLookupError):  # a test has ended it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
