"""Every reason against a picture has a code and the numbers behind it, beside the words; docs/errors.md lists them."""

import json
import re

import pytest
from rest_framework.test import APIClient

from ml_models.api.errors import CODES
from ml_models.engine.conditions import CONDITIONS
from ml_models.engine.errors import Reason
from ml_models.engine.quality import ENROLL_LIMITS, QualityLimits, advised, details
from ml_models.engine.types import Quality
from ml_models.models import EnsembleConfig, Verification
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened
from tests.support.served import ROOT, rewrite
from tests.support.uploads import enroll, verify

GOOD = Quality(0.9, (), 120.0, 300.0, 130.0, 40.0, 1.0, -2.0, 0.0, 0.93, 3.0)
# measure → a value past its limit in ENROLL_LIMITS, the code and the words
PAST: dict[str, list[tuple[float, str, str]]] = {
    "face_px": [(50.0, "too_far", "come nearer")],
    "brightness": [(20.0, "too_dark", "too dark"), (250.0, "too_bright", "too bright")],
    "contrast": [(5.0, "low_contrast", "too little contrast")],
    "sharpness": [(3.0, "blurred", "blurred: hold still")],
    "yaw_deg": [(-50.0, "turned_away", "turn to the camera"), (50.0, "turned_away", "turn to the camera")],
    "pitch_deg": [(-50.0, "not_at_eye_level", "hold the camera at eye level")],
    "roll_deg": [(50.0, "tilted", "hold the head upright")],
    "detector_score": [(0.5, "covered", "uncover the face")],
    "eye_contrast": [(0.2, "eyes_covered", "uncover the eyes")],
    "eyes_visible": [(0.2, "eyes_covered", "uncover the eyes")],
    "landmark_residual": [(40.0, "unclear_features", "turn to the camera")],
    "score": [(0.3, "poor_quality", "better light, nearer, and look at the camera")],
}
CASES = [(measure, *case) for measure, cases in PAST.items() for case in cases]


def changed(**measures: float) -> Quality:
    return Quality(**{**{name: getattr(GOOD, name) for name in GOOD.__dataclass_fields__}, **measures})


@pytest.mark.parametrize(("measure", "value", "code", "text"), CASES)
def test_a_measure_past_its_limit_is_told_with_both(measure: str, value: float, code: str, text: str) -> None:
    assert details(GOOD, ENROLL_LIMITS) == ()
    (reason,) = details(changed(**{measure: value}), ENROLL_LIMITS)
    limits = ENROLL_LIMITS.to_json()
    low = code not in ("too_bright", "turned_away", "not_at_eye_level", "tilted", "unclear_features")
    limit = {"at_least": limits[f"min_{measure}"]} if low else {"at_most": limits[f"max_{measure}"]}
    assert reason.to_json() == {"code": code, "text": text, "measure": measure, "value": abs(value), **limit}


def test_every_limit_has_its_reason() -> None:
    limits = {name.removeprefix("min_").removeprefix("max_") for name in QualityLimits().to_json()}
    assert limits - {"bystander_ratio"} == set(PAST)


@pytest.mark.parametrize("condition", [name for name, condition in CONDITIONS.items() if condition.advice])
def test_what_the_networks_tell_has_a_code_and_no_number(condition: str) -> None:
    """Where a face lies among others is as good as a similarity."""
    with_advice = advised(GOOD, condition)
    assert [reason.to_json() for reason in with_advice.details] == [
        {"code": condition, "text": CONDITIONS[condition].advice}
    ]
    assert with_advice.reasons == (CONDITIONS[condition].advice,)
    assert advised(GOOD, "") == GOOD


def test_clear_glasses_are_nothing_to_be_changed() -> None:
    assert advised(GOOD, "glasses") == GOOD


@pytest.fixture
def dark(portraits: Portraits) -> bytes:
    return encoded(opened(portraits.eileen_collins).point(lambda value: value // 14))


@pytest.mark.django_db
def test_a_refused_picture_carries_codes_and_numbers_beside_the_words(
    service: APIClient, people: list[str], dark: bytes
) -> None:
    for answer, least in ((verify(service, "child-1", dark), 12.0), (enroll(service, "child-1", dark), 30.0)):
        body = answer.json()
        assert (answer.status_code, body["code"]) == (422, "low_quality")
        (too_dark,) = (item for item in body["details"] if item["code"] == "too_dark")
        assert too_dark.pop("value") < least
        assert too_dark == {"code": "too_dark", "text": "too dark", "measure": "brightness", "at_least": least}
        assert list(dict.fromkeys(item["text"] for item in body["details"])) == body["reasons"]
        assert not {"similarity", "threshold", "score"} & set(re.findall(r"\w+", json.dumps(body)))


@pytest.mark.django_db
def test_a_dropped_frame_carries_them_too(
    service: APIClient, people: list[str], dark: bytes, portraits: Portraits
) -> None:
    body = verify(service, "child-1", dark, b"not a picture", portraits.eileen_collins).json()
    assert [[item["code"] for item in frame["details"]] for frame in body["frames_dropped"]] == [
        [item["code"] for item in verify(service, "child-1", dark).json()["details"]],
        [],
    ]
    assert body["quality"]["details"] == []
    assert Verification.objects.get(pk=body["verification_id"]).frames_dropped == body["frames_dropped"]


@pytest.mark.django_db
def test_a_version_s_own_limit_is_the_one_that_is_told(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    rewrite(quality_limits={"enroll": {"min_brightness": 200.0}})
    (reason,) = enroll(service, "child-1", portraits.eileen_collins).json()["details"]
    assert (reason["code"], reason["at_least"]) == ("too_dark", 200.0)


def rows(heading: str) -> list[tuple[str, list[str]]]:
    """A table of docs/errors.md: of each row the code and the other cells."""
    text = (ROOT / "docs" / "errors.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    return [(code, [cell.strip() for cell in cells.split("|")]) for code, cells in found]


def test_the_documentation_lists_every_code_with_its_status() -> None:
    codes = rows("Codes")
    assert {code: int(cells[0]) for code, cells in codes} == CODES
    assert all(all(cells) for _, cells in codes)


def test_the_documentation_lists_every_reason_with_its_measure() -> None:
    listed = {(code, cells[0].strip("`"), cells[2]) for code, cells in rows("Reasons of `low_quality`")}
    assert listed == {(code, measure, text) for measure, _, code, text in CASES}
    assert {name for name, condition in CONDITIONS.items() if condition.advice} <= {code for code, _, _ in listed}


def test_a_reason_without_a_measure_has_no_empty_fields() -> None:
    assert Reason("poor_quality", "better light").to_json() == {"code": "poor_quality", "text": "better light"}
