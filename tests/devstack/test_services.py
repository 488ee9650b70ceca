"""PostgreSQL runs as `nobody`, wherever the project lies."""

import grp
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from devstack.services import unprivileged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root starts PostgreSQL as themself")
_DAC_OVERRIDE = 1 << 1


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """One in a folder that only root may enter, as in /root."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    made = closed / "program"
    made.write_text("#!/bin/sh\nid --user --name; id --groups --name; grep Cap /proc/self/status\n")
    made.chmod(0o755)
    return made


def test_nobody_starts_a_program_in_a_folder_of_roots(program: Path) -> None:
    done = subprocess.run(unprivileged([str(program)]), capture_output=True, text=True, check=True)
    user, groups, *capabilities = done.stdout.split("\n")[:7]
    assert (user, groups) == ("nobody", grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name)
    # and may do nothing else that root may
    assert {int(line.split()[1], 16) for line in capabilities} == {_DAC_OVERRIDE}


def test_the_program_may_ask_whether_it_may(program: Path) -> None:
    for question in ("-r", "-x"):
        subprocess.run(unprivileged(["test", question, str(program)]), check=True)
