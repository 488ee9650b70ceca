import numpy as np
import pytest

from ml_models.engine.calibrate import Affine
from ml_models.engine.errors import InferenceFailed, LowQuality, MissingThreshold
from ml_models.engine.fuse import Fusion, Member, VoterSet, reachable_voter_sets, similarities, voter_key

RULE = VoterSet(Affine(2.0, -1.0), threshold=4.0, review_threshold=2.0)


def unit(*rows: list[float]) -> np.ndarray:
    array = np.array(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


@pytest.fixture
def fusion() -> Fusion:
    members = (
        Member("a", 0.25, Affine(10.0, -3.0)),
        Member("b", 0.75, Affine(8.0, -2.0), quality_threshold=0.5),
    )
    return Fusion(members, {"a+b": RULE, "a": RULE})


def test_the_score_is_the_weighted_calibrated_mean_calibrated_again(fusion: Fusion) -> None:
    decision = fusion.decide({"a": 0.6, "b": 0.5}, quality_score=1.0)

    raw = 0.25 * (10 * 0.6 - 3) + 0.75 * (8 * 0.5 - 2)
    assert decision.score == pytest.approx(2 * raw - 1)
    assert decision.voters == ("a", "b")


@pytest.mark.parametrize(("similarity", "expected"), [(0.9, "match"), (0.45, "review"), (0.1, "no_match")])
def test_a_score_between_the_thresholds_asks_for_review(fusion: Fusion, similarity: float, expected: str) -> None:
    assert fusion.decide({"a": similarity, "b": similarity}, 1.0).decision == expected


def test_the_score_rises_with_every_similarity(fusion: Fusion) -> None:
    base = fusion.decide({"a": 0.4, "b": 0.4}, 1.0).score
    assert fusion.decide({"a": 0.5, "b": 0.4}, 1.0).score > base
    assert fusion.decide({"a": 0.4, "b": 0.5}, 1.0).score > base


def test_a_member_abstains_under_its_quality_threshold(fusion: Fusion) -> None:
    decision = fusion.decide({"a": 0.6, "b": 0.5}, quality_score=0.4)
    assert decision.voters == ("a",)
    assert decision.score == pytest.approx(2 * (10 * 0.6 - 3) - 1)


def test_a_voter_set_without_a_threshold_is_an_error_and_never_a_decision(fusion: Fusion) -> None:
    with pytest.raises(MissingThreshold):
        Fusion(fusion.members, {"a+b": RULE}).decide({"a": 0.6, "b": 0.5}, quality_score=0.4)


def test_when_nobody_votes_the_answer_is_low_quality() -> None:
    picky = Fusion((Member("a", 1.0, Affine(1.0, 0.0), quality_threshold=0.5),), {"a": RULE})
    with pytest.raises(LowQuality):
        picky.decide({"a": 1.0}, quality_score=0.1)


def test_a_missing_member_is_an_error_and_never_a_vote_of_the_others(fusion: Fusion) -> None:
    with pytest.raises(InferenceFailed):
        fusion.decide({"a": 0.9}, quality_score=1.0)


def test_a_similarity_that_is_not_a_number_never_becomes_a_decision(fusion: Fusion) -> None:
    with pytest.raises(InferenceFailed):
        fusion.decide({"a": float("nan"), "b": 0.5}, quality_score=1.0)


def test_the_reachable_voter_sets_are_enumerated() -> None:
    members = [Member(name, 1 / 3, Affine(1, 0), q) for name, q in (("x", 0.0), ("y", 0.3), ("z", 0.3))]
    assert reachable_voter_sets(members) == [("x", "y", "z"), ("x",)]
    assert voter_key(["z", "x"]) == "x+z"


def test_the_similarity_is_the_mean_over_references_and_frames() -> None:
    references, frames = unit([1, 0], [0, 1]), unit([1, 0], [1, 1], [-1, 0.5])
    expected = float((references @ frames.T).mean())
    assert similarities({"a": references}, {"a": frames})["a"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("template", "probes"),
    [
        ({"a": unit([1, 0])}, {"a": unit([1, 0]), "b": unit([1, 0])}),
        ({"a": unit([1, 0]), "b": unit([1, 0])}, {"a": unit([1, 0])}),
        ({"a": unit([1, 0])}, {"a": unit([1, 0, 0])}),
        ({"a": unit([1, 0])[:0]}, {"a": unit([1, 0])}),
        ({"a": np.array([[np.nan, 0]], np.float32)}, {"a": unit([1, 0])}),
        ({}, {}),
    ],
    ids=["unknown member", "silent member", "dimension", "no reference", "nan", "nobody"],
)
def test_embeddings_that_do_not_belong_together_are_never_compared(template: dict, probes: dict) -> None:
    with pytest.raises(InferenceFailed):
        similarities(template, probes)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_a_calibration_that_does_not_rise_is_refused(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="slope"):
        Affine(a, b)


def test_a_review_threshold_above_the_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="review"):
        VoterSet(Affine(1, 0), threshold=1.0, review_threshold=2.0)
