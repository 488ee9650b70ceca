"""The supervisor leaves no process behind, whatever happens to it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devstack.processes import Child, Interruption, StackError, Supervisor
from devstack.state import ROOT
from tests.support.processes import has_ended

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
# less than the children would go on for by themselves
PATIENCE_S = 40


def start(supervisor: Supervisor, name: str, code: str) -> Child:
    command = [sys.executable, "-c", code]
    return supervisor.start(name, command, env={"PATH": os.environ["PATH"]}, cwd=ROOT)


def wait_gone(process: psutil.Process) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if has_ended(process):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, Interruption())
    yield supervisor
    supervisor.stop()


def test_a_child_that_ends_is_named_with_the_tail_of_its_log(supervisor: Supervisor) -> None:
    child = start(supervisor, "web", "print('no such table'); raise SystemExit(3)")
    child.process.wait()
    with pytest.raises(StackError, match=r"web ended unexpectedly \(exit code 3\)(.|\n)*no such table"):
        supervisor.check()


def test_a_child_that_ignores_the_signal_is_killed(supervisor: Supervisor) -> None:
    child = start(supervisor, "stubborn", STUBBORN)
    log = child.log
    assert log is not None
    supervisor.wait_until(lambda: "\nup\n" in log.read_text(), child, PATIENCE_S, "start")
    supervisor.stop()
    assert child.process.returncode == -signal.SIGKILL


def test_grandchildren_are_stopped_with_their_parent(supervisor: Supervisor, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time, pathlib;"
        f"p = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]);"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(p.pid)); time.sleep(60)"
    )
    child = start(supervisor, "parent", code)
    supervisor.wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()), child, PATIENCE_S, "start")
    grandchild = psutil.Process(int(pid_file.read_text()))
    supervisor.stop()
    assert wait_gone(grandchild)


def test_children_are_stopped_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from devstack.processes import *;"
        f"s = Supervisor(Path({str(tmp_path)!r}), Interruption());"
        "c = s.start('child', [sys.executable, '-c', 'import time; time.sleep(60)'], env={}, cwd=Path('.'));"
        "print(c.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        child = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    assert wait_gone(child)
