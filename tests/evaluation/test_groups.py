"""Groups of people are compared: what differs beyond chance is said first, and what could not be seen is said too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_models.evaluation.lists.pairs import Comparisons, Pool
from ml_models.evaluation.pictures.embedding import QUALITY_FIELDS, Embedded
from ml_models.evaluation.rates.intervals import Subjects
from ml_models.evaluation.rates.systems import Systems
from ml_models.evaluation.report import groups
from ml_models.evaluation.study import Study

PEOPLE, IMAGES = 60, 6
HALVES = np.where(np.arange(PEOPLE) % 2, "female", "male")


class Measured:
    """Sixty people, six pictures each, all against all; `wrong` are the comparisons that err."""

    def __init__(self, people: int = PEOPLE, codes: Any = None) -> None:
        who = np.repeat(np.arange(people, dtype=np.int32), IMAGES)
        a, b = (side.astype(np.int32) for side in np.triu_indices(len(who), 1))
        self.people, self.who = people, who
        self.comparisons = Comparisons(a, b, who[a], who[b], np.zeros(len(a), np.int32))
        self.wrong = np.zeros(len(a), bool)
        self.codes = ("",) * len(who) if codes is None else tuple(codes)
        self.lists: tuple[Comparisons, ...] = (self.comparisons,)

    def compare(self, **attributes: Any) -> dict[str, Any]:
        """`attributes` are by subject."""
        images, subjects = tuple(Path(f"{i}") for i in self.who), tuple(f"s/{i}" for i in range(self.people))
        of_images = {name: np.asarray(words)[self.who] for name, words in attributes.items()}
        names = tuple(f"list {i}" for i in range(len(self.lists)))
        pool = Pool(names, images, subjects, self.who, self.lists, (), of_images)
        measures = {field: np.ones(len(self.who)) for field in QUALITY_FIELDS}
        embedded = Embedded({}, {}, measures, self.codes, np.zeros(len(self.who), bool), 0.0)
        failed = ~embedded.acquired
        margin = np.where(self.comparisons.same ^ self.wrong, 1.0, -1.0)
        margin[failed[self.comparisons.a] | failed[self.comparisons.b]] = -np.inf
        systems = Systems(self.comparisons, {}, margin, margin, Subjects(self.people, 200))
        return groups.compare(systems, Study(pool, pool, embedded))

    def of(self, test: str, **attributes: Any) -> dict[str, Any]:
        by, rate = test.split()
        return next(t for t in self.compare(**attributes)["tests"] if (t["by"], t["rate"]) == (by, rate))


def some(count: int, share: float, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random(count) < share


@pytest.fixture
def measured() -> Measured:
    return Measured()


def test_a_group_that_is_rejected_more_often_is_named_first_with_its_figures(measured: Measured) -> None:
    c = measured.comparisons
    often = HALVES[c.subject_a] == "female"
    measured.wrong = c.same & np.where(often, some(len(c), 0.3), some(len(c), 0.02))
    result = measured.compare(gender=HALVES, hair=np.where(np.arange(PEOPLE) < 30, "dark", "fair"))
    assert [(t["by"], t["rate"]) for t in result["tests"] if t["differs"]] == [("gender", "fnmr")]
    first, second = result["says"]
    rates = {row["group"]: row["rate"] for row in measured.of("gender fnmr", gender=HALVES)["groups"]}
    assert first.startswith("Groups of people differ beyond chance by gender: the FNMR is ")
    assert f"{100 * rates['female']['value']:.2f} % (" in first
    assert "for female, 30 people, and" in first
    assert rates["female"]["low"] > rates["male"]["value"]
    assert second.startswith("No difference beyond chance was found by gender, hair: 5 of 6 tests on 60 people.")


def test_strangers_of_one_group_that_match_more_often_are_found(measured: Measured) -> None:
    c = measured.comparisons
    alike = (HALVES[c.subject_a] == "female") & (HALVES[c.subject_b] == "female") & ~c.same
    measured.wrong = np.where(alike, some(len(c), 0.03), ~c.same & some(len(c), 0.003))
    result = measured.compare(gender=HALVES)
    assert [t["rate"] for t in result["tests"] if t["differs"]] == ["fmr"]
    assert "FMR of strangers of the same group is" in result["says"][0]


def test_that_people_of_one_group_look_alike_in_every_group_is_no_difference_between_groups(
    measured: Measured,
) -> None:
    c = measured.comparisons
    of_one_group = HALVES[c.subject_a] == HALVES[c.subject_b]
    measured.wrong = ~c.same & np.where(of_one_group, some(len(c), 0.03), some(len(c), 0.003))
    assert not any(t["differs"] for t in measured.compare(gender=HALVES)["tests"])


def test_a_group_whose_pictures_are_not_acquired_is_found() -> None:
    who = np.repeat(np.arange(PEOPLE), IMAGES)
    failed = (HALVES[who] == "female") & some(len(who), 0.3)
    measured = Measured(codes=np.where(failed, "no_face_found", ""))
    assert [t["rate"] for t in measured.compare(gender=HALVES)["tests"] if t["differs"]] == ["fta"]


def test_two_people_who_are_always_rejected_are_chance_and_not_their_group(measured: Measured) -> None:
    """Comparison by comparison thirty errors to none would be p = 1e-9; they are two people."""
    c = measured.comparisons
    measured.wrong = c.same & np.isin(c.subject_a, [1, 3])
    test = measured.of("gender fnmr", gender=HALVES)
    assert [row["rate"]["value"] for row in test["groups"]] == [pytest.approx(2 / 30), 0]
    assert not test["differs"]
    assert test["p"] > 0.2


def test_chance_is_called_a_difference_in_one_of_twenty_reports_at_most() -> None:
    found = 0
    rng = np.random.default_rng(7)
    measured = Measured(people=24)
    for seed in range(40):
        c = measured.comparisons
        measured.wrong = some(len(c), 0.02, seed)
        found += any(t["differs"] for t in measured.compare(group=rng.permutation(["a", "b"] * 12))["tests"])
    assert found <= 5  # of 40, at 5 %: six or more have a probability of 1.4 %


def test_a_list_that_is_harder_does_not_make_the_people_in_it_a_worse_group() -> None:
    """All of one list are of one group but a few: by group alone the list's difficulty would be the group's."""
    measured = Measured()
    c = measured.comparisons
    hard = np.arange(PEOPLE) < 30
    group = np.where(hard ^ np.isin(np.arange(PEOPLE), [0, 10, 20, 40, 50]), "a", "b")
    measured.wrong = c.same & hard[c.subject_a] & some(len(c), 0.5)
    parts = [c.take(hard[c.subject_a] & hard[c.subject_b]), c.take(~hard[c.subject_a] & ~hard[c.subject_b])]
    assert measured.of("group fnmr", group=group)["differs"]
    measured.lists = tuple(parts)
    assert not measured.of("group fnmr", group=group)["differs"]


def test_where_nothing_is_found_it_says_what_could_not_be_seen() -> None:
    few = Measured(people=12)
    (sentence,) = few.compare(gender=np.repeat(["a", "b"], 6))["says"]
    assert "That is not to say that there is none" in sentence
    room = few.of("gender fnmr", gender=np.repeat(["a", "b"], 6))["room"]
    assert room["up_to"] == pytest.approx(0.459, abs=0.001)  # Clopper and Pearson: 0 of 6 people
    assert "FNMR by 46 points (gender: " in sentence
    assert Measured().of("gender fnmr", gender=HALVES)["room"]["up_to"] < 0.12  # thirty people each


def test_a_small_group_is_neither_tested_nor_named(measured: Measured) -> None:
    group = np.where(np.arange(PEOPLE) < 4, "rare", HALVES)
    result = measured.compare(group=group, side=np.where(np.arange(PEOPLE) < 4, "one", "other"))
    assert {row["group"] for test in result["tests"] for row in test["groups"]} == {"female", "male"}
    assert "rare" not in str(result)
    assert result["untested"] == ["side"]
    assert result["says"][-1].startswith("Not compared: side.")
    assert result["people"] == PEOPLE - 4


def test_without_attributes_nothing_is_said(measured: Measured) -> None:
    assert measured.compare() == {"people": 0, "untested": [], "tests": [], "says": []}


def test_the_same_report_is_the_same_twice(measured: Measured) -> None:
    measured.wrong = some(len(measured.wrong), 0.05)
    assert measured.compare(gender=HALVES) == measured.compare(gender=HALVES)


def test_p_values_are_corrected_for_their_number() -> None:
    # Holm, 1979: the smallest times their number, the next times one less, never falling
    assert groups.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert groups.holm([0.9, 0.8]) == [1.0, 1.0]
    assert groups.holm([]) == []


def test_the_statistic_is_pearson_s() -> None:
    """10 errors of 40 against 2 of 60, by the formula over all four cells; counted by pairs of people the same."""
    members = np.repeat(np.eye(2), 2, axis=0)
    errors, trials = np.array([4.0, 6.0, 2.0, 0.0]), np.array([20.0, 20.0, 30.0, 30.0])
    expected = np.array([[40 * 0.12, 40 * 0.88], [60 * 0.12, 60 * 0.88]])
    observed = np.array([[10, 30], [2, 58]])
    by_hand = float(((observed - expected) ** 2 / expected).sum())
    assert groups.pearson(errors, trials, members) == pytest.approx(by_hand)
    assert groups.pearson(np.diag(errors), np.diag(trials), members) == pytest.approx(by_hand)
