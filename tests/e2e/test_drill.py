"""The drills in their shortest forms; `make rollout-drill` and `make faults` are the whole ones."""

import json
import subprocess
import sys

import pytest

from devstack.drill.people import PHOTOS
from devstack.state import ROOT

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photos of ../shared/data/dev_eval"),
]
# what is not a matter of the machine's speed
ALWAYS = (
    "failed requests",
    "answers that mix versions, from audit rows",
    "audit rows missing",
    "decisions other than the ones computed offline",
)


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


def test_nobody_notices_a_new_network_going_live() -> None:
    options = ["--references", "16", "--before", "2", "--only", "live", "--json"]
    command = [sys.executable, "-m", "devstack.drill", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    holds = {check["what"]: check["holds"] for check in report["checks"]}
    assert [what for what in ALWAYS if not holds[what]] == [], report
    assert set(report["facts"]["answers by version"]) == {"1", "2", "3"}
