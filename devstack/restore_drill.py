"""`make restore-drill`: lose the database and bring it back, on services of its own.

Two people are enrolled and a backup is made with pg_dump. Then one of them is erased, the tombstones are exported, and
the database server is killed and its folder deleted. On an empty server the backup is restored and the erasures are
replayed. Whoever stays must verify as before, whoever was erased must be gone, and without the keyset nothing may open.
Exits with 1 where anything is otherwise. The commands are those of docs/operations.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.core.files.uploadedfile import SimpleUploadedFile

from devstack import services
from devstack.portraits import eileen_collins, grace_hopper
from devstack.prepare import FIRST_ACTIVE
from devstack.processes import Interruption, StackError, Supervisor
from devstack.state import ROOT, State, say, service_environment

STAYS, ERASED = "drill-stays", "drill-erased"


def main() -> int:
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="restore-drill-"))
    state = State(folder)
    state.create()
    os.environ.setdefault("ML_MODELS_CACHE_DIR", str(State.default().path / "cache"))
    interruption = Interruption()
    interruption.install()
    supervisor = Supervisor(state.logs, interruption)
    try:
        wrong = drill(supervisor, state)
    except StackError as error:
        wrong = [str(error)]
    finally:
        supervisor.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for line in wrong:
        say(f"✗ {line}")
    say(f"{'✗ the drill failed' if wrong else '✓ the drill passed'} after {time.monotonic() - began:.0f} s")
    return int(bool(wrong))


def drill(supervisor: Supervisor, state: State) -> list[str]:
    """Returns: what was not as it must be."""
    environment = {**service_environment(state), "DJANGO_SETTINGS_MODULE": "backend_easy.settings"}
    with step("a service with two people enrolled"):
        environment |= services.start_missing(supervisor, state, environment, durable=True)
        act("prepare", environment)
        before = act("verify", environment)
    backup, erasures, head = (state.path / name for name in ("ml_models.dump", "erasures.jsonl", "audit-head.json"))
    with step("backup: pg_dump, and the audit trail's head"):
        postgres("pg_dump", environment, "--format=custom", f"--file={backup}")
        head.write_text(manage(environment, "audit", "head"))
    with step("after it one of them is erased; the tombstones are exported"):
        act("erase", environment)
        erasures.write_text(manage(environment, "erasures", "export"))
    with step("the database server is killed and its folder deleted"):
        supervisor.kill(next(child for child in supervisor.children if child.name == "postgres"))
        shutil.rmtree(state.path / "postgres")
    with step("an empty server, and pg_restore"):
        environment["DATABASE_URL"] = services.start_postgres(supervisor, state, durable=True)
        postgres("pg_restore", environment, "--exit-on-error", "--no-owner", "--dbname=ml_models", str(backup))
        manage(environment, "migrate", "--check")
    restored = act("verify", environment)
    with step("erasures replay"):
        manage(environment, "erasures", "replay", str(erasures))
        again = json.loads(manage(environment, "erasures", "replay", str(erasures), "--json"))
    after = act("verify", environment)
    with step("the audit trail is verified"):
        manage(environment, "audit", "verify", "--head", str(head))
    lost = act("verify", {**environment, "ML_MODELS_KEYSET": other_keyset(state)})
    expected = {
        "before": (before, {STAYS: "match", ERASED: "match"}),
        "restored, before the replay": (restored, {STAYS: "match", ERASED: "match"}),
        "after the replay": (after, {STAYS: "match", ERASED: "not_enrolled"}),
        "a second replay": (again, {"subjects_erased": 0, "references_erased": 0, "tombstones_added": 0}),
        "with another keyset": (lost, {STAYS: "inference_failed", ERASED: "not_enrolled"}),
    }
    for when, (answers, _) in expected.items():
        say(f"  {when}: {', '.join(f'{who} {what}' for who, what in answers.items())}")
    return [f"{when}: {answers}, must be {right}" for when, (answers, right) in expected.items() if answers != right]


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    return run([sys.executable, str(ROOT / "manage.py"), *arguments], environment)


def postgres(program: str, environment: Mapping[str, str], *arguments: str) -> str:
    """A client program, as the URL of DATABASE_URL tells it; a password stands in no command line."""
    server = urlsplit(environment["DATABASE_URL"])
    user = {"PGUSER": server.username or "", "PGPASSWORD": server.password or ""}
    place = {"PGHOST": server.hostname or "", "PGPORT": str(server.port), "PGDATABASE": server.path.strip("/")}
    return run([str(services.postgres_binaries() / program), *arguments], {**environment, **user, **place})


def act(what: str, environment: Mapping[str, str]) -> dict[str, str]:
    """One of ACTS in a process of its own, as the services that start after a restore."""
    answers: dict[str, str] = json.loads(run([sys.executable, "-m", "devstack.restore_drill", what], environment))
    return answers


def run(command: list[str], environment: Mapping[str, str]) -> str:
    """What a command printed. Raises: StackError when it fails."""
    done = subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def step(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{time.monotonic() - began:6.1f} s  {what}")


def other_keyset(state: State) -> str:
    """Another deployment's: what is left of ours when it was kept where the database was."""
    other = State(state.path / "other")
    other.create()
    return other.secrets()["keyset"]


def prepare() -> dict[str, str]:
    from django.core.management import call_command

    from ml_models import runtime
    from ml_models.services import NOBODY, enroll
    from ml_models.tasks import audit

    with redirect_stdout(sys.stderr):
        call_command("migrate", verbosity=0)
        call_command("fetch_demo_pack")
        call_command("load_ensemble", f"v{FIRST_ACTIVE}")
        call_command("validate_config", str(FIRST_ACTIVE))
        call_command("activate_config", str(FIRST_ACTIVE))
    runtime.refresh()
    for subject, picture in people().items():
        enroll(NOBODY, subject, picture)
    audit()  # as beat does every 10 s
    return {}


def erase() -> dict[str, str]:
    from ml_models.services import NOBODY, erase_subject
    from ml_models.tasks import audit

    erase_subject(NOBODY, ERASED)
    audit()
    return {}


def verify() -> dict[str, str]:
    """The decision on each person's own picture, or the code of the refusal."""
    from django.contrib.auth import get_user_model
    from rest_framework.test import APIClient

    from ml_models import runtime

    runtime.refresh()
    operator, _ = get_user_model().objects.get_or_create(username="drill", is_superuser=True)
    client = APIClient(raise_request_exception=False, SERVER_NAME="localhost")
    client.force_authenticate(operator)
    answers = {}
    for subject, picture in people().items():
        upload = SimpleUploadedFile("photo.jpg", picture, "image/jpeg")
        answer = client.post("/api/v1/face/verify", {"subject_id": subject, "image": upload}, format="multipart").json()
        answers[subject] = answer.get("decision") or answer["code"]
    return answers


def people() -> dict[str, bytes]:
    return {STAYS: eileen_collins(), ERASED: grace_hopper()}


ACTS = {"prepare": prepare, "erase": erase, "verify": verify}


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    django.setup()
    print(json.dumps(ACTS[sys.argv[1]]()))
