"""What is said of guessing is what the database allows, asked by guessing."""

import re
from itertools import count
from typing import Any

import pytest

from ml_models.exceptions import LockedOut
from ml_models.models import Subject
from ml_models.services import Caller, counts, guesses, lockout
from tests.support.clock import pass_
from tests.support.served import ROOT

pytestmark = pytest.mark.django_db

FMR = 0.001


def guess_without_pause(days: int, subjects: Any, credentials: Any) -> list[int]:
    """Guesses told on each day; a refusal is waited out."""
    told, now_s = [0] * days, 0
    subject, credential = next(subjects), next(credentials)
    while now_s < days * counts.DAY_S:
        try:
            lockout.settle(Caller(None, credential), subject.pk, subject.subject_id, "no_match")
        except LockedOut as refusal:
            pass_(seconds=refusal.retry_after_s)
            now_s += refusal.retry_after_s
        else:
            told[now_s // counts.DAY_S] += 1
            subject, credential = next(subjects), next(credentials)
    return told


def always(value: Any) -> Any:
    return iter(lambda: value, None)


def test_one_credential_on_one_subject_is_told_so_many_guesses() -> None:
    child = Subject.objects.create(subject_id="child")
    told = guess_without_pause(3, always(child), always("key:a"))
    assert told == guesses.on_one_subject(3, one_credential=True) == [11, 1, 1]


def test_any_number_of_credentials_on_one_subject_are_told_so_many_guesses() -> None:
    child = Subject.objects.create(subject_id="child")
    told = guess_without_pause(3, always(child), (f"key:{number}" for number in count()))
    assert told == guesses.on_one_subject(3, one_credential=False) == [13, 1, 1]


def test_one_credential_over_all_subjects_is_told_so_many_guesses() -> None:
    children = (Subject.objects.create(subject_id=f"child-{number}") for number in count())
    told = guess_without_pause(2, children, always("key:a"))
    assert told == guesses.over_all_subjects(2) == [41, 24]


def test_the_figures_follow_the_settings(settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "SLOW_AFTER": 2, "LOCKOUT_S": 7200, "LOCKOUT_MAX_S": 14_400}
    child = Subject.objects.create(subject_id="child")
    told = guess_without_pause(2, always(child), always("key:a"))
    assert told == guesses.on_one_subject(2, one_credential=True)
    assert told != [11, 1]


def test_the_table_in_the_documentation_is_what_is_computed() -> None:
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \| ([\d,]+) \| ([\d.,]+) \| ([\d.,]+) \|$", _guessing(), re.MULTILINE)
    written = {policy: tuple(float(figure.replace(",", "")) for figure in figures) for policy, *figures in rows}
    day_s = counts.DAY_S
    computed = {
        "one subject: no lock, 600 calls a minute": [600 * 1440] * 2,
        "one subject: five, then 300 s, each time": [5 * day_s // 300] * 2,
        "one subject: as it is, any number of credentials": guesses.on_one_subject(2, one_credential=False),
        "one subject: as it is, one credential": guesses.on_one_subject(2, one_credential=True),
        "one stolen credential: not counted, 3,000 calls a minute": [3000 * 1440] * 2,
        "one stolen credential: as it is, out of use": guesses.over_all_subjects(2),
        "one stolen credential: as it is, of a kiosk with 240 visits a day": guesses.over_all_subjects(2, 240, 0.01),
        "one stolen credential: as it is, of a fleet with 40,000": guesses.over_all_subjects(2, 40_000, 0.01),
    }
    assert written == {
        policy: pytest.approx((*told, *(FMR * figure for figure in told)), rel=0.05)
        for policy, told in computed.items()
    }


def _guessing() -> str:
    text = (ROOT / "docs" / "security.md").read_text()
    return text.partition("## Guessing")[2].partition("\n## ")[0]
