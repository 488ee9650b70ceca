"""What the stack keeps between two starts: secrets, data, logs, and the note of what runs where."""

import base64
import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devstack.processes import Interruption

ROOT = Path(__file__).resolve().parent.parent


class State:
    """The state directory, `.devstack/` in the project unless DEVSTACK_DIR says otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self._secrets = path / "secrets.json"
        self._stack = path / "stack.json"
        self._lock = path / "lock"

    @classmethod
    def default(cls) -> "State":
        return cls(Path(os.environ.get("DEVSTACK_DIR", ROOT / ".devstack")).resolve())

    def create(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)

    @contextmanager
    def lock(self, interruption: Interruption, *, wait: bool) -> Iterator[bool]:
        """Hold the directory for this process. Gives False when another one has it: at once, unless `wait`.

        The kernel lets go of the lock when the process ends, however it ends.
        """
        with self._lock.open("w") as handle:
            held = _try_lock(handle.fileno())
            while not held and wait:
                interruption.check()
                if self.running() is not None:
                    break  # a `make run` has finished starting: its services can be used
                time.sleep(0.1)
                held = _try_lock(handle.fileno())
            yield held

    def running(self) -> dict[str, Any] | None:
        """The note of a running `make run`: `{"pid", "url", "environment"}`."""
        if not self._stack.exists():
            return None
        note: dict[str, Any] = json.loads(self._stack.read_text())
        return note if _pid_exists(note["pid"]) else None

    def note_running(self, url: str, environment: Mapping[str, str]) -> None:
        write_private(self._stack, json.dumps({"pid": os.getpid(), "url": url, "environment": dict(environment)}))

    def forget_running(self) -> None:
        self._stack.unlink(missing_ok=True)

    def secrets(self) -> dict[str, str]:
        """The stack's secrets, made once and kept: losing the keyset would lose every enrolled face."""
        if not self._secrets.exists():
            keyset = {"primary": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(32)).decode()}}
            made = {name: secrets.token_urlsafe(40) for name in ("postgres", "valkey", "admin", "django")}
            write_private(self._secrets, json.dumps({**made, "keyset": json.dumps(keyset)}))
        stored: dict[str, str] = json.loads(self._secrets.read_text())
        return stored


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)


def say(text: str) -> None:
    """A line for the person who waits."""
    print(text, flush=True, file=sys.stderr)


def service_environment(state: State) -> dict[str, str]:
    """The variables of DESIGN.md's contract that do not name a service; what is already set stays."""
    stored = state.secrets()
    defaults = {
        "SECRET_KEY": stored["django"],
        "ML_MODELS_KEYSET": stored["keyset"],
        "ML_MODELS_CACHE_DIR": str(state.path / "cache"),
        "ML_MODELS_BUCKET": "easypool-ml-models",
        "DEBUG": "0",
        "STATIC_ROOT": str(state.path / "static"),
        # the demo model pack's licences forbid, or do not say that they allow, commercial use
        "ML_MODELS_NONCOMMERCIAL": "1",
        # and nobody has measured it on the deployment's own people
        "ML_MODELS_EVIDENCE_GATE": "warn",
        "ML_MODELS_TRY_PAGE": "1",
        # read before the import of onnxruntime; harmless where its version has no telemetry
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }
    environment = {**defaults, **os.environ}
    # a proxy of the surroundings must not stand between us and our own loopback services
    local = {"localhost", "127.0.0.1", *filter(None, environment.get("NO_PROXY", "").split(","))}
    environment["NO_PROXY"] = environment["no_proxy"] = ",".join(sorted(local))
    return environment


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
