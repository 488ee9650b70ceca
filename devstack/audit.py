"""`make audit`: the pinned packages against the known vulnerabilities, and the model files in the cache.

Needs the vulnerability service of PyPI, so it is no part of `make check`. What could not be audited fails it: pip-audit
alone says "no known vulnerabilities" of packages that the service does not know.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from devstack.state import ROOT, State, say
from ml_models.engine.errors import ArtifactRejected
from ml_models.engine.graph import require_standard

PIP_AUDIT = ["pip_audit", "--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]


def main() -> int:
    requirements = [str(ROOT / "requirements.txt"), str(ROOT / "requirements-dev.txt")]
    problems = [
        *(f"{Path(path).name}: {line}" for path in requirements for line in packages(path)),
        *models(State.default().path / "cache"),
    ]
    for problem in problems:
        say(f"✗ {problem}")
    if not problems:
        say("✓ no known vulnerability in the pinned packages, nothing but computing in the model files")
    return int(bool(problems))


def packages(requirements: str) -> list[str]:
    """What is known against the pinned packages, or why nothing is known."""
    command = [sys.executable, "-m", *PIP_AUDIT, "--requirement", requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        return [f"not audited, the vulnerability service did not answer: {done.stderr.strip()[-300:]}"]
    return verdict(json.loads(done.stdout))


def verdict(report: dict[str, Any]) -> list[str]:
    """pip-audit's JSON report in sentences; empty when every package was looked up and none is vulnerable."""
    found = report["dependencies"]
    skipped = [package for package in found if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {entry['id']}, mended in {', '.join(entry['fix_versions']) or 'none'}"
        for package in found
        for entry in package.get("vulns", [])
    ]
    if skipped:
        lines.append(f"{len(skipped)} of {len(found)} packages were not audited: {skipped[0]['skip_reason']}")
    return lines


def models(folder: Path) -> list[str]:
    """Which model files of a folder do more than compute."""
    refused = []
    for path in sorted(folder.rglob("*.onnx")):
        try:
            require_standard(path)
        except ArtifactRejected as error:
            refused.append(f"{path.name}: {error}")
    return refused


if __name__ == "__main__":
    sys.exit(main())
