"""Scores that mean what they say lie on the diagonal; scores that claim too much do not."""

from __future__ import annotations

import numpy as np
import pytest

from ml_models.evaluation.lists.pairs import Comparisons
from ml_models.evaluation.rates.intervals import Subjects
from ml_models.evaluation.rates.metrics import System
from ml_models.evaluation.rates.reliability import EDGES, reliability


def gaussian(stretch: float, subjects: int = 150) -> System:
    """Two unit Gaussians two apart: the log-likelihood ratio of x is 2 x; stretched, it claims too much."""
    who = np.repeat(np.arange(subjects, dtype=np.int32), 4)
    a, b = (side.astype(np.int32) for side in np.triu_indices(len(who), 1))
    comparisons = Comparisons(a, b, who[a], who[b], np.zeros(len(a), np.int32))
    x = np.random.default_rng(1).normal(np.where(comparisons.same, 1.0, -1.0))
    return System(comparisons, 2 * x * stretch, Subjects(subjects, 200))


def test_every_acquired_comparison_is_in_one_bin() -> None:
    system = gaussian(1.0)
    system.scores[:7] = -np.inf
    bins = reliability(system)
    assert len(bins) == len(EDGES) + 1
    assert sum(item["mated"] + item["non_mated"] for item in bins) == len(system.scores) - 7


def test_a_true_likelihood_ratio_is_what_it_claims() -> None:
    bins = [item for item in reliability(gaussian(1.0)) if item["observed"]]
    assert len(bins) == len(EDGES) + 1
    inside = [item["observed"]["low"] <= item["claimed"] <= item["observed"]["high"] for item in bins]
    assert sum(inside) >= len(bins) - 1
    assert bins[5]["observed"]["value"] == pytest.approx(bins[5]["claimed"], abs=0.05)


def test_scores_that_claim_too_much_are_found_out() -> None:
    bins = [item for item in reliability(gaussian(2.0)) if item["observed"]]
    off = [item for item in bins if not item["observed"]["low"] <= item["claimed"] <= item["observed"]["high"]]
    assert len(off) >= len(bins) - 2
    high = next(item for item in bins if item["low"] == 2.0)
    assert high["observed"]["value"] < high["claimed"]


def test_a_bin_of_a_few_is_not_told() -> None:
    system = gaussian(1.0, subjects=3)
    assert any(item["observed"] is None for item in reliability(system))
