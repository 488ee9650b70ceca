"""`make sbom`: what the service is made of, as CycloneDX: its pinned packages, and the model files of the catalogue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from devstack.state import ROOT, say

TARGET = ROOT / "build" / "sbom.cdx.json"


def main() -> int:
    TARGET.parent.mkdir(exist_ok=True)
    made = sbom(ROOT / "requirements.txt", ROOT / "config" / "artifacts.yaml")
    TARGET.write_text(json.dumps(made, indent=2) + "\n")
    say(f"{len(made['components'])} components: {TARGET.relative_to(ROOT)}")
    return 0


def sbom(requirements: Path, catalogue: Path) -> dict[str, Any]:
    """A CycloneDX document; the same input gives the same bytes."""
    command = ["cyclonedx_py", "requirements", str(requirements), "--output-reproducible", "--of", "JSON"]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    artifacts = yaml.safe_load(catalogue.read_text())["artifacts"]
    document["components"] += [_model(name, facts) for name, facts in artifacts.items()]
    return document


def _model(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    terms = {"training data": facts["training_data"], "commercial use": facts["commercial_use"]}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model-{name}",
        "name": name,
        "version": facts["sha256"][:12],
        "hashes": [{"alg": "SHA-256", "content": facts["sha256"]}],
        "licenses": [{"license": {"name": facts["weights_licence"]}}],
        "properties": [{"name": key, "value": " ".join(str(value).split())} for key, value in terms.items()],
    }


if __name__ == "__main__":
    sys.exit(main())
