import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml_models.engine.calibrate import Affine, Calibration
from ml_models.engine.compare import Observation, compare
from ml_models.engine.errors import InferenceFailed, LowQuality, MissingThreshold
from ml_models.engine.fuse import Centroids, Condition, Fusion, Pair, Sides
from ml_models.engine.types import Embeddings, Faces
from ml_models.engine.voters import Member, VoterSet, reachable_voter_sets, voter_key

RULE = VoterSet(Affine(2.0, -1.0), threshold=4.0, review_threshold=2.0)


def features(*rows: Sequence[float]) -> Embeddings:
    return Embeddings.of_features([np.array(row, np.float32) for row in rows])


def observations(log_norm: float = 0.0, **similarities: float) -> dict[str, Observation]:
    return {name: Observation(similarity, log_norm) for name, similarity in similarities.items()}


@pytest.fixture
def fusion() -> Fusion:
    members = (
        Member("a", 0.25, Calibration(10.0, -3.0)),
        Member("b", 0.75, Calibration(8.0, -2.0), quality_threshold=0.5),
    )
    return Fusion(members, {"a+b": RULE, "a": RULE})


def test_the_score_is_the_weighted_calibrated_mean_calibrated_again(fusion: Fusion) -> None:
    decision = fusion.decide(observations(a=0.6, b=0.5), quality_score=1.0)

    raw = 0.25 * (10 * 0.6 - 3) + 0.75 * (8 * 0.5 - 2)
    assert decision.score == pytest.approx(2 * raw - 1)
    assert decision.voters == ("a", "b")


@pytest.mark.parametrize(("similarity", "expected"), [(0.9, "match"), (0.45, "review"), (0.1, "no_match")])
def test_a_score_between_the_thresholds_asks_for_review(fusion: Fusion, similarity: float, expected: str) -> None:
    assert fusion.decide(observations(a=similarity, b=similarity), 1.0).decision == expected


def test_the_score_rises_with_every_similarity(fusion: Fusion) -> None:
    base = fusion.decide(observations(a=0.4, b=0.4), 1.0).score
    assert fusion.decide(observations(a=0.5, b=0.4), 1.0).score > base
    assert fusion.decide(observations(a=0.4, b=0.5), 1.0).score > base


def test_a_member_abstains_under_its_quality_threshold(fusion: Fusion) -> None:
    decision = fusion.decide(observations(a=0.6, b=0.5), quality_score=0.4)
    assert decision.voters == ("a",)
    assert decision.score == pytest.approx(2 * (10 * 0.6 - 3) - 1)


def test_a_voter_set_without_a_threshold_is_an_error_and_never_a_decision(fusion: Fusion) -> None:
    with pytest.raises(MissingThreshold):
        Fusion(fusion.members, {"a+b": RULE}).decide(observations(a=0.6, b=0.5), quality_score=0.4)


def test_when_nobody_votes_the_answer_is_low_quality() -> None:
    picky = Fusion((Member("a", 1.0, Calibration(1.0, 0.0), quality_threshold=0.5),), {"a": RULE})
    with pytest.raises(LowQuality):
        picky.decide(observations(a=1.0), quality_score=0.1)


def test_a_missing_member_is_an_error_and_never_a_vote_of_the_others(fusion: Fusion) -> None:
    with pytest.raises(InferenceFailed):
        fusion.decide(observations(a=0.9), quality_score=1.0)


def test_a_similarity_that_is_not_a_number_never_becomes_a_decision(fusion: Fusion) -> None:
    with pytest.raises(InferenceFailed):
        fusion.decide(observations(a=float("nan"), b=0.5), quality_score=1.0)


def test_the_reachable_voter_sets_are_enumerated() -> None:
    members = [Member(name, 1 / 3, Calibration(1, 0), q) for name, q in (("x", 0.0), ("y", 0.3), ("z", 0.3))]
    assert reachable_voter_sets(members) == [("x", "y", "z"), ("x",)]
    assert voter_key(["z", "x"]) == "x+z"


def test_an_observation_is_the_mean_over_references_and_frames() -> None:
    references, frames = features([2, 0], [0, 1]), features([1, 0], [3, 3], [-1, 0.5])
    observation = compare({"a": references}, {"a": frames})["a"]
    assert observation.similarity == pytest.approx(float((references.vectors @ frames.vectors.T).mean()), abs=1e-6)
    shorter = [min(r, f) for r in (2, 1) for f in (1, 18**0.5, 1.25**0.5)]
    assert observation.log_norm == pytest.approx(float(np.mean(np.log(shorter))), abs=1e-6)


def test_a_feature_keeps_its_direction_and_its_length_when_it_is_stored() -> None:
    stored = features([3, 4], [0, 0.5])
    np.testing.assert_allclose(stored.vectors, [[0.6, 0.8], [0.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(stored.norms, [5, 0.5], atol=1e-6)
    np.testing.assert_allclose(Embeddings.of_features(list(stored.features)).vectors, stored.vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("template", "probes"),
    [
        ({"a": features([1, 0])}, {"a": features([1, 0]), "b": features([1, 0])}),
        ({"a": features([1, 0]), "b": features([1, 0])}, {"a": features([1, 0])}),
        ({"a": features([1, 0])}, {"a": features([1, 0, 0])}),
        ({"a": Embeddings(np.empty((0, 2), np.float32), np.empty(0, np.float32))}, {"a": features([1, 0])}),
        ({"a": features([np.nan, 0])}, {"a": features([1, 0])}),
        ({"a": features([1, 0])}, {"a": features([0, 0])}),
        ({}, {}),
    ],
    ids=["unknown member", "silent member", "dimension", "no reference", "nan", "no direction", "nobody"],
)
def test_embeddings_that_do_not_belong_together_are_never_compared(
    template: dict[str, Embeddings], probes: dict[str, Embeddings]
) -> None:
    with pytest.raises(InferenceFailed):
        compare(template, probes)


def test_a_short_feature_changes_the_calibration_within_the_fitted_range() -> None:
    calibration = Calibration(10.0, -3.0, d=-2.0, low=1.0, high=3.0)
    assert calibration(0.5, 2.0) == pytest.approx(10 * 0.5 - 3 - 2 * 2.0)
    # beyond what it was fitted on nothing more is gained
    assert calibration(0.5, -50.0) == calibration(0.5, 1.0)
    assert calibration(0.5, 50.0) == calibration(0.5, 3.0)


def test_trust_multiplies_a_members_weight_and_leaves_the_others_alone(fusion: Fusion) -> None:
    rule = VoterSet(Affine(1.0, 0.0), 4.0, 2.0, trust={"a": 0.5})
    score = Fusion(fusion.members, {"a+b": rule}).decide(observations(a=0.6, b=0.5), 1.0).score
    assert score == pytest.approx(0.25 * 0.5 * (10 * 0.6 - 3) + 0.75 * (8 * 0.5 - 2))


@pytest.mark.parametrize("trust", [-0.1, float("nan"), float("inf")])
def test_a_trust_that_would_turn_a_similarity_around_is_refused(trust: float) -> None:
    with pytest.raises(ValueError, match="trust"):
        VoterSet(Affine(1.0, 0.0), 4.0, 2.0, trust={"a": trust})


@pytest.mark.parametrize(("d", "low", "high"), [(float("nan"), 0, 1), (1, float("-inf"), 1), (1, 2, 1)])
def test_a_calibration_without_bounds_is_refused(d: float, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low"):
        Calibration(1.0, 0.0, d, low, high)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_a_calibration_that_does_not_rise_is_refused(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="slope"):
        Affine(a, b)


def test_a_review_threshold_above_the_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="review"):
        VoterSet(Affine(1, 0), threshold=1.0, review_threshold=2.0)


def condition(name: str = "covered", **changes: Any) -> Condition:
    """Classified by the first number of `a`; `b` decides then."""
    alone = (Member("b", 0.5, Calibration(10.0, -2.0), 0.5),)
    return Condition(
        **{
            "name": name,
            "directions": {"a": (2.0, 0.0)},
            "offset": -1.0,
            "centroids": {},
            "fusion": Fusion(alone, {"b": VoterSet(Affine(1.0, 0.0), 3.0, 1.0)}),
            **changes,
        }
    )


@pytest.fixture
def masked(fusion: Fusion) -> Fusion:
    return replace(fusion, conditions=(condition(),))


def test_in_a_condition_its_own_members_and_numbers_decide(masked: Fusion) -> None:
    template = {"a": features([1, 0]), "b": features([3, 4])}
    covered, bare = ({"a": features(row), "b": features([4, 3])} for row in ([4, 3], [0, 1]))

    decision = masked.judge(template, covered, 1.0)
    assert (decision.voters, decision.condition, decision.decision) == (("b",), "covered", "match")
    assert decision.score == pytest.approx(10 * 0.96 - 2)
    assert (decision.threshold, decision.review_threshold) == (3.0, 1.0)
    # the same features in no condition: everybody votes
    decision = masked.judge(template, bare, 1.0)
    assert (decision.voters, decision.condition) == (("a", "b"), "")
    # and in a version without conditions everybody votes too
    plain = replace(masked, conditions=()).judge(template, covered, 1.0)
    assert (plain.voters, plain.condition) == (("a", "b"), "")


def test_in_a_condition_similarities_are_relative_to_its_centroids() -> None:
    """All such probes share their centroid, and all references theirs: only the differences from it are compared."""
    covered = condition(centroids={"b": Centroids(inside=(0.0, 1.0), outside=(1.0, 0.0))})
    template = {"a": features([1, 0]), "b": features([0.6, 0.8], [0, 1])}
    probe = {"a": features([1, 0]), "b": features([0.8, 0.6])}
    relative = covered.compare(template, probe)
    expected = np.mean([np.dot([-0.4, 0.8], [0.8, -0.4]) / 0.8, np.dot([-1, 1], [0.8, -0.4]) / np.sqrt(2 * 0.8)])
    assert relative["b"].similarity == pytest.approx(expected, abs=1e-6)
    assert relative["b"].log_norm == compare(template, probe)["b"].log_norm
    assert relative["a"] == compare(template, probe)["a"]
    # a reference at the centroid has no direction relative to it
    with pytest.raises(InferenceFailed):
        covered.compare({**template, "b": features([1, 0])}, probe)


def test_with_both_sides_a_reference_alone_puts_the_attempt_in_the_condition(fusion: Fusion) -> None:
    """A covered reference is recognised from its stored vectors: nobody has to be enrolled again."""
    covered, bare = ({"a": features(row), "b": features([4, 3])} for row in ([4, 3], [0, 1]))
    one_sided = replace(fusion, conditions=(condition(),))
    two_sided = replace(fusion, conditions=(condition(sides="either", both_margin=0.5),))
    for rule, template, frames, expected in (
        (two_sided, covered, bare, ("covered", "")),
        (two_sided, bare, covered, ("covered", "covered")),
        (two_sided, covered, covered, ("covered", "covered")),
        (two_sided, bare, bare, ("", "")),
        (one_sided, covered, bare, ("", "")),
    ):
        decision = rule.judge(template, frames, 1.0)
        # what helps is told to the phone only where its own picture shows the condition
        assert (decision.condition, decision.probe_condition) == expected
        assert decision.voters == (("b",) if decision.condition else ("a", "b"))


def test_a_template_is_in_a_condition_by_the_mean_over_its_references(fusion: Fusion) -> None:
    two_sided = replace(fusion, conditions=(condition(sides="either", both_margin=0.5),))
    bare = {"a": features([0, 1]), "b": features([0, 1])}
    for rows, name in ((([1, 0], [0.2, 1]), "covered"), (([1, 0], [-1, 0], [0.2, 1]), "")):
        template = {"a": features(*rows), "b": features(*[[3, 4]] * len(rows))}
        assert two_sided.judge(template, bare, 1.0).condition == name


def shared_glasses(**changes: Any) -> Condition:
    return condition("glasses", sides="shared", both_margin=0.5, fusion=Fusion((), {}), **changes)


def test_the_surer_both_sides_show_a_shared_condition_the_higher_the_thresholds(fusion: Fusion) -> None:
    """The same glasses make strangers alike. Somebody who only perhaps wears any pays little."""
    rule = replace(fusion, conditions=(shared_glasses(),))
    plain = fusion.judge({"a": features([1, 0])} | OTHER, {"a": features([1, 0])} | OTHER, 1.0)
    bare, perhaps, worn = [0, 1], [0.6, 0.8], [1, 0]  # discriminants -1, 0.2 and 1
    for stored, shown, added in (
        (worn, worn, 0.5),  # 1, and at most both_margin
        (worn, perhaps, 0.2),
        (perhaps, worn, 0.2),
        (worn, bare, 0.0),
        (bare, worn, 0.0),
    ):
        decision = rule.judge({"a": features(stored)} | OTHER, {"a": features(shown)} | OTHER, 1.0)
        assert decision.threshold == pytest.approx(plain.threshold + added)
        assert decision.review_threshold == pytest.approx(plain.review_threshold + added)
        # the answer names no condition, and every member votes
        assert (decision.condition, decision.probe_condition, decision.voters) == ("", "", ("a", "b"))
    assert rule.condition_of({"a": features(worn)} | OTHER) is None


def test_what_pixels_tell_is_half_of_what_tells_glasses_and_a_picture_nobody_measured_counts_as_worn(
    fusion: Fusion,
) -> None:
    glasses = replace(shared_glasses(measure="glasses"), offset=-1.0, both_margin=9.0)
    rule = replace(fusion, conditions=(glasses,))
    embeddings = {"a": features([1, 0])} | OTHER
    without = replace(glasses, measure="").discriminants(embeddings)[0]
    for probability, log_odds in ((0.5, 0.0), (1 / (1 + math.e), -1.0), (0.0, -4.0), (1.0, 4.0), (None, 4.0)):
        faces = Faces(embeddings, [probability])
        assert glasses.discriminants(faces) == pytest.approx((without + log_odds) / 2)
        worn = Faces(embeddings, [1.0])
        raised = rule.judge(worn, faces, 1.0).threshold - fusion.judge(worn, faces, 1.0).threshold
        assert raised == pytest.approx(max(0.0, (without + log_odds) / 2))
        assert rule.judge(faces, worn, 1.0) == rule.judge(worn, faces, 1.0)
    # of several pictures the mean, and plain embeddings have not been measured
    several = Faces({name: features(*[[1, 0]] * 2) for name in embeddings}, [1.0, 0.0])
    assert glasses.discriminants(several).mean() == pytest.approx(without / 2)
    assert glasses.discriminants(embeddings) == pytest.approx((without + 4) / 2)


def test_a_shared_condition_counts_under_its_graver_form_and_no_other(fusion: Fusion) -> None:
    worn = {"a": features([1, 0])} | OTHER
    for name, added in (("eyes_covered", 0.5), ("covered", 0.0), ("blurred", 0.0)):
        other = condition(name, directions={"b": (2.0, 2.0)}, sides="either")
        rule = replace(fusion, conditions=(other, shared_glasses()))
        assert (rule.judge(worn, worn, 1.0).condition, rule.judge(worn, worn, 1.0).threshold) == (name, 3.0 + added)
        # a margin of its own is not added twice
        rule = replace(fusion, conditions=(replace(other, both_margin=0.7), shared_glasses()))
        assert rule.judge(worn, worn, 1.0).threshold == 3.7
        # glasses on the other side are not this condition on both
        one_sided = {"a": features([1, 0]), "b": features([-1, 0.2])}
        assert rule.judge(one_sided, worn, 1.0).threshold == 3.0 + added


OTHER = {"b": features([3, 4])}


def test_a_shared_condition_has_no_rule_of_its_own() -> None:
    with pytest.raises(ValueError, match="decides nothing"):
        condition("glasses", sides="shared")
    with pytest.raises(ValueError, match="decides nothing"):
        shared_glasses(centroids={"b": Centroids(inside=(0.0, 1.0), outside=(1.0, 0.0))})
    with pytest.raises(ValueError, match="decides nothing"):
        replace(shared_glasses(), fusion=Fusion((), {"b": VoterSet(Affine(1.0, 0.0), 3.0, 1.0)}))


def test_only_a_shared_condition_is_measured_and_only_for_glasses() -> None:
    paired = {"pair": Pair("eyewear", 0.4, 0.6)}
    for wrong in ({"measure": "hats", "sides": "shared", "fusion": Fusion((), {})}, {"measure": "glasses"}, paired):
        with pytest.raises(ValueError, match="only a shared condition has a measure"):
            condition("glasses", **wrong)


@pytest.mark.parametrize("sides", ["probes", "either", "both"])
def test_a_condition_that_decides_has_members(sides: Sides) -> None:
    """Where nobody votes every such attempt would be of too low quality."""
    with pytest.raises(ValueError, match="needs members"):
        replace(shared_glasses(), sides=sides)


def test_a_shared_condition_never_lowers_a_threshold() -> None:
    sides = np.array([-1.0, 0.2, 3.0, 3.0]), np.array([2.0, 2.0, -2.0, 2.0])
    assert np.array_equal(shared_glasses().shared_margin(*sides, {}), [0.0, 0.2, 0.0, 0.5])
    paired = shared_glasses(pair=Pair("eyewear", -0.5, 0.5))
    unlike = {"eyewear": Observation(np.array([-1.0, -1.0, 1.0, 0.0]), np.zeros(4))}
    assert np.array_equal(paired.shared_margin(*sides, unlike), [0.0, 0.0, 0.0, 0.25])


def test_only_the_same_pair_of_glasses_raises_the_thresholds(fusion: Fusion) -> None:
    rule = replace(fusion, conditions=(shared_glasses(pair=Pair("eyewear", 0.0, 0.5)),))
    worn = {"a": features([1, 0])} | OTHER
    plain = fusion.judge(worn, worn, 1.0)
    for other, added in (([1, 0], 0.5), ([0.5, 0.75**0.5], 0.5), ([0.25, 0.9375**0.5], 0.25), ([-0.6, 0.8], 0.0)):
        stored, shown = ({**worn, "eyewear": features(pair)} for pair in ([1, 0], other))
        decision = rule.judge(stored, shown, 1.0)
        assert decision.threshold == pytest.approx(plain.threshold + added)
        # it has no vote, and is no member
        assert (decision.score, decision.similarities, decision.log_norms) == (
            plain.score,
            plain.similarities,
            plain.log_norms,
        )
    # nobody compared the pairs: they might be the same one
    assert rule.judge(worn, worn, 1.0).threshold == plain.threshold + 0.5


@pytest.mark.parametrize(("another", "same"), [(0.6, 0.4), (0.5, 0.5), (-1.5, 0.5), (0.5, 1.5), (float("nan"), 0.5)])
def test_another_pair_is_less_similar_than_the_same_one(another: float, same: float) -> None:
    with pytest.raises(ValueError, match="less similar"):
        Pair("eyewear", another, same)


def test_of_several_references_and_frames_a_shared_condition_takes_the_means(fusion: Fusion) -> None:
    rule = replace(fusion, conditions=(shared_glasses(),))
    stored = {"a": features([1, 0], [0.6, 0.8]), "b": features([3, 4], [3, 4])}  # 1 and 0.2
    shown = {"a": features([1, 0], [0, 1], [0.8, 0.6]), "b": features([3, 4], [3, 4], [3, 4])}  # 1, -1 and 0.6
    threshold = rule.judge(stored, shown, 1.0).threshold
    assert threshold == pytest.approx(fusion.judge(stored, shown, 1.0).threshold + 0.2)


def test_with_both_sides_each_face_is_relative_to_the_centroid_of_its_own_class() -> None:
    two_sided = condition(
        sides="either", both_margin=0.5, centroids={"b": Centroids(inside=(0.0, 1.0), outside=(1.0, 0.0))}
    )
    covered, bare = [1, 0], [0, 1]
    template = {"a": features(covered, bare), "b": features([0.6, 0.8], [0, 1])}
    inside, outside = np.array([0.6, -0.2]) / np.hypot(0.6, 0.2), np.array([-1, 1]) / np.sqrt(2)
    for shown, probe in ((covered, np.array([0.8, -0.4]) / np.sqrt(0.8)), (bare, np.array([-0.2, 0.6]) / np.sqrt(0.4))):
        relative = two_sided.compare(template, {"a": features(shown), "b": features([0.8, 0.6])})
        assert relative["b"].similarity == pytest.approx((inside + outside) @ probe / 2, abs=1e-6)


def test_of_two_conditions_the_one_with_the_higher_discriminant_holds(fusion: Fusion) -> None:
    both = replace(fusion, conditions=(condition(), condition("blurred", directions={"b": (4.0, 0.0)})))
    for row, name in (([1, 0], "blurred"), ([0.45, 0.893], "covered"), ([0, 1], "covered")):
        classified = both.condition_of({"a": features([1, 0]), "b": features(row)})
        assert classified is not None
        assert classified.name == name
    assert both.condition_of({"a": features([0, 1]), "b": features([0, 1])}) is None


def test_several_members_add_to_the_discriminant() -> None:
    by_both = condition(directions={"a": (2.0, 0.0), "b": (0.0, -1.0)})
    assert by_both.discriminants({"a": features([1, 0]), "b": features([1, 0])}) == pytest.approx(1)
    assert by_both.discriminants({"a": features([1, 0]), "b": features([0, 1])}) == pytest.approx(0)


def test_an_attempt_is_in_a_condition_by_the_mean_over_its_frames(masked: Fusion) -> None:
    assert masked.condition_of({"a": features([1, 0], [0.2, 1])})
    assert not masked.condition_of({"a": features([1, 0], [-1, 0], [0.2, 1])})


def test_in_a_condition_a_member_abstains_under_its_quality_threshold_too(masked: Fusion) -> None:
    template = {"a": features([1, 0]), "b": features([3, 4])}
    with pytest.raises(LowQuality):
        masked.judge(template, template, 0.4)


def test_in_a_condition_a_voter_set_without_threshold_is_an_error(fusion: Fusion) -> None:
    template = {"a": features([1, 0]), "b": features([3, 4])}
    alone = Fusion(condition().fusion.members, {})
    with pytest.raises(MissingThreshold):
        replace(fusion, conditions=(condition(fusion=alone),)).judge(template, template, 1.0)


@pytest.mark.parametrize(
    "frames",
    [{}, {"b": features([1, 0])}, {"a": features([1, 0, 0])}, {"a": features([np.nan, 0])}],
    ids=["nobody", "another", "dimension", "nan"],
)
def test_where_the_condition_cannot_be_told_nothing_is_decided(masked: Fusion, frames: dict[str, Embeddings]) -> None:
    with pytest.raises(InferenceFailed):
        masked.judge(frames, frames, 1.0)


def test_a_centroid_of_other_dimensions_is_an_error(fusion: Fusion) -> None:
    short = replace(fusion, conditions=(condition(centroids={"b": Centroids((0.0,), (0.0,))}),))
    template = {"a": features([1, 0]), "b": features([3, 4])}
    with pytest.raises(InferenceFailed):
        short.judge(template, template, 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"directions": {}},
        {"directions": {"a": (float("nan"), 1.0)}},
        {"offset": float("inf")},
        {"centroids": {"b": Centroids((0.0, float("nan")), (0.0, 0.0))}},
        {"centroids": {"b": Centroids((0.0, 0.0), (float("inf"), 0.0))}},
    ],
)
def test_a_condition_that_tells_nothing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="finite"):
        condition(**changes)


def test_a_condition_has_no_conditions(masked: Fusion) -> None:
    with pytest.raises(ValueError, match="conditions of its own"):
        condition(fusion=masked)


@pytest.mark.parametrize(
    "stranger",
    [
        {"directions": {"c": (1.0, 0.0)}},
        {"centroids": {"c": Centroids((0.0,), (0.0,))}},
        {"fusion": Fusion((Member("c", 1.0, Calibration(1.0, 0.0)),), {})},
    ],
)
def test_in_a_condition_only_members_have_a_say(fusion: Fusion, stranger: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="members"):
        replace(fusion, conditions=(condition(**stranger),))
