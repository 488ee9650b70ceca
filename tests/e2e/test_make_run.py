"""`make run` as a person meets it: an empty state directory, a terminal, curl."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from devstack.prepare import FIRST_ACTIVE
from devstack.services import free_port
from devstack.state import ROOT
from tests.support.processes import has_ended

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("make_run")]

# nothing is timed by these: the cores may have much else to do
START_TIMEOUT_S, PATIENCE_S = 600, 240


class MakeRun:
    """One `make run` in its own session, as in a terminal of its own."""

    def __init__(self, state: Path, port: int) -> None:
        self.state, self.port, self.output = state, port, state / "terminal.txt"
        with self.output.open("wb") as terminal:
            self.process = subprocess.Popen(
                ["make", "run"],
                cwd=ROOT,
                env=plain_environment(state, port),
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_ready(self) -> None:
        began = time.monotonic()
        while "Ctrl-C stops everything" not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() - began < START_TIMEOUT_S, self.said()
            time.sleep(0.1)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def curl_lines(self) -> list[str]:
        return re.findall(r"^curl .*$", self.said(), re.MULTILINE)

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)


def plain_environment(state: Path, port: int) -> dict[str, str]:
    """This process' environment without what the test run itself has set."""
    ours = ("DATABASE_URL", "REDIS_URL", "STORAGE_EMULATOR_HOST", "SECRET_KEY", "MAKE", "ML_MODELS_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # the model files come from the machine's cache; everything else starts from nothing
    cache = os.environ["ML_MODELS_CACHE_DIR"]
    return environment | {"DEVSTACK_DIR": str(state), "PORT": str(port), "ML_MODELS_CACHE_DIR": cache}


def paste(line: str) -> dict[str, Any]:
    outcome = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    return json.loads(outcome.stdout)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture
def start(state: Path) -> Iterator[Callable[[], MakeRun]]:
    """Start a stack over the same folder, each time it is called."""
    started: list[MakeRun] = []

    def begin() -> MakeRun:
        started.append(MakeRun(state, free_port()))
        return started[-1]

    yield begin
    for stack in started:
        if stack.process.poll() is None:
            stack.press_ctrl_c()
            stack.process.wait(30)


def test_the_first_start_serves_and_the_second_repeats_nothing(start: Callable[[], MakeRun]) -> None:
    _first(start())
    _second(start())


def _first(make_run: MakeRun) -> None:
    """The printed lines enroll and verify when pasted; Ctrl-C ends everything."""
    make_run.wait_ready()
    assert "for development, demos and tests only" in make_run.said()
    assert "standing in for AdaFace" in make_run.said()
    assert re.search(r"^  Known of version \d+, which is active: \S", make_run.said(), re.MULTILINE)
    assert "Evidence that it lacks" in make_run.said()
    enroll, verify_same, verify_other = make_run.curl_lines()
    assert paste(enroll)["config_version"] == FIRST_ACTIVE
    assert paste(verify_same)["decision"] == "match"
    assert paste(verify_other)["decision"] == "no_match"

    again = subprocess.run(
        ["make", "run"],
        cwd=ROOT,
        env=plain_environment(make_run.state, make_run.port),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert again.returncode != 0
    assert f"already running at http://127.0.0.1:{make_run.port}" in again.stderr

    family = make_run.family()
    began = time.monotonic()
    make_run.press_ctrl_c()
    make_run.process.wait(10)
    assert time.monotonic() - began < 10
    assert all(map(has_ended, family))


def _second(make_run: MakeRun) -> None:
    """Nothing that was made is made again, and the data is still there; a killed worker ends the stack."""
    make_run.wait_ready()
    # what the first start takes its time for
    for once in ("database cluster", "fetching", "converting", "publishing", "validate and activate"):
        assert once not in make_run.said()
    _, verify_same, _ = make_run.curl_lines()
    assert paste(verify_same)["decision"] == "match"
    command = ["make", "manage", "ARGS=shell -c 'import os; print(os.environ[\"DEVSTACK_URL\"])'"]
    environment = plain_environment(make_run.state, make_run.port)
    managed = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert f"http://127.0.0.1:{make_run.port}" in managed.stdout

    demo = subprocess.run(
        ["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert f"The demo at http://127.0.0.1:{make_run.port}" in demo.stdout
    assert "✗" not in demo.stdout
    assert "match, version 5" in demo.stdout

    family = make_run.family()
    workers = (process for process in family if "worker" in process.cmdline())
    worker = next(p for p in workers if (parent := p.parent()) and parent.cmdline()[-1:] == ["run"])
    worker.kill()
    assert make_run.process.wait(PATIENCE_S) != 0
    assert "worker ended unexpectedly (signal SIGKILL)" in make_run.said()
    assert all(map(has_ended, family))


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = MakeRun(tmp_path, port)
        assert stack.process.wait(PATIENCE_S) != 0
    assert f"Port {port} on 127.0.0.1 cannot be used" in stack.said()
    assert not (tmp_path / "postgres").exists()


def test_a_management_command_starts_and_stops_what_it_needs(state: Path) -> None:
    environment = plain_environment(state, free_port())
    line = "import os; print(os.environ['STORAGE_EMULATOR_HOST'])"
    outcome = subprocess.run(
        ["make", "manage", f'ARGS=shell -c "{line}"'],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    address = outcome.stdout.split()[-1]
    assert address.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=5)
