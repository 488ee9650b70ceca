"""The rollout drill in its shortest form: a handful of people, a few seconds; `make rollout-drill` is the whole one."""

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


def test_nobody_notices_a_new_network_going_live() -> None:
    options = ["--references", "16", "--before", "2", "--only", "live", "--json"]
    command = [sys.executable, "-m", "devstack.drill", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    holds = {check["what"]: check["holds"] for check in report["checks"]}
    assert [what for what in ALWAYS if not holds[what]] == [], report
    assert set(report["facts"]["answers by version"]) == {"1", "2", "3"}
