"""The host service behind a real gunicorn, as `make run` starts it, on the tests' own database."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
from django.db import connection

from devstack import commands
from devstack.services import free_port
from devstack.state import ROOT

START_S = 60.0


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def raw(self, request: bytes) -> bytes:
        """Send bytes and read until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as raw:
            raw.sendall(request)
            return b"".join(iter(lambda: raw.recv(65_536), b""))

    @property
    def worker(self) -> psutil.Process:
        """The one process that answers."""
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def cpu_s(self) -> float:
        times = self.worker.cpu_times()
        return float(times.user + times.system)

    def set_back_peak(self) -> None:
        Path(f"/proc/{self.worker.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        status = Path(f"/proc/{self.worker.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def database_url(server: str = "") -> str:
    """The tests' own database on the server of this URL, for a process that a test starts."""
    url = urlsplit(server or os.environ["DATABASE_URL"])
    return urlunsplit(url._replace(path="/" + connection.settings_dict["NAME"]))


@contextmanager
def gunicorn(folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[Server]:
    """For a test with `transaction=True`: the server sees what is committed."""
    port, log = free_port(), folder / "gunicorn.log"
    # the machine may have much else to do; and a network is set up in onnxruntime in a tenth of the time
    ours = {"ML_MODELS_MAX_WAIT_S": "60", "ML_MODELS_INFERENCE": "onnxruntime", "WEB_GRACEFUL_TIMEOUT": "1"}
    changed = {**ours, **os.environ, **(changes or {})}
    environment = {
        **changed,
        "DATABASE_URL": database_url(changed["DATABASE_URL"]),
        "PORT": str(port),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *commands.WEB], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    try:
        _wait(port, process, log)
        yield Server(port, process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as probe:
                probe.request("GET", "/healthz")
                assert probe.getresponse().status == 200
                return
        except (ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"gunicorn did not start in {START_S} s: {log.read_text()}")
