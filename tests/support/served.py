"""A served version on the real demo pack, set up through the commands that operators use."""

from pathlib import Path
from typing import Any

import yaml
from django.core.management import call_command

from ml_models import artifacts, runtime
from ml_models.models import Artifact, EnsembleConfig
from tests.support.networks import presentation_contract, tiny_presentation
from tests.support.work import work_off

ROOT = Path(__file__).resolve().parents[2]
# the pack is built once and shared between runs and workers
PACK_CACHE = ROOT / ".devstack" / "cache"
EMBEDDERS = ("mobilefacenet_192", "arcface_int8", "sface_2021dec")
DETECTOR = "yunet_2023mar"
FULL_SET = "+".join(sorted(EMBEDDERS))
# plausible numbers for tests of the path; measured ones are in config/ensembles
CALIBRATION = {"a": 20.0, "b": -6.0}
RULE = {"a": 1.0, "b": 0.0, "threshold": 2.0, "review_threshold": 0.0}


def ensemble(version: int = 2, **changes: Any) -> dict[str, Any]:
    """The content of an ensemble file over the three networks."""
    members = [
        {"artifact": name, "weight": weight, "calibration": CALIBRATION}
        for name, weight in zip(EMBEDDERS, (0.3, 0.4, 0.3), strict=True)
    ]
    data = {
        "version": version,
        "name": "test",
        "detector": DETECTOR,
        "flip": False,
        "target_fmr": 0.001,
        "members": members,
        "voter_sets": {FULL_SET: RULE},
    }
    return {**data, **changes}


def write(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / f"v{data['version']}.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def activate(folder: Path, data: dict[str, Any]) -> EnsembleConfig:
    """Load, validate and activate an ensemble, and load its networks into this process."""
    first = not EnsembleConfig.objects.filter(state=EnsembleConfig.State.ACTIVE).exists()
    call_command("load_ensemble", str(write(folder, data)))
    call_command("validate_config", str(data["version"]))
    call_command("activate_config", str(data["version"]))
    runtime.refresh()
    if not first:  # a later version waits for a process that serves
        work_off()
    return EnsembleConfig.objects.get(version=data["version"])


def rewrite(**fields: Any) -> None:
    """Change every version in place, as nothing in the service can, for a process that has read none of them yet."""
    EnsembleConfig.objects.update(**fields)
    runtime.current().versions.clear()


def publish_presentation(
    folder: Path, name: str = "minifasnet", *, side: int = 24, dark: float = 0.0, **changes: object
) -> Artifact:
    """Publish a `tiny_presentation` as an operator brings one: cut wider than the pack's, and another class is live."""
    wanted = presentation_contract(**{"size": [side, side], "scale": 4.0, "live_index": 1, **changes})
    path = tiny_presentation(folder / f"{name}.onnx", side=side, dark=dark)
    return artifacts.publish(path, name, kind="presentation", family="minifasnet", contract=wanted.to_json())[0]
