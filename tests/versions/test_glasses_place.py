"""A network for glasses in a version: what it tells is kept with each reference, and raises thresholds on every way."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from ml_models import rollouts, services
from ml_models.evaluation.pictures.glasses import clear_glasses, thick_round
from ml_models.models import EnsembleConfig, Reference
from ml_models.selectors import template
from ml_models.services import groups
from ml_models.versions import evidence, files, numbers
from ml_models.versions.validation import problems
from tests.api.identify.conftest import RIGHTS, block, identify
from tests.conftest import Portraits
from tests.support.served import CALIBRATION, FULL_SET, activate, ensemble, write
from tests.support.uploads import enroll, verify
from tests.versions.test_eyes_place import ALONE, behind

pytestmark = pytest.mark.django_db

# thresholds rise by what the network tells alone: the members' embeddings tell nothing here
TOLD = {
    "name": "glasses",
    "directions": {"arcface_int8": base64.b64encode(np.zeros(512, "<f2").tobytes()).decode()},
    "offset": 0.0,
    "sides": "shared",
    "both_margin": 1.0,
    "measure": "glasses",
    "centres": {},
    "members": {},
    "voter_sets": {},
}
GLASSES: dict[str, Any] = {"glasses": "glasses", "conditions": [TOLD]}

EYEWEAR = {"artifact": "eyewear", "weight": 0.0}
# what tells one pair of glasses from another has no vote
PAIRED: dict[str, Any] = {
    "glasses": "glasses",
    "members": [*ensemble()["members"], EYEWEAR],
    "conditions": [{**TOLD, "pair": {"by": "eyewear", "another": 0.4, "same": 0.6}}],
}


@pytest.fixture
def door(service: APIClient, served: EnsembleConfig, tmp_path: Path, grant: Any, django_user_model: Any) -> APIClient:
    """The service, and may see thresholds; the version tells glasses."""
    activate(tmp_path, ensemble(3, **GLASSES, **ALONE, identification=block()))
    grant(django_user_model.objects.get(username="kiosk"), *RIGHTS)
    return service


def test_two_in_glasses_meet_higher_thresholds_in_verify_and_identify(door: APIClient, portraits: Portraits) -> None:
    bare, worn = portraits.eileen_collins, behind(clear_glasses, portraits.eileen_collins)
    for subject_id, picture in (("bare", bare), ("worn", worn)):
        enroll_alone(door, subject_id, picture)
    kept = {r.subject.subject_id: r.quality["glasses"] for r in Reference.objects.select_related("subject")}
    assert kept["bare"] < 0.1
    assert kept["worn"] > 0.9

    plain = thresholds(door, "bare", bare)
    assert plain == pytest.approx((2.0, 3.0))
    assert thresholds(door, "bare", worn) == thresholds(door, "worn", bare) == plain
    assert thresholds(door, "worn", worn) == pytest.approx((3.0, 4.0))
    # a reference of before the version: nobody knows, so it counts as one in glasses
    reference = Reference.objects.get(subject__subject_id="bare")
    Reference.objects.update(quality={key: value for key, value in reference.quality.items() if key != "glasses"})
    assert thresholds(door, "bare", worn) == pytest.approx((3.0, 4.0))
    assert thresholds(door, "bare", bare) == plain


def enroll_alone(door: APIClient, subject_id: str, picture: bytes) -> None:
    """Enrol somebody, who is in a group of their own."""
    assert enroll(door, subject_id, picture).status_code == 201
    groups.put(services.NOBODY, f"only-{subject_id}", [subject_id])


def thresholds(door: APIClient, subject_id: str, picture: bytes) -> tuple[float, float]:
    """What a verify and an identification of somebody alone have to reach."""
    answers = verify(door, subject_id, picture), identify(door, picture, group=f"only-{subject_id}")
    assert [answer.status_code for answer in answers] == [200, 200]
    for answer in answers:
        assert {member["name"] for member in answer.json()["members"]} == set(FULL_SET.split("+"))
    one, many = (answer.json()["threshold"] for answer in answers)
    return one, many


def test_only_the_same_pair_raises_them_where_a_network_tells_pairs(
    door: APIClient, tmp_path: Path, portraits: Portraits
) -> None:
    activate(tmp_path, ensemble(4, **PAIRED, **ALONE, identification=block()))
    one, other = (behind(shape, portraits.eileen_collins) for shape in (clear_glasses, thick_round))
    for subject_id, own, another in (("child-1", one, other), ("child-2", other, one)):
        enroll_alone(door, subject_id, own)
        assert thresholds(door, subject_id, another) == pytest.approx((2.0, 3.0))
        assert thresholds(door, subject_id, own) == pytest.approx((3.0, 4.0))


def test_a_template_tells_of_each_reference(door: APIClient, portraits: Portraits) -> None:
    worn = behind(clear_glasses, portraits.eileen_collins)
    for picture in (portraits.eileen_collins, worn):
        assert enroll(door, "child-1", picture).status_code == 201
    read = template("child-1", EnsembleConfig.objects.get(version=3))
    assert read
    first, second = read.embeddings.glasses
    assert first < 0.1 < 0.9 < second


def test_it_travels_with_the_version_and_evidence_knows_it(served: EnsembleConfig, tmp_path: Path) -> None:
    digests = set()
    for changes in ({}, {"glasses": "glasses"}, GLASSES):
        config = files.load(write(tmp_path, ensemble(3, **changes)))[0]
        digests.add((evidence.config_digest(config), numbers.pipeline_digest(config)))
    assert len({digest for digest, _ in digests}) == 3
    assert len({digest for _, digest in digests}) == 2
    assert numbers.to_json(numbers.fusion(config))["conditions"] == [TOLD]
    for version in (config, files.clone(config)):
        assert (files.export(version)["glasses"], files.export(version)["conditions"]) == ("glasses", [TOLD])
    rollouts.validate(config)


def test_who_tells_pairs_of_glasses_gets_no_numbers_and_no_vote(served: EnsembleConfig, tmp_path: Path) -> None:
    config = files.load(write(tmp_path, ensemble(3, **PAIRED)))[0]
    fusion = numbers.fusion(config)
    assert {member.name for member in fusion.members} == set(FULL_SET.split("+"))
    assert numbers.to_json(fusion)["conditions"] == PAIRED["conditions"]
    numbers.store(config, numbers.to_json(fusion), {})
    stored = {m["artifact"]: m["calibration"] for m in files.export(EnsembleConfig.objects.get(version=3))["members"]}
    assert stored.pop("eyewear") is None
    assert all(calibration["a"] == CALIBRATION["a"] for calibration in stored.values())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({**PAIRED, "members": ensemble()["members"]}, "no such network is in the version"),
        (
            {**PAIRED, "members": [{**m, "weight": 0.25} for m in (*ensemble()["members"], EYEWEAR)]},
            "eyewear tells glasses, not faces: its weight is 0",
        ),
        ({"glasses": None}, "no network has that place"),
        ({"conditions": [{**TOLD, "measure": "hats"}]}, "only a shared condition has a measure"),
    ],
)
def test_what_lacks_its_network_or_gives_it_a_vote_is_no_version(
    served: EnsembleConfig, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    data = {key: value for key, value in ensemble(3, **{**GLASSES, **changes}).items() if value is not None}
    assert says in str(problems(files.load(write(tmp_path, data))[0]))
