"""Calibration recovers what is known, and refuses what it cannot know."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ml_models.engine.calibrate import Affine, Calibration
from ml_models.engine.fuse import Centroids, Condition, Fusion, Measure, Pair, Sides
from ml_models.engine.types import Decision, Embeddings, Faces
from ml_models.engine.voters import Member, VoterSet
from ml_models.evaluation import scoring
from ml_models.evaluation.calibration import fitting, rules
from ml_models.evaluation.calibration.rules import CannotCalibrate
from ml_models.evaluation.lists.pairs import Comparisons
from ml_models.evaluation.rates.intervals import Subjects
from ml_models.evaluation.rates.systems import Scores, Systems, advantage
from ml_models.evaluation.scoring import Labelled, Observations

A, B = "arcface_int8", "mobilefacenet_192"


def members(threshold: float = 0.0) -> tuple[Member, ...]:
    plain = Calibration(1.0, 0.0)
    return (Member(A, 0.57, plain), Member(B, 0.43, plain, threshold))


def labelled(subjects: int = 120, seed: int = 0, shift: float = 0.0, name: str = "list") -> Labelled:
    """Two images a subject, all against all; the first member is the better one."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(subjects, dtype=np.int32), 2)
    a, b = (side.astype(np.int32) for side in np.triu_indices(len(who), 1))
    comparisons = Comparisons(a, b, who[a], who[b], np.zeros(len(a), np.int32))
    common = rng.normal(size=len(a))
    similarities = {
        member: 0.1 * (0.5 * common + rng.normal(size=len(a))) + gap * comparisons.same + shift
        for member, gap in ((A, 0.5), (B, 0.35))
    }
    log_norms = {member: rng.normal(scale=0.2, size=len(a)) for member in (A, B)}
    return Labelled(name, comparisons, Observations(similarities, log_norms), rng.uniform(size=len(a)))


def test_the_log_likelihood_ratio_of_two_gaussians_is_recovered() -> None:
    """Means ±μ, variance σ²: the ratio's logarithm is 2 μ x / σ², whatever the mix of classes."""
    rng = np.random.default_rng(1)
    mu, sigma = 0.2, 0.15
    same = np.arange(220_000) < 20_000
    x = rng.normal(np.where(same, mu, -mu), sigma)
    affine = rules.fit_affine(x, same)
    assert affine.a == pytest.approx(2 * mu / sigma**2, rel=0.03)
    assert affine.b == pytest.approx(0, abs=0.1)


def test_separable_scores_get_a_finite_slope() -> None:
    same = np.array([True] * 20 + [False] * 20)
    affine = rules.fit_affine(np.where(same, 0.9, 0.1), same)
    assert math.isfinite(affine.a)
    assert affine(0.9) > 0 > affine(0.1)


def test_a_network_that_scores_strangers_higher_is_refused() -> None:
    same = np.array([True, True, False, False] * 20)
    with pytest.raises(CannotCalibrate, match="right network"):
        rules.fit_affine(np.where(same, 0.1, 0.4) + np.linspace(0, 0.5, 80), same)
    with pytest.raises(CannotCalibrate, match="mated and non-mated"):
        rules.fit_affine(np.ones(4), np.ones(4, bool))


def test_the_threshold_holds_the_target_on_every_list_it_was_fitted_on() -> None:
    easy, hard = labelled(name="easy"), labelled(seed=1, shift=0.05, name="hard")
    fusion = fitting.fit(members(), [easy, hard], 0.001)
    realised = []
    for item in (easy, hard):
        margin = scoring.score(fusion, item).margin
        realised.append(float((margin[~item.comparisons.same] >= 0).mean()))
    assert max(realised) <= 0.001
    assert max(realised) > 0.0008
    rule = fusion.voter_sets[f"{A}+{B}"]
    assert rule.review_threshold < rule.threshold


def test_the_fused_score_is_a_log_likelihood_ratio_again() -> None:
    item = labelled(300)
    fusion = fitting.fit(members(), [item], 0.001)
    scored = scoring.score(fusion, item)
    again = rules.fit_affine(scored.score, item.comparisons.same)
    assert again.a == pytest.approx(1, abs=0.01)
    assert again.b == pytest.approx(0, abs=0.05)


def test_every_reachable_voter_set_gets_a_rule() -> None:
    fusion = fitting.fit(members(threshold=0.4), [labelled()], 0.001)
    assert set(fusion.voter_sets) == {f"{A}+{B}", A}


def test_too_few_strangers_for_the_target_are_refused_with_the_number_that_would_suffice() -> None:
    with pytest.raises(CannotCalibrate, match=r"30000 would suffice .* 0.0001"):
        fitting.fit(members(), [labelled(40)], 0.0001)


def test_failures_to_acquire_do_not_disturb_the_fit() -> None:
    item = labelled()
    cosines = item.observations.similarities
    holes = {name: np.where(np.arange(len(v)) % 7 == 0, np.nan, v) for name, v in cosines.items()}
    without_holes = item.take(np.arange(len(item.quality)) % 7 != 0)
    with_holes = replace(item, observations=Observations(holes, item.observations.log_norms))
    assert fitting.fit(members(), [with_holes], 0.001) == fitting.fit(members(), [without_holes], 0.001)


@pytest.mark.parametrize("glasses", ["", "told", "measured", "paired"])
@pytest.mark.parametrize(("masks", "sides"), [(False, "probes"), (True, "probes"), (True, "either"), (True, "both")])
def test_scoring_many_at_once_gives_what_the_engine_gives_for_each(masks: bool, sides: Sides, glasses: str) -> None:
    item = shown(labelled(20), 0.5)
    measure: Measure = "glasses" if glasses in ("measured", "paired") else ""
    worn = replace(GLASSES, measure=measure, pair=Pair(EYEWEAR, -0.5, 0.5) if glasses == "paired" else None)
    voter_sets = {
        f"{A}+{B}": VoterSet(Affine(0.8, -0.2), 5.0, 2.0, {A: 1.2}),
        A: VoterSet(Affine(0.7, 0.1), 6.0, 3.0),
    }
    pair = (Member(A, 0.57, Calibration(22, -4, -3, -0.2, 0.3)), Member(B, 0.43, Calibration(15, -3), 0.5))
    alone = Fusion((Member(A, 0.57, Calibration(9, -2)),), {A: VoterSet(Affine(2.0, -1.0), 4.0, 2.0)})
    centroids = {A: Centroids((0.1, 0.2, -0.3), (0.0, -0.2, 0.1))}
    covered = Condition("covered", {B: (3.0, 0.1, -0.2)}, -0.7, centroids, alone, sides, 1.5)
    both = Condition("blurred", {B: (0.0, 3.0, 0.0)}, -0.5, {}, Fusion(pair, voter_sets), sides)
    fusion = Fusion(
        pair,
        voter_sets,
        (*((covered, both) if masks else ()), *((worn,) if glasses else ())),
    )
    decisions = scored_as_judged(fusion, item)
    conditions = [one.condition for one in decisions]
    plain = {round(one.threshold, 3) for one in decisions if not one.condition}
    assert (len(plain) > 10) == bool(glasses)
    assert set(conditions) == ({"", "covered", "blurred"} if masks else {""})
    margins = {one.threshold - 4.0 for one in decisions if one.condition == "covered"}
    assert margins == ({0.0, 1.5} if sides == "either" else {1.5} if sides == "both" else {0.0} if masks else set())


def test_glasses_raise_the_thresholds_of_covered_eyes_in_scoring_too() -> None:
    one, other = (Member(name, 0.5, Calibration(9, -2)) for name in (A, B))
    own = Fusion((one,), {A: VoterSet(Affine(1.0, 0.0), 4.0, 2.0)})
    eyes = Condition("eyes_covered", {B: (3.0, 0.1, -0.2)}, -0.7, {}, own, "either", 0.3)
    fusion = Fusion((one, other), {f"{A}+{B}": VoterSet(Affine(1.0, 0.0), 5.0, 2.0)}, (GLASSES, eyes))
    decisions = scored_as_judged(fusion, shown(labelled(20), 0.5))
    margins = {round(one.threshold - 4.0, 3) for one in decisions if one.condition}
    assert {0.0, 0.3, 0.9} <= margins  # none, that of covered eyes on both sides, the most for glasses
    assert len(margins) > 10


def test_what_was_not_acquired_stays_refused_under_a_shared_condition() -> None:
    """A margin of NaN would be no false rejection in a report, and no acceptance either."""
    item = shown(labelled(20))
    lost = np.arange(len(item.probes[A])) % 3 == 0
    c = item.comparisons
    references, probes = (
        {name: np.where(lost[:, None, None], np.nan, v) for name, v in side.items()}
        for side in (item.references, item.probes)
    )
    quality = np.where(lost[c.a] | lost[c.b], np.nan, item.quality)
    holes = replace(item, quality=quality, references=references, probes=probes)
    alone = (Member(A, 1.0, Calibration(9, -2)),)
    fusion = Fusion(alone, {A: VoterSet(Affine(1.0, 0.0), 5.0, 2.0)}, (GLASSES,))
    margin, missing = scoring.score(fusion, holes).margin, lost[c.a] | lost[c.b]
    assert (margin[missing] == -np.inf).all()
    assert np.array_equal(margin[~missing], scoring.score(fusion, item).margin[~missing])


GLASSES = Condition("glasses", {A: (2.0, 0.5, 0.1)}, -0.4, {}, Fusion((), {}), "shared", 0.9)


def scored_as_judged(fusion: Fusion, item: Labelled) -> list[Decision]:
    """The engine's decisions, one by one; `scoring.score` has the same scores and thresholds."""
    scored, c, decisions = scoring.score(fusion, item), item.comparisons, []
    for i in range(len(c)):
        template, frames = (
            Faces(
                {name: Embeddings.of_features(list(v[at[i]] * NORMS[name])) for name, v in side.items()},
                worn[at[i]].tolist(),
            )
            for side, worn, at in zip((item.references, item.probes), item.worn(), (c.a, c.b), strict=True)
        )
        one = fusion.judge(template, frames, float(item.quality[i]))
        decisions.append(one)
        assert scored.score[i] == pytest.approx(one.score, abs=1e-4)
        assert scored.threshold[i] == pytest.approx(one.threshold, abs=1e-4)
        assert (scored.margin[i] >= 0) == (one.decision == "match")
    return decisions


EYEWEAR = "eyewear"
NORMS = {A: 2.0, B: 3.0, EYEWEAR: 1.0}


def shown(item: Labelled, share: float = 0.0, *, seed: int = 0) -> Labelled:
    """The comparisons with two pictures on either side, and the observations that follow from these. The first `share`
    of the probes are covered, which shows in the second member's embeddings."""
    rng = np.random.default_rng(seed)
    count = int(item.comparisons.b.max()) + 1

    def pictures(covered: np.ndarray) -> dict[str, np.ndarray]:
        tilted = np.concatenate([rng.normal(size=(count, 2, 2)) * 0.3, np.ones((count, 2, 1))], 2)
        tilted[..., 0] += 1.5 * covered[:, None]
        # from a generator of its own: the members' vectors stay as they are
        (others,) = rng.spawn(1)
        vectors = {A: rng.normal(size=(count, 2, 3)), B: tilted, EYEWEAR: others.normal(size=(count, 2, 2))}
        return {name: (v / np.linalg.norm(v, axis=2)[..., None]).astype(np.float32) for name, v in vectors.items()}

    at = np.arange(count)
    references, probes = pictures(at % 5 < 2 * share), pictures(at < share * count)
    c = item.comparisons
    observations = Observations(
        {n: scoring.dot_products(references[n].mean(1), c.a, c.b, probes[n].mean(1)) for n in NORMS},
        {n: np.full(len(c), math.log(norm)) for n, norm in NORMS.items()},
    )
    # of every third nobody knows
    unknown = at[:, None] % 3 == 0
    stored, presented = (np.where(unknown, np.nan, rng.uniform(0, 1, (count, 2))) for _ in range(2))
    return replace(item, observations=observations, references=references, probes=probes, glasses=(stored, presented))


def test_a_short_feature_counts_where_it_separates_mated_and_strangers() -> None:
    """Short features have lower similarities: without the norm the threshold for the others would refuse them."""
    item = labelled(200)
    short = np.random.default_rng(3).uniform(size=len(item.quality)) < 0.3
    similarities = {name: values - 0.25 * short for name, values in item.observations.similarities.items()}
    log_norms = {name: np.where(short, -1.0, 0.5) for name in similarities}
    hard = replace(item, observations=Observations(similarities, log_norms))
    no_norms = {name: np.zeros(len(short)) for name in similarities}
    blind = replace(item, observations=Observations(similarities, no_norms))
    missed = {}
    for name, known in (("norms", hard), ("blind", blind)):
        fusion = fitting.fit(members(), [known], 0.001)
        matched = scoring.score(fusion, known).margin >= 0
        missed[name] = float((~matched[item.comparisons.same]).mean())
        assert matched[~item.comparisons.same].mean() <= 0.001
    assert missed["norms"] < missed["blind"]
    assert fitting.fit(members(), [hard], 0.001).members[0].calibration.d < 0


def test_the_better_member_earns_more_trust_than_its_weight() -> None:
    item = labelled(200)
    rule = fitting.fit(members(), [item], 0.001).voter_sets[f"{A}+{B}"]
    assert rule.trust[A] > 1 > rule.trust[B] > 0
    assert 0.57 * rule.trust[A] + 0.43 * rule.trust[B] == pytest.approx(1)


def test_thresholds_hold_the_target_in_attempts_that_are_harder_than_the_lists() -> None:
    item = labelled(200)
    similarities = {name: values + 0.1 for name, values in item.observations.similarities.items()}
    harder = replace(item, observations=Observations(similarities, item.observations.log_norms))
    harder = harder.take(~item.comparisons.same)
    alone, held = (fitting.fit(members(), [item], 0.001, cells) for cells in ([], [harder]))
    key = f"{A}+{B}"
    assert held.voter_sets[key].threshold > alone.voter_sets[key].threshold
    matched = scoring.score(held, harder).margin >= 0
    assert matched.mean() <= 0.001


def test_the_gain_over_the_best_member_has_an_interval() -> None:
    item = labelled(200)
    fusion = fitting.fit(members(), [item], 0.001)
    scores = Scores([item], [scoring.score(fusion, item)])
    gain = advantage(Systems.of(scores, 0, Subjects(200)))
    assert gain is not None
    assert gain["over"] == A
    assert gain["tar"]["low"] <= gain["tar"]["estimate"] <= gain["tar"]["high"]
    assert gain["tar"]["estimate"] > 0
    assert gain["eer"]["estimate"] < 1
