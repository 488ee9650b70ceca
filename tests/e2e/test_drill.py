"""The drills in their shortest forms; `make rollout-drill` and `make faults` are the whole ones."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

from devstack.drill import live, scale, versions
from devstack.drill.people import PHOTOS
from devstack.drill.report import Report
from devstack.state import ROOT
from ml_models import rollouts, runtime
from ml_models.models import EnsembleConfig, Verification
from ml_models.services import lockout
from tests.conftest import Portraits
from tests.support.races import LONG_S, Parking
from tests.support.served import FULL_SET, RULE, ensemble, write
from tests.support.uploads import verify
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


@pytest.mark.django_db
def test_a_row_with_numbers_of_another_version_or_condition_is_counted_as_mixed(
    people: list[str], served: EnsembleConfig, service: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OLD", "NEW", "REWEIGHTED"):
        monkeypatch.setattr(live, name, served.version)
    verify(service, "child-1", portraits.eileen_collins)
    assert live.mixed(0) == 0
    row = Verification.objects.get()
    more = {"threshold": -1.0, "condition": "covered", "voters": [], "similarities": {}}
    for name, value in more.items():
        Verification.objects.update(**{name: value})
        assert live.mixed(0) == 1, name
        row.save()


@pytest.mark.django_db(transaction=True)
def test_an_answer_is_one_versions_though_others_go_live_in_the_middle_of_it(
    people: list[str],
    service: APIClient,
    portraits: Portraits,
    tmp_path: Path,
    background: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The drill's rollout, activation of weights and rollback, each while a verify has read its template."""
    for name, version, threshold in (("OLD", 2, 2.0), ("NEW", 3, 2.5), ("REWEIGHTED", 4, 3.0)):
        monkeypatch.setattr(live, name, version)
        if version != 2:
            rules = {FULL_SET: {**RULE, "threshold": threshold}}
            call_command("load_ensemble", str(write(tmp_path, ensemble(version, flip=True, voter_sets=rules))))
            rollouts.validate(rollouts.get_config(version))

    def go_live(version: int) -> None:
        rollouts.open_rollout(rollouts.get_config(version))
        runtime.refresh()
        work_off()
        assert versions.active() == version

    answers = []
    deeds: list[Callable[[], object]] = [lambda: go_live(3), lambda: go_live(4), rollouts.roll_back]
    for deed in deeds:
        verify(service, "child-1", portraits.eileen_collins)
        with monkeypatch.context() as patch:
            parking = Parking(patch, lockout, "require_free")
            verifying = background(verify, service, "child-1", portraits.eileen_collins)
            parking.arrive()
            deed()
            parking.let_go()
            answers.append(verifying.result(LONG_S).json())
    assert [(answer["decision"], answer["config_version"]) for answer in answers] == [
        ("match", 2),
        ("match", 3),
        ("match", 4),
    ]
    assert live.mixed(0) == 0
    rows = list(Verification.objects.order_by("at"))
    for alone, overtaken in zip(rows[::2], rows[1::2], strict=True):
        assert overtaken.similarities == pytest.approx(alone.similarities, abs=1e-4)
    assert versions.active() == 3


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
