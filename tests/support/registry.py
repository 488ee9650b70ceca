"""A package folder that pip takes for an index: tests fetch through the real pip without a network."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ml_models.conversion.pack.sources import Member, Source

PACKAGE, VERSION = "demo-weights", "1.0"


def serve_wheel(folder: Path, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Source:
    """Write a wheel with `files` into `folder`, and make pip look only there. Returns its honest source."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "demo_weights-1.0-py3-none-any.whl"
    info = "demo_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    members = {Path(n).stem: Member(n, hashlib.sha256(d).hexdigest()) for n, d in files.items()}
    return Source("pypi", PACKAGE, VERSION, hashlib.sha256(path.read_bytes()).hexdigest(), members)
