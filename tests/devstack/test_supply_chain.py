"""What the service is made of, and what is known against it."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
import yaml
from onnx import helper

from devstack import audit
from devstack.sbom import sbom
from devstack.state import ROOT
from tests.support.networks import tiny_network


def test_the_sbom_names_every_pinned_package_and_model_and_is_reproducible() -> None:
    requirements, catalogue = ROOT / "requirements.txt", ROOT / "config" / "artifacts.yaml"
    document = sbom(requirements, catalogue)
    assert document["bomFormat"] == "CycloneDX"
    named = {(component["name"], component["version"]) for component in document["components"]}
    pinned = re.findall(r"^([a-z0-9._-]+)(?:\[.*\])?==(\S+)", requirements.read_text(), re.MULTILINE)
    assert len(pinned) > 40
    assert set(pinned) <= named
    models = {c["name"]: c for c in document["components"] if c["type"] == "machine-learning-model"}
    for name, facts in yaml.safe_load(catalogue.read_text())["artifacts"].items():
        assert models[name]["hashes"] == [{"alg": "SHA-256", "content": facts["sha256"]}]
    assert sbom(requirements, catalogue) == document


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ({"name": "a", "version": "1", "vulns": []}, []),
        (
            {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]},
            ["a 1: CVE-1, mended in 2"],
        ),
        ({"name": "a", "skip_reason": "not found"}, ["1 of 1 packages were not audited: not found"]),
    ],
)
def test_a_package_that_was_not_looked_up_is_no_safe_one(package: dict[str, object], said: list[str]) -> None:
    assert audit.verdict({"dependencies": [package]}) == said


def test_the_audit_finds_a_model_file_that_does_more_than_compute(tmp_path: Path) -> None:
    network = tiny_network(tmp_path / "tiny.onnx")
    assert audit.models(tmp_path) == []
    model = onnx.load(network)
    model.graph.node.append(helper.make_node("RunShell", ["input"], ["other"], domain="evil"))
    network.write_bytes(model.SerializeToString())
    assert ["tiny.onnx" in line and "evil" in line for line in audit.models(tmp_path)] == [True]
