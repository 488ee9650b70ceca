"""Metrics against hand counts, closed forms and simulated populations."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from ml_models.evaluation.lists.pairs import Comparisons
from ml_models.evaluation.rates.metrics import Subjects, System, clopper_pearson, threshold_at_fmr

NORMAL = NormalDist()


def pairwise(subjects: int, images: int = 2) -> Comparisons:
    """Every image of every subject against every other image."""
    who = np.repeat(np.arange(subjects, dtype=np.int32), images)
    a, b = (side.astype(np.int32) for side in np.triu_indices(len(who), 1))
    return Comparisons(a, b, who[a], who[b], np.zeros(len(a), np.int32))


def by_hand(mated: list[float], non_mated: list[float], fold: list[int] | None = None) -> System:
    """Each comparison of its own subjects."""
    n, m = len(mated), len(mated) + 2 * len(non_mated)
    a = np.concatenate([np.arange(n), np.arange(n, m, 2)]).astype(np.int32)
    b = np.concatenate([np.arange(n), np.arange(n + 1, m, 2)]).astype(np.int32)
    folds = np.array(fold or [0] * len(a), np.int32)
    return System(Comparisons(a, b, a, b, folds), np.array(mated + non_mated), Subjects(m, 200))


def gaussian(subjects: int, distance: float, seed: int, person: float = 0.0) -> System:
    """Unit-variance scores, `distance` apart; `person` is the subjects' part of the variance."""
    rng = np.random.default_rng(seed)
    comparisons = pairwise(subjects)
    own = rng.normal(size=subjects)
    shared = (own[comparisons.subject_a] + own[comparisons.subject_b]) * math.sqrt(person / 2)
    alone = rng.normal(size=len(comparisons)) * math.sqrt(1 - person)
    return System(comparisons, shared + alone + distance * comparisons.same, Subjects(subjects, 300))


def test_rates_at_a_threshold_are_what_a_hand_counts() -> None:
    system = by_hand([0.9, 0.8, 0.5, 0.2], [0.6, 0.5, 0.1, 0.0, -0.3])
    assert system.fmr(0.5)["value"] == 2 / 5  # a score at the threshold matches
    assert system.fnmr(0.5)["value"] == 1 / 4
    assert system.fnmr(0.51)["value"] == 2 / 4


def test_a_failure_to_acquire_is_a_false_reject_but_no_comparison() -> None:
    system = by_hand([0.9, 0.8, -math.inf, 0.2], [0.6, -math.inf, 0.1])
    assert system.fnmr(0.5)["value"] == pytest.approx(1 / 3)
    assert system.frr(0.5)["value"] == 2 / 4
    assert system.fmr(0.5)["value"] == 1 / 2
    assert system.far(0.5)["value"] == pytest.approx(1 / 3)


def test_tar_at_fmr_lets_no_more_than_the_target_match() -> None:
    non_mated = [i / 1000 for i in range(1000)]
    system = by_hand([0.9985, 0.9885, 0.5, -math.inf], non_mated)
    at_1_in_100, at_1_in_1000 = system.tar_at_fmr(0.01), system.tar_at_fmr(0.001)
    assert at_1_in_100 is not None
    assert at_1_in_1000 is not None
    assert at_1_in_100["value"] == 1 / 4  # ten impostors may match: the threshold lies just over 0.989
    assert at_1_in_1000["value"] == 1 / 4
    assert system.tar_at_fmr(0.0001) is None


def test_equal_scores_are_never_parted_by_a_threshold() -> None:
    non_mated = np.array([0.5] * 50 + [0.1] * 950)
    assert threshold_at_fmr(non_mated, 0.01) > 0.5
    assert threshold_at_fmr(non_mated, 0.05) == pytest.approx(0.1)


def test_the_eer_of_two_gaussians_has_its_closed_form() -> None:
    # mated scores of 300 subjects are few: average over seeds
    eers = [gaussian(300, 2.5, seed).eer()["value"] for seed in range(5)]
    assert np.mean(eers) == pytest.approx(NORMAL.cdf(-1.25), abs=0.01)


def test_the_eer_of_separated_scores_is_zero_with_an_honest_upper_bound() -> None:
    eer = by_hand([0.9] * 60, [0.1] * 60).eer()
    assert eer["value"] == 0
    assert eer["high"] >= 3 / 60


def test_the_eer_of_indistinguishable_scores_is_a_half() -> None:
    assert gaussian(200, 0.0, 1).eer()["value"] == pytest.approx(0.5, abs=0.05)


def test_zero_errors_in_n_bound_the_rate_at_about_three_in_n() -> None:
    fmr = by_hand([0.9] * 10, [0.1] * 1000).fmr(0.5)
    assert fmr["value"] == 0
    assert fmr["low"] == 0
    assert 3 / 1000 <= fmr["high"] <= 3.8 / 1000


def test_zero_errors_of_few_people_bound_little_however_often_they_are_compared() -> None:
    comparisons = pairwise(4, images=50)
    system = System(comparisons, comparisons.same.astype(np.float64), Subjects(4, 200))
    assert system.fmr(0.5)["high"] > 3 / 10  # six pairs of people, 15,000 comparisons
    assert system.fnmr(0.5)["high"] > 3 / 10


def test_clopper_pearson_agrees_with_published_values() -> None:
    assert clopper_pearson(0, 100)[1] == pytest.approx(0.0362, abs=1e-4)
    assert clopper_pearson(10, 100) == pytest.approx((0.0490, 0.1762), abs=1e-4)
    assert clopper_pearson(100, 100) == pytest.approx((0.9638, 1.0), abs=1e-4)


def test_the_interval_covers_the_truth_when_people_differ() -> None:
    """FMR and FNMR of a population in which some people are easier to mistake than others."""
    threshold, covered = 1.2, {"fmr": 0, "fnmr": 0}
    truth = {"fmr": 1 - NORMAL.cdf(threshold), "fnmr": NORMAL.cdf(threshold - 2.0)}
    runs = 60
    for seed in range(runs):
        system = gaussian(60, 2.0, seed, person=0.3)
        # a mated comparison has its person twice, so its variance is larger: the closed form follows
        truth["fnmr"] = NORMAL.cdf((threshold - 2.0) / math.sqrt(0.7 + 2 * 0.3))
        for name in covered:
            rate = getattr(system, name)(threshold)
            covered[name] += rate["low"] <= truth[name] <= rate["high"]
    assert covered["fmr"] >= 0.9 * runs
    assert covered["fnmr"] >= 0.9 * runs


def test_an_interval_over_subjects_is_wider_than_one_that_takes_comparisons_for_independent() -> None:
    system = gaussian(60, 2.0, 3, person=0.5)
    rate = system.fmr(1.2)
    naive = 1.96 * math.sqrt(rate["value"] * (1 - rate["value"]) / (~system.same).sum())
    assert rate["high"] - rate["low"] > 2 * 2 * naive


def test_the_same_list_gives_the_same_interval() -> None:
    assert gaussian(40, 2.0, 5).eer() == gaussian(40, 2.0, 5).eer()


def test_cllr_is_zero_for_certain_ratios_and_one_for_knowing_nothing() -> None:
    assert by_hand([50.0] * 20, [-50.0] * 20).cllr()["value"] == pytest.approx(0, abs=1e-12)
    assert by_hand([0.0] * 20, [0.0] * 20).cllr()["value"] == pytest.approx(1)
    assert by_hand([math.log(3)] * 20, [-math.log(3)] * 20).cllr()["value"] == pytest.approx(math.log2(4 / 3))


def test_accuracy_judges_each_fold_at_the_threshold_of_the_others() -> None:
    # fold 2's best threshold, 0.6, fails fold 1's 0.3; fold 1's best, 0.3, passes fold 2's 0.4
    system = by_hand([0.9, 0.3, 0.9, 0.6], [0.1, 0.2, 0.1, 0.4], [1, 1, 2, 2, 1, 1, 2, 2])
    assert system.accuracy()["value"] == (3 + 3) / 8


def test_accuracy_counts_a_failure_to_acquire_as_wrong_even_for_strangers() -> None:
    system = by_hand([0.9] * 10, [0.1] * 9 + [-math.inf], [1, 2] * 10)
    assert system.accuracy()["value"] == 19 / 20


def test_the_det_curve_trades_one_error_for_the_other() -> None:
    curve = gaussian(100, 2.0, 1).det()
    fmr, fnmr = [p["fmr"] for p in curve], [p["fnmr"] for p in curve]
    assert fmr == sorted(fmr)
    assert fnmr == sorted(fnmr, reverse=True)
    assert all(0 <= p <= 1 for p in fmr + fnmr)


def test_the_interval_of_a_million_comparisons_is_quick() -> None:
    system = gaussian(700, 4.0, 1)
    assert len(system.comparisons) > 900_000
    assert system.eer()["value"] == pytest.approx(NORMAL.cdf(-2), abs=0.01)


def test_draws_are_what_a_walk_through_each_replicate_gives() -> None:
    """TAR and FNMR exactly; the EER, which lies between thresholds, to a hundredth of itself."""
    system = gaussian(60, 1.5, 3, person=0.3)
    comparisons, scores = system.comparisons, system.scores
    draws = system.draws(0.01, 0.5)
    order = np.argsort(-scores, kind="stable")
    for replicate in range(0, 300, 25):
        drawn = system.subjects.drawn[replicate]
        weight = np.where(
            comparisons.same, drawn[comparisons.subject_a], drawn[comparisons.subject_a] * drawn[comparisons.subject_b]
        ).astype(np.float64)
        mated = weight * comparisons.same
        others = weight * ~comparisons.same
        fmr, tar = np.cumsum(others[order]) / others.sum(), np.cumsum(mated[order]) / mated.sum()
        assert draws["tar"][replicate] == pytest.approx(tar[fmr <= 0.01][-1], abs=1e-6)
        crossing = int(np.argmax(fmr >= 1 - tar))
        assert draws["eer"][replicate] == pytest.approx(fmr[crossing], rel=0.02)
        assert draws["fnmr"][replicate] == pytest.approx(mated[scores < 0.5].sum() / mated.sum(), abs=1e-6)
        assert draws["fmr"][replicate] == pytest.approx(others[scores >= 0.5].sum() / others.sum(), abs=1e-6)


@pytest.mark.parametrize("subjects", [30, 400])
def test_totals_are_the_weighted_sums_whichever_way_they_are_made(subjects: int) -> None:
    """One by one for few comparisons of many people, over pairs of people otherwise."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, subjects, 800).astype(np.int32) for _ in range(2))
    comparisons = Comparisons(a, b, a, b, np.zeros(800, np.int32))
    draws, values = Subjects(subjects, 50), rng.normal(size=800)
    assert (100 * len(comparisons) < subjects**2) == (subjects == 400)
    expected = values @ draws.weights(comparisons)
    assert draws.totals(comparisons, values) == pytest.approx(expected, rel=1e-3, abs=1e-2)
