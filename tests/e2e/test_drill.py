"""The drills in their shortest forms; `make rollout-drill` and `make faults` are the whole ones."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from PIL import Image, ImageEnhance

from devstack.drill import crowd, live, scale, versions
from devstack.drill.people import PHOTOS, People, Photo
from devstack.drill.report import Report
from devstack.drill.stack import Stack
from devstack.processes import Interruption, Supervisor
from devstack.state import ROOT, State
from ml_models import rollouts, runtime
from ml_models.models import EnsembleConfig
from tests.conftest import Portraits
from tests.support.work import work_off


def drill(test: Any) -> Any:
    """A drill with processes of its own: it takes minutes, and the photos."""
    return pytest.mark.drill(pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/data/dev_eval")(test))


# what is not a matter of the machine's speed
ALWAYS = (
    "failed requests",
    "answers that mix versions, from audit rows",
    "audit rows missing",
    "decisions other than the ones computed offline",
)


@drill
def test_a_database_that_dies_and_one_that_freezes_cost_no_decision_and_no_enrolment() -> None:
    options = [
        "--references",
        "16",
        "--only",
        "faults",
        "--rounds",
        "1",
        "--rate",
        "2",
        "--fault",
        "PostgreSQL",
        "--json",
    ]
    command = [sys.executable, "-m", "devstack.drill", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    missed = [check["what"] for check in report["checks"] if not check["holds"]]
    assert [what for what in missed if "slowest" not in what] == [], report


@pytest.fixture
def worker() -> Iterator[None]:
    """What beat, a Celery worker and the web server's background thread do, in a thread."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(0.2):
            runtime.refresh()
            work_off()
        connection.close()

    thread = threading.Thread(target=repeat)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture
def shown(portraits: Portraits, tmp_path: Path) -> People:
    """Two people, each with a reference and a darker probe."""
    people = People([], [], [])
    for subject, picture in (("drill-1", portraits.eileen_collins), ("drill-2", portraits.grace_hopper)):
        (tmp_path / f"{subject}.jpg").write_bytes(picture)
        ImageEnhance.Brightness(Image.open(BytesIO(picture))).enhance(0.8).save(tmp_path / f"{subject}-probe.jpg")
        people.references.append(Photo(subject, tmp_path / f"{subject}.jpg"))
        people.probes.append(Photo(subject, tmp_path / f"{subject}-probe.jpg"))
    return people


@pytest.mark.django_db(transaction=True)
def test_nobody_notices_a_new_network_going_live_in_one_process(
    live_server: Any, shown: People, tmp_path: Path, request: pytest.FixtureRequest, settings: Any
) -> None:
    """The drill's own traffic, versions and checks, over HTTP, without the time that processes take to start."""
    settings.ML_MODELS = {**settings.ML_MODELS, "LOCKOUT_AFTER": 0}  # its impostors are many, and it has one account
    state = State(tmp_path / "state")
    state.create()
    environment = {**os.environ, "PORT": str(live_server.thread.port)}
    stack = Stack(Supervisor(state.logs, Interruption()), state, environment)
    versions.prepare(stack, tmp_path)
    versions.load_everything((versions.OLD, versions.NEW))
    enrolled = crowd.enroll(shown, 2)
    offline = crowd.offline(enrolled, shown.probes, (versions.OLD, versions.REWEIGHTED, versions.NEW))
    request.getfixturevalue("worker")
    report = Report()
    live.run(stack, offline, enrolled, rate=2, before_s=0.5, report=report, repeats=1, pause_s=1.5)
    held = {check.what: check.holds for check in report.checks}
    assert [what for what in ALWAYS if not held[what]] == [], report.to_json()
    assert set(report.facts["answers by version"]) == {"1", "2", "3"}
    assert report.facts["answers by decision"].keys() == {"match", "no_match"}


@pytest.mark.django_db(transaction=True)
def test_a_rollout_a_purge_and_rollbacks_beside_enrolments(
    mirrored: EnsembleConfig, served: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drill's part on many faces, on few."""
    report, faces = Report(), 3000
    scale.run(report, rollouts.get_config(served.version), mirrored, faces, quiet_s=0.0)
    assert report.facts["references"] == faces + 2
    assert report.facts["purged"] == faces + 2
    checks = {check.what: check for check in report.checks}
    assert checks["left by the purge"].holds
    assert checks["rollback during the purge, slowest"].measured > 0
    assert {"during the cut-over", "during the purge"} <= {what.rpartition(" for the lock ")[2] for what in checks}
    assert {rollouts.get_config(version).state for version in (2, 3)} == {"active", "retired"}


@drill
def test_nobody_notices_a_new_network_going_live() -> None:
    options = ["--references", "16", "--before", "2", "--only", "live", "--json"]
    command = [sys.executable, "-m", "devstack.drill", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    holds = {check["what"]: check["holds"] for check in report["checks"]}
    assert [what for what in ALWAYS if not holds[what]] == [], report
    assert set(report["facts"]["answers by version"]) == {"1", "2", "3"}
