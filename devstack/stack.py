"""`make run` and its relatives: the whole service on one machine, supervised until it is told to stop."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devstack import bucket, commands, services
from devstack.processes import Child, Interruption, StackError, Supervisor, describe_exit
from devstack.state import ROOT, State, say, service_environment
from devstack.welcome import welcome

PREPARE_HINT = "What it said is above; the data in the state directory is untouched."
READY_TIMEOUT_S = 180.0
# looked at and told, never refused
LIVENESS = json.dumps({p: {"challenge": "monitor", "passive": "monitor"} for p in ("verify", "enroll", "identify")})


def run(state: State, interruption: Interruption, then: list[str] | None = None) -> int:
    """Start everything, and stay until stopped; or run one command against it and stop.

    Raises: StackError for everything that a person has to know; Interrupted on Ctrl-C.
    """
    began = time.monotonic()
    with state.lock(interruption, wait=False) as held:
        if not held:
            return _already_running(state, interruption, then)
        port = _port(free=then is not None)
        with embedded_services(state, interruption) as (supervisor, environment):
            url = f"http://127.0.0.1:{port}"
            environment.setdefault("ML_MODELS_LIVENESS", LIVENESS)
            environment |= {"PORT": str(port), "DEVSTACK_URL": url, "WEB_GRACEFUL_TIMEOUT": "3"}
            _prepare(supervisor, environment)
            _start_servers(supervisor, state, environment, url)
            environment["DEVSTACK_API_KEY"] = json.loads((state.path / "accounts.json").read_text())["api_key"]
            state.note_running(url, environment)
            if then is not None:
                return run_in_foreground(then, environment, interruption, supervisor)
            print(welcome(state, environment, time.monotonic() - began), flush=True)
            while True:
                supervisor.check()
                time.sleep(0.1)


def with_services(state: State, interruption: Interruption, command: list[str]) -> int:
    """Run a command against the services of a running `make run`, or against ones of its own."""
    with state.lock(interruption, wait=True) as held:
        if not held and (note := state.running()) is not None:
            return run_in_foreground(command, note["environment"], interruption)
        with embedded_services(state, interruption) as (supervisor, environment):
            return run_in_foreground(command, environment, interruption, supervisor)


@contextmanager
def embedded_services(state: State, interruption: Interruption) -> Iterator[tuple[Supervisor, dict[str, str]]]:
    """The services that no URL is given for, and the environment in which Django finds all of them."""
    supervisor = Supervisor(state.logs, interruption)
    environment = service_environment(state) | {
        "DEVSTACK_DIR": str(state.path),
        "DJANGO_SETTINGS_MODULE": "backend_easy.settings",
    }
    folder = state.path / "bucket"
    try:
        started = services.start_missing(supervisor, state, environment, durable=True)
        environment |= started
        if "STORAGE_EMULATOR_HOST" in started:
            environment["DEVSTACK_BUCKET"] = str(folder)
            bucket.restore(environment["STORAGE_EMULATOR_HOST"], environment["ML_MODELS_BUCKET"], folder)
        yield supervisor, environment
    finally:
        state.forget_running()
        _keep_bucket(supervisor, environment)
        supervisor.stop()


def run_in_foreground(
    command: list[str],
    environment: Mapping[str, str],
    interruption: Interruption,
    supervisor: Supervisor | None = None,
) -> int:
    """Run a command that owns the terminal; a Ctrl-C reaches it by itself. Returns its exit code."""
    process = subprocess.Popen(command, env=_quiet(environment), cwd=ROOT)
    try:
        while (code := process.poll()) is None:
            (supervisor or interruption).check()
            time.sleep(0.02)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return code


def _prepare(supervisor: Supervisor, environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "devstack.prepare"]
    child = supervisor.start("prepare", command, env=_quiet(environment), cwd=ROOT, to_terminal=True)
    code = supervisor.run(child)
    if code != 0:
        raise StackError(f"The preparation failed ({describe_exit(code)}). {PREPARE_HINT}")


def _quiet(environment: Mapping[str, str]) -> dict[str, str]:
    """The terminal shows steps and commands' progress; libraries speak up only when something is wrong."""
    return {"LOG_LEVEL": "WARNING", **environment}


def _start_servers(supervisor: Supervisor, state: State, environment: Mapping[str, str], url: str) -> None:
    say("  start the web server, the worker and beat; load the networks …")
    schedule = str(state.path / "beat-schedule")
    web = supervisor.start("web", _python_m(commands.WEB), env=environment, cwd=ROOT)
    supervisor.start("worker", _python_m(commands.worker(concurrency=1)), env=environment, cwd=ROOT)
    supervisor.start("beat", _python_m(commands.beat(schedule)), env=environment, cwd=ROOT)
    supervisor.wait_until(lambda: _ready(url), web, READY_TIMEOUT_S, f"{url}/readyz", poll_s=0.25)


def _python_m(command: list[str]) -> list[str]:
    """The same command through our interpreter: the environment's scripts need not be on the PATH."""
    return [sys.executable, "-m", *command]


def _ready(url: str) -> bool:
    try:
        with services.LOOPBACK.open(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _port(*, free: bool) -> int:
    """The port to serve on. Raises: StackError, before anything is started, when somebody listens there."""
    if free and "PORT" not in os.environ:
        return services.free_port()
    text = os.environ.get("PORT", "8000")
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise StackError(f"PORT={text} is not a port; give a number from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise StackError(
                f"Port {text} on 127.0.0.1 cannot be used ({error.strerror}). Nothing was started. "
                f"Stop what listens there, or choose another port: PORT=8001 make run"
            ) from error
    return int(text)


def _already_running(state: State, interruption: Interruption, then: list[str] | None) -> int:
    note = state.running()
    if note is None:
        raise StackError("Another make run, manage or demo is starting or at work here; wait for it, or stop it.")
    if then is None:
        raise StackError(f"It is already running at {note['url']} (process {note['pid']}). Nothing was started.")
    return run_in_foreground(then, note["environment"], interruption)


def _keep_bucket(supervisor: Supervisor, environment: Mapping[str, str]) -> None:
    emulator: list[Child] = [child for child in supervisor.children if child.name == "gcs"]
    if not emulator or emulator[0].process.poll() is not None or "DEVSTACK_BUCKET" not in environment:
        return
    try:
        bucket.save(
            environment["STORAGE_EMULATOR_HOST"],
            environment["ML_MODELS_BUCKET"],
            Path(environment["DEVSTACK_BUCKET"]),
        )
    except OSError as error:  # URLError is one: stopping matters more
        say(f"  the emulated bucket could not be kept: {error}")
