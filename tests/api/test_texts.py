"""Texts in the caller's language, beside codes and numbers that are the same in every one."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import translation
from django.utils.translation import gettext
from rest_framework.test import APIClient

from ml_models.api import texts
from ml_models.api.errors import CODES
from ml_models.engine.conditions import CONDITIONS
from ml_models.engine.quality import QualityLimits, details
from ml_models.engine.turns import STEPS
from ml_models.engine.types import Quality
from ml_models.services import challenges
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened
from tests.support.served import ROOT
from tests.support.uploads import verify

OTHERS = texts.LANGUAGES[1:]


def spoken(data: Any) -> Iterator[str]:
    """What a person reads of an answer."""
    if isinstance(data, list):
        for item in data:
            yield from spoken(item)
    elif isinstance(data, dict):
        yield from (str(data[key]) for key in ("detail", "text") if key in data)
        yield from data.get("reasons", ())
        for value in data.values():
            yield from spoken(value)


def unspoken(data: Any) -> Any:
    """The rest of it: codes and numbers."""
    if isinstance(data, list):
        return [unspoken(item) for item in data]
    if not isinstance(data, dict):
        return data
    return {key: unspoken(value) for key, value in data.items() if key not in ("detail", "text", "reasons")}


def reason_codes() -> set[str]:
    """Every code that the sources give to a reason."""
    source = "".join(path.read_text() for path in (ROOT / "ml_models").rglob("*.py"))
    codes = set(re.findall(r'\b(?:Reason|low|high)\(\s*"(\w+)"', source)) | set(
        re.findall(r'^    "(?:front|left|right)": \("(\w+)"', source, re.MULTILINE)
    )
    return codes | {condition.name for condition in CONDITIONS.values() if condition.advice}


def test_every_code_has_a_text_in_every_language() -> None:
    assert set(CODES) == set(texts.PROBLEMS)
    assert set(texts.REASONS) == reason_codes()
    assert set(texts.STEPS) == set(STEPS)
    every = {*texts.PROBLEMS.values(), *texts.REASONS.values(), *texts.STEPS.values()}
    for language in OTHERS:
        with translation.override(language):
            assert {text for text in every if gettext(text) == text} == set(), language


def test_the_english_texts_are_what_the_service_says() -> None:
    assert texts.STEPS == challenges.TEXTS
    poor: dict[str, Any] = dict.fromkeys(
        ("face_px", "sharpness", "brightness", "contrast", "detector_score", "eye_contrast"), -1.0
    )
    turned = dict.fromkeys(("yaw_deg", "pitch_deg", "roll_deg", "landmark_residual"), 1e9)
    dark, bright = (Quality(score=-1.0, reasons=(), **{**poor, **turned, "brightness": at}) for at in (-1.0, 1e9))
    said = {reason.code: reason.text for one in (dark, bright) for reason in details(one, QualityLimits())}
    assert len(said) == 11
    assert said == {code: texts.REASONS[code] for code in said}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-CH,de;q=0.9,en;q=0.8", "de"),
        ("fr, es;q=0.5, de;q=0.4", "es"),
        ("de;q=0", "en"),
        ("de;q=0, es;q=0.1", "es"),
        ("ar-EG", "ar"),
        ("en-GB,de", "en"),
        ("fr", "en"),
        ("", "en"),
        ("*", "en"),
        (";;;", "en"),
    ],
)
def test_the_first_language_that_there_is_is_spoken(header: str, language: str) -> None:
    response = APIClient().get("/api/v1/face/nowhere", headers={"Accept-Language": header})
    assert response["Content-Language"] == language
    assert "Accept-Language" in response["Vary"]
    assert (response.json()["code"], response.status_code) == ("not_found", 404)
    with translation.override(language):
        assert response.json()["detail"] == gettext("There is nothing here.")


@pytest.mark.django_db
def test_codes_and_numbers_are_the_same_in_every_language(
    people: list[str], service: APIClient, portraits: Portraits
) -> None:
    dark = encoded(opened(portraits.eileen_collins).point(lambda value: value // 14))

    def ask(call: str) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for language in texts.LANGUAGES:
            service.defaults["HTTP_ACCEPT_LANGUAGE"] = language
            if call == "challenge":
                body = {"purpose": "verify", "subject_id": "child-1"}
                answer = service.post("/api/v1/face/liveness/challenges", body)
            else:
                frames = {"refused": [dark], "dropped": [portraits.eileen_collins, dark], "unknown": [dark]}[call]
                answer = verify(service, "nobody" if call == "unknown" else "child-1", *frames)
            assert answer["Content-Language"] == language
            answers[language] = answer.json()
        return answers

    refused = ask("refused")
    assert refused["en"]["details"][0]["text"] == "too dark"
    assert refused["de"]["reasons"][0] == refused["de"]["details"][0]["text"] == "zu dunkel"
    assert refused["de"]["detail"] == "Das Bild ist nicht gut genug. Machen Sie ein anderes."
    for answers in (refused, ask("unknown")):
        assert all(unspoken(answer) == unspoken(answers["en"]) for answer in answers.values())
        assert len({tuple(spoken(answer)) for answer in answers.values()}) == len(texts.LANGUAGES)
    dropped = ask("dropped")
    assert {language: answer["frames_dropped"][0]["code"] for language, answer in dropped.items()} == dict.fromkeys(
        texts.LANGUAGES, "low_quality"
    )
    assert dropped["es"]["frames_dropped"][0]["details"][0]["text"] == "demasiado oscuro"
    steps = ask("challenge")["ar"]["steps"]
    with translation.override("ar"):
        assert [step["text"] for step in steps] == [gettext(challenges.TEXTS[step["step"]]) for step in steps]


def test_where_the_host_wants_no_translation_english_is_spoken(settings: Any) -> None:
    settings.USE_I18N = False
    response = APIClient().get("/api/v1/face/nowhere", headers={"Accept-Language": "de"})
    assert (response["Content-Language"], response.json()["detail"]) == ("en", "There is nothing here.")


def test_the_capture_page_reads_from_right_to_left_in_arabic_and_runs_no_script_of_its_own(
    client: Any, settings: Any
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "TRY_PAGE": False}
    assert client.get("/try/").status_code == 404
    settings.ML_MODELS = {**settings.ML_MODELS, "TRY_PAGE": True}
    page = client.get("/try/", headers={"Accept-Language": "ar"})
    assert '<html lang="ar" dir="rtl">' in page.text
    assert "جرّب الكاميرا" in page.text
    assert "script-src 'self'" in page["Content-Security-Policy"]
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*(?: src=|application/json))", page.text) == []
    assert 'dir="ltr"' in client.get("/try/", headers={"Accept-Language": "de"}).text
    assert client.post("/try/").status_code == 405
