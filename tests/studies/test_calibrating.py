"""`calibrate` on people who are really there: a small public set beside the project, where it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError

from ml_models import selectors
from ml_models.models import EnsembleConfig
from ml_models.versions import numbers
from tests.support.served import EMBEDDERS, FULL_SET, ROOT, ensemble, write

LONDON = ROOT.parent / "shared" / "data" / "dev_eval" / "london"

pytestmark = pytest.mark.skipif(not LONDON.is_dir(), reason="the development sets are not beside the project")


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command's own cache: every picture is embedded once."""
    return tmp_path_factory.mktemp("vectors")


@pytest.fixture
def calibrate(
    served: EnsembleConfig, vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Calibrate version 3, a draft without any number."""
    plain = [{"artifact": name, "weight": weight} for name, weight in zip(EMBEDDERS, (0.3, 0.4, 0.3), strict=True)]
    plain.append({"artifact": "eyewear", "weight": 0.0})  # has no vote, and gets no numbers
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, members=plain, voter_sets={}))))
    files = sorted(path.name for path in (LONDON / "images").iterdir())
    # the sorted files are two of each person; every picture on both sides of the list: all meet all
    lines = [f"{int(a[:3] == b[:3])},{a},{b}" for a, b in itertools.pairwise(files)]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("\n".join(["same,a,b", *lines]))
    listed = ["--pairs", str(pairs), "--images", str(LONDON / "images")]

    def run(*options: str, version: int = 3) -> dict[str, Any]:
        capsys.readouterr()
        call_command("calibrate", "--config", str(version), *listed, "--cache", str(vectors), "--json", *options)
        return dict(json.loads(capsys.readouterr().out))

    return run


def test_a_draft_gets_numbers_and_remembers_on_whom(calibrate: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "v3-calibrated.yaml"
    result = calibrate("--stress", "jpeg,low_light", "--stress-images", "20", "--output", str(output))

    assert [item["name"] for item in result["lists"]] == [
        "london/pairs",
        "london/pairs (jpeg)",
        "london/pairs (low_light)",
    ]
    clean = result["lists"][0]
    assert (clean["subjects"], clean["mated"]) == (40, 40)
    assert clean["fmr"] <= 0.001
    assert clean["fnmr"] < 0.1
    config = selectors.configs().get(version=3)
    assert len(config.calibrated_on["subjects"]) == 40
    # the numbers in the database decide, and rise with every similarity
    fusion = numbers.fusion(config)
    assert all(
        member.calibration.a > 0 and member.calibration.low < member.calibration.high for member in fusion.members
    )
    rule = fusion.voter_sets[FULL_SET]
    assert rule.review_threshold <= rule.threshold
    weighted = sum(member.weight * rule.trust[member.name] for member in fusion.members)
    assert weighted == pytest.approx(1, abs=1e-4)

    # the same people give the same numbers, and the file holds them too
    assert calibrate("--stress", "jpeg,low_light", "--stress-images", "20")["voter_sets"] == result["voter_sets"]
    EnsembleConfig.objects.filter(version=3).delete()
    call_command("load_ensemble", str(output))
    again = selectors.configs().get(version=3)
    assert numbers.fusion(again) == fusion
    assert {m.artifact.name for m in again.members.all() if m.calibration is None} == {"eyewear"}
    # whom it was calibrated on travels with the file, so that the gate can tell an overlap elsewhere, too
    assert again.calibrated_on == config.calibrated_on


def test_a_version_that_serves_is_left_alone(calibrate: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    before = EnsembleConfig.objects.get(version=2).voter_sets
    with pytest.raises(CommandError, match="cannot change"):
        calibrate(version=2)
    assert calibrate("--output", str(tmp_path / "v2.yaml"), version=2)["stored"] is False
    assert EnsembleConfig.objects.get(version=2).voter_sets == before


def test_what_held_in_a_condition_before_does_not_stay_beside_new_numbers(
    calibrate: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    before = [{"name": "covered", "voter_sets": {}}]
    EnsembleConfig.objects.filter(version=2).update(conditions=before)
    output = tmp_path / "v2.yaml"
    assert calibrate("--output", str(output), version=2)["conditions"] == []
    assert "conditions" not in yaml.safe_load(output.read_text())
    assert EnsembleConfig.objects.get(version=2).conditions == before


def test_forty_people_are_too_few_for_thresholds_by_the_rosters_size(
    calibrate: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "rosters.yaml"
    with pytest.raises(CommandError, match="--output"):
        calibrate("--identification-only")
    with pytest.raises(CommandError, match="too few people"):
        calibrate("--identification-only", "--output", str(output), version=2)
    assert not output.exists()
    assert calibrate()["identification"] == {}
    assert selectors.get_config(3).identification == {}
    with pytest.raises(CommandError, match="from 1 to 2000, not 2001"):
        call_command("evaluate", "--config=3", "--pairs=x", "--images=x", "--identify", "50", "2001")
