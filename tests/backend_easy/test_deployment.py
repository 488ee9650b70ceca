"""What a production start refuses, and that Django's own list of deployment mistakes is empty."""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.served import ROOT

GOOD = "N3-tFz5hW0xq2Vb8LmKc7RjYp4UoEsGdAiXw1TnQvZ6yHrCkBf9uJeS_MaDlPg0O"


def check(*options: str, **changes: str | None) -> Any:
    environment = {
        **os.environ,
        "SECRET_KEY": GOOD,
        "DEBUG": "0",
        "BEHIND_TLS": "1",
        "ML_MODELS_NONCOMMERCIAL": "0",
        "ML_MODELS_EVIDENCE_GATE": "enforce",
        **{key: value for key, value in changes.items() if value is not None},
    }
    for key in (key for key, value in changes.items() if value is None):
        environment.pop(key, None)
    command = [sys.executable, "manage.py", "check", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_check_deploy_has_nothing_to_say() -> None:
    done = check("--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", None),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "changeme"),
        ("SECRET_KEY", "x" * 64),
        ("SECRET_KEY", "django-insecure-" + GOOD),
        ("ML_MODELS_KEYSET", None),
        ("ML_MODELS_KEYSET", ""),
        ("ML_MODELS_KEYSET", '{"primary": "k1", "keys": {"k1": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}'),
        ("DATABASE_URL", None),
        ("REDIS_URL", ""),
    ],
)
def test_a_missing_or_default_secret_stops_the_start_and_is_not_shown(name: str, value: str | None) -> None:
    done = check(**{name: value})
    assert done.returncode != 0
    assert name in done.stderr
    assert not value or len(value) < 10 or value not in done.stderr
