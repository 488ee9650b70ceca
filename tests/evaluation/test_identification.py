"""Rosters made from lists: counted as they would be drawn, and thresholds that hold the target on them."""

import itertools
import math

import numpy as np
import pytest

from ml_models.engine.identify import MAX_CANDIDATES
from ml_models.evaluation.identification import SIZES, Searches, fit, needed, rates, searches, some_reach
from ml_models.evaluation.lists.pairs import Comparisons
from ml_models.evaluation.pictures.embedding import QUALITY_FIELDS, Embedded
from ml_models.evaluation.rates.intervals import Subjects

PEOPLE, PICTURES = 500, 7


def made(spread: float = 1.0, people: int = PEOPLE, mated: float = 12.0) -> Searches:
    """Every picture but the first of each person searches the first ones; strangers' margins are Gaussian."""
    rng = np.random.default_rng(3)
    searcher = np.repeat(np.arange(people, dtype=np.int32), PICTURES)
    template = np.arange(people, dtype=np.int32)
    same = searcher[:, None] == template
    return Searches(np.where(same, mated, rng.normal(-4, spread, same.shape)), same, searcher, template)


@pytest.mark.parametrize(("size", "reaching", "among"), [(1, 2, 10), (3, 2, 10), (9, 2, 10), (4, 1, 6), (6, 1, 6)])
def test_the_probability_is_the_share_of_all_rosters(size: int, reaching: int, among: int) -> None:
    rosters = list(itertools.combinations(range(among), size))
    share = sum(any(one < reaching for one in roster) for roster in rosters) / len(rosters)
    assert some_reach(np.array([0.0, reaching]), among, size) == pytest.approx([0.0, share])


def test_of_too_few_people_larger_rosters_are_as_if_there_were_more() -> None:
    assert some_reach(np.array([1.0]), 100, 2000) == pytest.approx([1 - 0.99**2000])


def test_the_offset_holds_the_target_and_no_lower_one_does() -> None:
    item = made()
    for size in (1, 10, 50):
        offset = needed([item], size, 0.001)
        at, under = (
            rates(item, np.full(len(item.margin), value), Subjects(PEOPLE, 50), size)["fpir"]["value"]
            for value in (offset, offset - 0.05)
        )
        assert at <= 0.001 < under


def test_the_fitted_offsets_rise_and_reach_as_far_as_rosters_do() -> None:
    rule = fit([made(2.0)], 0.001)
    assert rule is not None
    assert [offset.candidates for offset in rule.offsets] == list(SIZES)
    assert rule.offsets[-1].candidates == MAX_CANDIDATES
    matches = [offset.match for offset in rule.offsets]
    assert matches == sorted(set(matches))
    assert all(offset.review < offset.match for offset in rule.offsets)
    # beyond what was measured the last slope goes on
    slopes = np.diff(matches) / np.diff(np.log(SIZES))
    assert slopes[3:] == pytest.approx([slopes[2]] * 2, rel=1e-3)


def test_nobody_is_named_more_easily_than_in_verify() -> None:
    """Where strangers stay far under verify's threshold no offset is negative."""
    rule = fit([made(0.1)], 0.001)
    assert rule is not None
    assert {offset.match for offset in rule.offsets} == {0.0}


def test_too_few_people_fit_nothing() -> None:
    assert fit([made(people=80)], 0.001) is None  # 560 searches
    assert fit([made(people=90), *[made(people=90)] * 5], 0.001) is None  # enough, but rosters of 45 at most


def test_misses_are_apart_from_misidentifications() -> None:
    """Of four members: one is found, one is under the threshold, one beside a stranger over it, one both."""
    template = np.arange(4, dtype=np.int32)
    margin = np.full((4, 4), -5.0)
    margin[[0, 1, 2, 3], [0, 1, 2, 3]] = [6.0, 1.0, 6.0, 1.0]
    margin[2, 0] = margin[3, 0] = 5.0
    item = Searches(margin, np.eye(4, dtype=bool), template, template)
    result = rates(item, np.full(4, 3.0), Subjects(4, 50), 2)
    # the other place on the roster is the one stranger of three that reaches the threshold
    assert result["fnir"]["value"] == pytest.approx((0 + 1 + 1 / 3 + 1) / 4)
    assert result["misidentified"]["value"] == pytest.approx((1 / 3) / 4)
    assert result["fpir"]["value"] == pytest.approx((2 / 3 + 2 / 3) / 4)
    assert (result["strangers"], result["members"], result["extrapolated"]) == (4, 4, False)
    for name in ("fpir", "fnir", "misidentified"):
        assert result[name]["low"] <= result[name]["value"] <= result[name]["high"]


def test_a_rate_of_zero_has_an_interval() -> None:
    item = made(0.1)
    result = rates(item, np.full(len(item.margin), 3.0), Subjects(PEOPLE, 50), 50)
    assert result["fpir"]["value"] == 0
    assert 1 / PEOPLE < result["fpir"]["high"] < 6 / PEOPLE


def test_every_picture_searches_and_none_meets_itself() -> None:
    rng = np.random.default_rng(0)
    count = 30
    subject_of = np.repeat(np.arange(10, dtype=np.int32), 3)
    vectors = rng.normal(size=(count, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = ("",) * (count - 1) + ("no_face_found",)
    quality = {field: rng.uniform(size=count) for field in QUALITY_FIELDS}
    norms = {"net": rng.uniform(5, 9, count)}
    embedded = Embedded({"net": vectors}, norms, quality, codes, np.zeros(count, bool), 0)
    a, b = (side.astype(np.int32) for side in np.triu_indices(count, 1))
    listed = Comparisons(a, b, subject_of[a], subject_of[b], np.zeros(len(a), np.int32))
    item = searches("list", listed, embedded, subject_of)
    found = Searches.of(item, item.observations.similarities["net"])
    assert found.margin.shape == (28, 10)  # the first picture is on one side only, the last was not acquired
    assert (found.same.sum(1) <= 1).all()
    assert np.isfinite(found.margin).all(1).sum() == 28 - np.isinf(found.margin).any(1).sum()
    assert found.margin.max() < 1 - 1e-6
    one = item.take(np.arange(len(item.quality)) == 7)
    who, came = int(one.comparisons.subject_a[0]), int(one.comparisons.subject_b[0])
    pairs = [
        (i, j) for i in range(count) for j in range(1, count - 1) if subject_of[i] == who and subject_of[j] == came
    ]
    similarity, log_norm = (
        float(part["net"][0]) for part in (one.observations.similarities, one.observations.log_norms)
    )
    assert any(
        math.isclose(float(vectors[i] @ vectors[j]), similarity, abs_tol=1e-6)
        and math.isclose(math.log(min(norms["net"][i], norms["net"][j])), log_norm, abs_tol=1e-6)
        for i, j in pairs
    )
