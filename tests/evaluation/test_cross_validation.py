"""Nobody is measured with numbers that were fitted on them, and nobody has to be set aside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml_models.engine.fuse import Fusion
from ml_models.evaluation import scoring
from ml_models.evaluation.calibration import cross_validation, fitting
from ml_models.evaluation.lists.pairs import Comparisons
from ml_models.evaluation.scoring import Labelled

from .test_fitting import labelled, members

PEOPLE = 90


def people(comparisons: Comparisons) -> set[int]:
    return {int(subject) for subject in (*comparisons.subject_a, *comparisons.subject_b)}


@pytest.fixture
def part_of() -> np.ndarray:
    return cross_validation.parts([f"s{i}" for i in range(PEOPLE)], 3)


def test_every_comparison_is_scored_by_numbers_that_know_neither_of_its_people(
    monkeypatch: pytest.MonkeyPatch, part_of: np.ndarray
) -> None:
    item, attempts = labelled(PEOPLE), labelled(PEOPLE, seed=1)
    taught: dict[int, set[int]] = {}
    fit, score = fitting.fit, scoring.score

    def fitted(chosen: object, lists: list[Labelled], target: float, cells: list[Labelled]) -> Fusion:
        fusion = fit(members(), lists, target, cells)
        taught[id(fusion)] = people(lists[0].comparisons)
        assert people(cells[0].comparisons) == taught[id(fusion)]
        return fusion

    def scored_elsewhere(fusion: Fusion, part: Labelled) -> scoring.Scored:
        assert not people(part.comparisons) & taught[id(fusion)]
        return score(fusion, part)

    monkeypatch.setattr(fitting, "fit", fitted)
    monkeypatch.setattr(cross_validation, "score", scored_elsewhere)
    fusions = cross_validation.fit_parts([item], part_of, members(), 0.01, cells=[attempts])
    (scored,) = cross_validation.crossed(fusions, [item], part_of)
    assert np.isfinite(scored.score).all()
    assert [len(taught[id(fusion)]) for fusion in fusions.values()] == [
        int((~np.isin(part_of, left_out)).sum()) for left_out in fusions
    ]


def test_a_part_by_itself_is_scored_by_what_all_others_taught(part_of: np.ndarray) -> None:
    item = labelled(PEOPLE)
    (scored,) = cross_validation.crossed(cross_validation.fit_parts([item], part_of, members(), 0.01), [item], part_of)
    inside, others = (
        (side[0] == wanted) & (side[1] == wanted)
        for side, wanted in (
            (np.stack([part_of[item.comparisons.subject_a], part_of[item.comparisons.subject_b]]), 1),
            (np.stack([part_of[item.comparisons.subject_a] != 1, part_of[item.comparisons.subject_b] != 1]), True),
        )
    )
    expected = scoring.score(fitting.fit(members(), [item.take(others)], 0.01), item.take(inside))
    np.testing.assert_array_equal(scored.score[inside], expected.score)
    np.testing.assert_array_equal(scored.threshold[inside], expected.threshold)


def test_of_two_parts_strangers_from_both_belong_to_no_figure() -> None:
    item = labelled(PEOPLE)
    part_of = cross_validation.parts([f"s{i}" for i in range(PEOPLE)], 2)
    (scored,) = cross_validation.crossed(cross_validation.fit_parts([item], part_of, members(), 0.01), [item], part_of)
    same_part = part_of[item.comparisons.subject_a] == part_of[item.comparisons.subject_b]
    np.testing.assert_array_equal(np.isfinite(scored.score), same_part)


def test_which_side_of_a_comparison_a_person_stands_on_does_not_matter(part_of: np.ndarray) -> None:
    item = labelled(PEOPLE)
    c = item.comparisons
    turned = replace(item, comparisons=Comparisons(c.b, c.a, c.subject_b, c.subject_a, c.fold))
    fusions = cross_validation.fit_parts([item], part_of, members(), 0.01)
    one, other = cross_validation.crossed(fusions, [item, turned], part_of)
    np.testing.assert_array_equal(one.score, other.score)


def test_a_subject_is_in_the_same_part_in_every_list_and_parts_are_about_even() -> None:
    names = [f"lfw/{i}" for i in range(1000)]
    dealt = cross_validation.parts(names, 5)
    assert np.array_equal(cross_validation.parts(names[::-1], 5)[::-1], dealt)
    assert np.bincount(dealt).min() > 150
