"""Child processes that never outlive us: each leads a process group, and a reaper watches over them."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# twice at the most, servers and then services: a Ctrl-C has 10 s in all
STOP_TIMEOUT_S = 3.0
LOG_TAIL_LINES = 25


class StackError(Exception):
    """A message for the person at the terminal; nothing more to say than its text."""


class Interrupted(Exception):
    """The person, or whoever started us, wants the stack to stop."""


class Interruption:
    """Turns signals and the loss of our parent into one flag that every wait looks at.

    A flag and not an exception out of the handler: that could strike between the start of a process and the
    note that it has to be stopped.
    """

    def __init__(self) -> None:
        self.requested = False
        self._parent = os.getppid()

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup: asked to outlive the terminal
            signal.signal(number, self._request)

    def _request(self, number: int, frame: object) -> None:
        self.requested = True

    def check(self) -> None:
        """Raises: Interrupted when a signal came or the parent (make) is gone."""
        if self.requested or os.getppid() != self._parent:
            raise Interrupted


@dataclass(frozen=True, slots=True)
class Child:
    """A running child process, leader of its own process group and session."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None
    stop_signal: signal.Signals
    is_service: bool
    env: Mapping[str, str]
    cwd: Path

    def ensure_alive(self) -> None:
        """Raises: StackError with the tail of its log when the process has ended."""
        code = self.process.poll()
        if code is not None:
            raise StackError(f"{self.name} ended unexpectedly ({describe_exit(code)}).{self.log_tail()}")

    def log_tail(self) -> str:
        if self.log is None or not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return f" The last lines of {self.log}:\n" + "\n".join(f"    {line}" for line in lines)


def describe_exit(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Supervisor:
    """Starts children, notices when one dies, and stops them."""

    def __init__(self, logs: Path, interruption: Interruption) -> None:
        self.logs = logs
        self.interruption = interruption
        self.children: list[Child] = []
        self._reaper: subprocess.Popen[bytes] | None = None

    def start(
        self,
        name: str,
        command: Iterable[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        is_service: bool = False,
        to_terminal: bool = False,
    ) -> Child:
        """Start a process in its own session: a Ctrl-C reaches us alone, and we stop things in order."""
        log = None if to_terminal else self.logs / f"{name}.log"
        arguments = list(command)
        if log is None:
            process = subprocess.Popen(arguments, env=env, cwd=cwd, start_new_session=True)
        else:
            with log.open("ab") as sink:
                sink.write(f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(arguments)}\n".encode())
                sink.flush()
                process = subprocess.Popen(
                    arguments,
                    env=env,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        child = Child(name, process, log, stop_signal, is_service, env, cwd)
        self.children.append(child)
        self._tell_reaper(f"+ {process.pid} {int(stop_signal)}")
        return child

    def wait_until(
        self, ready: Callable[[], bool], child: Child, timeout_s: float, what: str, poll_s: float = 0.05
    ) -> None:
        """Poll `ready` while every child lives. Raises: StackError, Interrupted."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"{what} took longer than {timeout_s:.0f} s.{child.log_tail()}")
            time.sleep(poll_s)

    def kill(self, child: Child) -> None:
        """SIGKILL, to the child and everything it has started."""
        signal_group(child.process.pid, signal.SIGKILL)
        child.process.wait()
        self._forget(child)

    def start_again(self, child: Child) -> Child:
        """The same command in the same surroundings, after a kill."""
        return self.start(
            child.name,
            [str(argument) for argument in child.process.args],  # type: ignore[union-attr]
            env=child.env,
            cwd=child.cwd,
            stop_signal=child.stop_signal,
            is_service=child.is_service,
        )

    def run(self, child: Child) -> int:
        """Wait for a child that is meant to end, and return its exit code."""
        others = [other for other in self.children if other is not child]
        while (code := child.process.poll()) is None:
            self.interruption.check()
            for other in others:
                other.ensure_alive()
            time.sleep(0.05)
        self._forget(child)
        return code

    def check(self) -> None:
        """Raises: Interrupted, or StackError when a child has ended."""
        self.interruption.check()
        for child in self.children:
            child.ensure_alive()

    def stop(self) -> None:
        """Stop everything: first what uses the services, then the services; under 10 s in the worst case."""
        self._stop([child for child in self.children if not child.is_service])
        self._stop(list(self.children))
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None

    def _stop(self, children: list[Child]) -> None:
        for child in children:
            send(child.process.pid, child.stop_signal)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline and any(group_alive(child) for child in children):
            time.sleep(0.02)
        for child in children:
            signal_group(child.process.pid, signal.SIGKILL)
            child.process.wait()
            self._forget(child)

    def _forget(self, child: Child) -> None:
        self.children.remove(child)
        self._tell_reaper(f"- {child.process.pid}")

    def _tell_reaper(self, line: str) -> None:
        if self._reaper is None:
            script = Path(__file__).with_name("reaper.py")
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script)], stdin=subprocess.PIPE, start_new_session=True
            )
        if self._reaper.stdin is None:
            raise StackError("the reaper has no pipe")
        self._reaper.stdin.write(f"{line}\n".encode())
        self._reaper.stdin.flush()


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def signal_group(group: int, number: int) -> bool:
    """Signal a process group; False when it has no member left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def group_alive(child: Child) -> bool:
    child.process.poll()  # collects the leader, which as a zombie would count as a member
    return signal_group(child.process.pid, 0)
