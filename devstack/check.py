"""`make check`: every check runs, whatever the ones before it said."""

import subprocess
import sys
import time

from devstack.commands import COMPOSE
from devstack.ephemeral import ephemeral_services
from devstack.state import ROOT, say

MANAGE = ["manage.py"]
DEPTRY = ["-m", "deptry", ".", "--no-ansi"]
CHECKS = {
    "format": ["-m", "ruff", "format", "--check", "."],
    "lint": ["-m", "ruff", "check", "."],
    "types": ["-m", "mypy"],
    "import contracts": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    "wheel dependencies": DEPTRY,
    "service dependencies": [*DEPTRY, "--config", "devstack/dependencies/service.toml"],
    "development dependencies": [*DEPTRY, "--config", "devstack/dependencies/development.toml"],
    "Compose files": ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *COMPOSE],
    "deployments": ["-m", "devstack.deployments"],
    "links": ["-m", "devstack.site", "--check"],
    "system checks": [*MANAGE, "check", "--fail-level", "WARNING"],
    "missing migrations": [*MANAGE, "makemigrations", "--check", "--dry-run"],
    "safe migrations": ["-m", "devstack.migrations"],
    "translations": ["-m", "devstack.translations"],
}
SCHEMA = ROOT / "docs" / "openapi.yaml"


def main() -> int:
    with ephemeral_services() as environment:
        # what a deployment has; the checks warn about the other
        environment |= {"ML_MODELS_NONCOMMERCIAL": "0", "ML_MODELS_EVIDENCE_GATE": "enforce"}
        failed = [name for name, command in CHECKS.items() if not _passes(name, command, environment)]
        if not _schema_is_current(environment):
            failed.append("OpenAPI snapshot")
    say(f"✗ failed: {', '.join(failed)}" if failed else "✓ all checks passed")
    return int(bool(failed))


def _passes(name: str, command: list[str], environment: dict[str, str]) -> bool:
    began = time.monotonic()
    outcome = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    good = outcome.returncode == 0
    say(f"{'✓' if good else '✗'} {name} ({time.monotonic() - began:.1f} s)")
    if not good:
        say(outcome.stdout)
    return good


def _schema_is_current(environment: dict[str, str]) -> bool:
    command = [sys.executable, *MANAGE, "spectacular", "--validate", "--fail-on-warn"]
    outcome = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    good = outcome.returncode == 0 and SCHEMA.exists() and outcome.stdout == SCHEMA.read_text()
    say(f"{'✓' if good else '✗'} OpenAPI snapshot")
    if not good:
        say(outcome.stderr or "  docs/openapi.yaml differs from the code; if that is meant: make openapi")
    return good
