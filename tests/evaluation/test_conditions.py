"""Blurred and covered faces are classified as such, and get a rule of their own where that is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from ml_models.engine.fuse import Pair
from ml_models.evaluation import scoring
from ml_models.evaluation.calibration import conditions, fitting
from ml_models.evaluation.lists.pairs import Comparisons
from ml_models.evaluation.scoring import Labelled, Observations

from .test_fitting import A, B, members

PEOPLE, PICTURES, DIMENSIONS = 150, 2, 16


def faces(seed: int = 0, *, drawn: float = 0.0, blind: bool = False) -> Labelled:
    """Two pictures a person, all against all. The probes' embeddings are `drawn` that far towards one point, which is
    their condition. A second member that is `blind` has nothing of the person in its embeddings then."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(PEOPLE, dtype=np.int32), PICTURES)
    a, b = (side.astype(np.int32) for side in np.triu_indices(len(who), 1))
    c = Comparisons(a, b, who[a], who[b], np.zeros(len(a), np.int32))
    references, probes = {}, {}
    for name, noise in ((A, 0.3), (B, 0.45)):
        point = np.random.default_rng(99).normal(size=DIMENSIONS)
        person = rng.normal(size=(PEOPLE, DIMENSIONS))[who]
        clean, other = (person + noise * rng.normal(size=person.shape) for _ in range(2))
        if blind and name == B:
            other = rng.normal(size=person.shape) - 0.1 * person
        # each probe is drawn another distance, so that the cosine also measures how far
        pulled = other + drawn * rng.uniform(0.7, 1.3, size=(len(who), 1)) * point
        references[name], probes[name] = (
            (v / np.linalg.norm(v, axis=1)[:, None]).astype(np.float32)[:, None] for v in (clean, pulled)
        )
    observations = Observations(
        {n: scoring.dot_products(references[n][:, 0], a, b, probes[n][:, 0]) for n in (A, B)},
        {n: rng.normal(scale=0.2, size=len(a)) for n in (A, B)},
    )
    return Labelled("list", c, observations, np.ones(len(a)), references, probes, "covered" if drawn else "")


@pytest.fixture
def bare() -> list[Labelled]:
    """Faces in no condition, on which both members are good."""
    return [faces(seed) for seed in (0, 1, 2)]


def drawn(**changes: bool) -> Labelled:
    return faces(7, drawn=1.5, **changes)


def share(margin: np.ndarray, among: np.ndarray) -> float:
    return float((margin[among] >= 0).mean())


def test_probes_in_a_condition_get_a_rule_of_their_own(bare: list[Labelled]) -> None:
    there = drawn()
    fusion = fitting.fit(members(), [*bare, there], 0.001)
    (condition,) = fusion.conditions
    assert (condition.name, sorted(condition.directions)) == ("covered", [A, B])
    assert (there.classify([condition])[0] == 0).mean() > 0.95
    assert (bare[0].classify([condition])[0] == 0).mean() < 0.05
    alone = fitting.fit(members(), [*bare, replace(there, condition="")], 0.001)
    assert alone.conditions == ()
    same = there.comparisons.same
    own, others = (scoring.score(rule, there).margin for rule in (fusion, alone))
    assert share(own, ~same) <= 0.001
    assert share(own, same) > share(others, same) + 0.02
    clean = bare[0].comparisons.same
    assert share(scoring.score(fusion, bare[0]).margin, ~clean) <= 0.001


def test_strangers_who_share_a_condition_meet_a_threshold_that_was_set_for_them(bare: list[Labelled]) -> None:
    """Drawn towards one point on both sides, two people look more alike than the centroid takes off."""
    there = drawn()
    both = on_both_sides(there)
    fusion = fitting.fit(members(), [*bare, there, both], 0.001)
    (condition,) = fusion.conditions
    assert (condition.name, condition.sides) == ("covered", "either")
    assert condition.both_margin > 0
    strangers = ~both.comparisons.same
    assert both.classify(fusion.conditions)[1].mean() > 0.8
    assert share(scoring.score(fusion, both).margin, strangers) <= 0.001
    # the guard taken out
    without = replace(fusion, conditions=(replace(condition, both_margin=0.0),))
    assert share(scoring.score(without, both).margin, strangers) > 0.001
    # one side alone keeps its own threshold
    single = ~there.classify(fusion.conditions)[1]
    assert single.mean() > 0.9
    assert np.array_equal(scoring.score(without, there).margin[single], scoring.score(fusion, there).margin[single])


def on_both_sides(item: Labelled) -> Labelled:
    """The references are faces in the condition, too. A picture is never compared with itself: `triu` leaves it out."""
    c = item.comparisons
    similarities = {name: scoring.dot_products(v[:, 0], c.a, c.b) for name, v in item.probes.items()}
    observations = Observations(similarities, item.observations.log_norms)
    return replace(item, observations=observations, references=item.probes, side="both")


def test_a_member_that_contributes_nothing_in_a_condition_abstains_there(bare: list[Labelled]) -> None:
    (condition,) = fitting.fit(members(), [*bare, drawn(blind=True)], 0.001).conditions
    assert list(condition.fusion.voter_sets) == [A]
    assert [member.name for member in condition.fusion.members] == [A]
    (condition,) = fitting.fit(members(), [*bare, drawn()], 0.001).conditions
    assert list(condition.fusion.voter_sets) == [f"{A}+{B}"]


def test_a_condition_that_is_no_worse_without_a_rule_of_its_own_gets_none(bare: list[Labelled]) -> None:
    no_condition = replace(faces(7), condition="covered")
    assert fitting.fit(members(), [*bare, no_condition], 0.001).conditions == ()


def test_a_condition_in_which_no_member_tells_people_apart_gets_no_rule(bare: list[Labelled]) -> None:
    covered = drawn()
    # every mated comparison is less similar than any other: as if the labels were of somebody else
    reversed_ = {name: np.where(covered.comparisons.same, -1.0, 1.0) for name in covered.observations.similarities}
    hopeless = replace(
        covered,
        references={name: -vectors for name, vectors in covered.references.items()},
        observations=replace(covered.observations, similarities=reversed_),
    )
    assert fitting.fit(members(), [*bare, hopeless], 0.001).conditions == ()


def test_a_condition_with_too_few_faces_is_not_learnt(bare: list[Labelled]) -> None:
    there = drawn()
    few = there.take((there.comparisons.b < 90) & (there.comparisons.a < 90))
    assert len(np.unique(few.comparisons.b)) < conditions.FEWEST
    assert fitting.fit(members(), [*bare, few], 0.001).conditions == ()
    assert conditions.learn([*bare, few], members()) == []
    assert conditions.learn([there], members()) == []  # no faces outside it


def test_a_condition_is_learnt_from_the_people_compared_and_nobody_else(bare: list[Labelled]) -> None:
    there = drawn()
    compared = there.take((there.comparisons.subject_a < 120) & (there.comparisons.subject_b < 120))
    others = (np.arange(len(there.probes[B])) >= PICTURES * 120)[:, None, None]

    def spoilt(side: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.where(others, np.nan, v) for name, v in side.items()}

    (expected,) = conditions.learn([*bare, compared], members())
    without_others = replace(compared, probes=spoilt(compared.probes), references=spoilt(compared.references))
    assert conditions.learn([*bare, without_others], members()) == [expected]


def test_a_list_whose_condition_has_no_rule_holds_the_target_by_itself(bare: list[Labelled]) -> None:
    """Its strangers are not pooled with those of easier lists; only misclassified probes are."""
    easy, plain = (replace(faces(seed), condition="blurred") for seed in (8, 9))
    similarities = {name: values + 0.1 for name, values in plain.observations.similarities.items()}
    harder = replace(plain, observations=Observations(similarities, plain.observations.log_norms))
    fusion = fitting.fit(members(), [*bare, drawn(), easy, harder], 0.001)
    assert [condition.name for condition in fusion.conditions] == ["covered"]
    strangers = (harder.classify(fusion.conditions)[0] < 0) & ~harder.comparisons.same
    assert share(scoring.score(fusion, harder).margin, strangers) <= 0.001


def in_condition(name: str, drawn: float, seed: int = 7) -> Labelled:
    return replace(faces(seed, drawn=drawn), condition=name)


def test_glasses_are_learnt_as_shared_and_stay_though_they_cost_tar(bare: list[Labelled]) -> None:
    worn = in_condition("glasses", 1.0)
    fusion = fitting.fit(members(), [*bare, worn], 0.001)
    (glasses,) = fusion.conditions
    assert (glasses.name, glasses.sides, glasses.both_margin) == ("glasses", "shared", conditions.MOST_FOR_GLASSES)
    assert (glasses.centroids, glasses.fusion.members) == ({}, ())
    # the bar is as low as it may be
    probes = {name: np.concatenate([item.probes[name] for item in bare]) for name in (A, B)}
    assert (scoring._discriminants(probes, glasses) > 0).mean() == pytest.approx(
        conditions.FALSELY_IN_GLASSES, abs=0.01
    )
    # strangers who both wear them meet the margin: no threshold is set for them
    assert fitting.fit(members(), [*bare, worn, on_both_sides(worn)], 0.001) == fusion


def test_glasses_that_a_network_looked_for_have_its_log_odds_under_the_same_bar(bare: list[Labelled]) -> None:
    def looked_at(item: Labelled, worn: float) -> Labelled:
        rng = np.random.default_rng(3)
        likely = [1 / (1 + np.exp(-rng.normal(level, 1.5, (len(item.probes[A]), 1)))) for level in (-2.0, worn)]
        return replace(item, glasses=(likely[0], likely[1]))

    measured = [looked_at(item, -2.0) for item in bare]
    worn = looked_at(in_condition("glasses", 1.0), 2.0)
    (alone,) = conditions.learn([*bare, worn], members())
    (glasses,) = conditions.learn([*measured, worn], members())
    assert (alone.measure, glasses.measure, glasses.directions) == ("glasses", "glasses", alone.directions)
    (without,) = conditions.learn([*bare, replace(worn, glasses=None)], members())
    assert without.measure == ""
    assert glasses.offset != without.offset

    def inside(item: Labelled) -> np.ndarray:
        return glasses.with_pixels(scoring._discriminants(item.probes, glasses), item.worn()[1]) > 0

    share_of_bare = np.mean([inside(item).mean() for item in measured])
    assert share_of_bare == pytest.approx(conditions.FALSELY_IN_GLASSES, abs=0.01)
    assert inside(worn).mean() > (scoring._discriminants(worn.probes, without) > 0).mean()


def test_where_a_network_tells_pairs_of_glasses_more_faces_may_be_taken_for_some(bare: list[Labelled]) -> None:
    def compared(item: Labelled) -> Labelled:
        """With a network that is no member."""
        seen = item.observations
        told = np.linspace(-1, 1, len(item.comparisons))
        observations = Observations({**seen.similarities, "eyewear": told}, {**seen.log_norms, "eyewear": told})
        return replace(item, observations=observations)

    lists = [*bare, in_condition("glasses", 1.0)]
    (alone,) = conditions.learn(lists, members())
    (glasses,) = conditions.learn([compared(item) for item in lists], members())
    pair = Pair("eyewear", conditions.ANOTHER_PAIR, conditions.SAME_PAIR)
    as_alone = replace(glasses, pair=None, offset=alone.offset, both_margin=alone.both_margin)
    assert (alone.pair, as_alone, glasses.both_margin) == (None, alone, conditions.MOST_FOR_A_PAIR)
    assert glasses.pair == pair
    probes = {name: np.concatenate([item.probes[name] for item in bare]) for name in (A, B)}
    share = (scoring._discriminants(probes, glasses) > 0).mean()
    assert share == pytest.approx(conditions.FALSELY_IN_SOME_GLASSES, abs=0.01)
    # and it has no vote
    fusion = fitting.fit(members(), [compared(item) for item in lists], 0.001)
    assert [member.name for member in fusion.members] == [member.name for member in members()]


def test_glasses_on_one_side_hold_the_target_by_themselves(bare: list[Labelled]) -> None:
    """The plain rule decides these: they are not pooled with the faces that it gets by mistake."""
    worn = in_condition("glasses", 1.0)
    similarities = {name: values + 0.1 for name, values in worn.observations.similarities.items()}
    harder = replace(worn, observations=Observations(similarities, worn.observations.log_norms))
    easy = [in_condition("glasses", 1.0, seed) for seed in (8, 9, 10)]
    fusion = fitting.fit(members(), [*bare, harder, *easy], 0.001)
    plain = replace(fusion, conditions=())
    assert share(scoring.score(plain, harder).margin, ~harder.comparisons.same) <= 0.001


def test_few_faces_in_glasses_alone_are_taken_for_covered_eyes(bare: list[Labelled]) -> None:
    worn, covered = in_condition("glasses", 1.0), in_condition("eyes_covered", 1.3, seed=8)
    _, eyes = conditions.learn([*bare, worn, covered], members())
    assert (eyes.name, eyes.sides) == ("eyes_covered", "either")
    assert 0.02 < (scoring._discriminants(worn.probes, eyes) > 0).mean() <= conditions.FALSELY_GRAVER


def test_covered_eyes_keep_their_rule_though_it_raises_no_tar(bare: list[Labelled]) -> None:
    """References are refused for it."""
    kept = []
    for name in ("covered", "eyes_covered"):
        there = in_condition(name, 0.3)
        kept += [condition.name for condition in fitting.fit(members(), [*bare, there], 0.001).conditions]
    assert kept == ["eyes_covered"]


def test_who_wears_dark_glasses_is_an_example_of_glasses(bare: list[Labelled]) -> None:
    worn, covered = in_condition("glasses", 1.0), in_condition("eyes_covered", 1.3, seed=8)
    few = worn.take((worn.comparisons.b < 90) & (worn.comparisons.a < 90))
    assert conditions.learn([*bare, few], members()) == []
    assert [found.name for found in conditions.learn([*bare, few, covered], members())] == ["glasses", "eyes_covered"]
