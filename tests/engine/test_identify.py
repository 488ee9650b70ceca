"""Everybody on a roster at once: each candidate's score is the one that verify would give, bit for bit or nearly."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from ml_models.engine.calibrate import Affine, Calibration
from ml_models.engine.errors import InferenceFailed, LowQuality, MissingThreshold
from ml_models.engine.fuse import Centroids, Condition, Fusion, Pair, Sides
from ml_models.engine.identify import IdentificationRule, Offset, Templates, nearest, score
from ml_models.engine.types import Embeddings, Faces
from ml_models.engine.voters import Member, VoterSet, voter_key

DIMENSIONS = {"a": 16, "b": 8}
NETWORKS = {**DIMENSIONS, "eyewear": 4}
"""The members, and one that only tells one pair of glasses from another."""
RNG = np.random.default_rng(17)
OFFSETS = (Offset(1, 0.0, -2.0), Offset(10, 1.0, -1.0), Offset(1000, 3.0, 1.0), Offset(2000, 3.5, 1.5))


def unit(*shape: int) -> np.ndarray:
    vectors = RNG.normal(size=shape)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def fusion(*names: str, threshold: float = 2.0) -> Fusion:
    members = tuple(Member(name, 1 / len(names), Calibration(5.0, 0.1, -0.5, 2.0, 3.0)) for name in names)
    return Fusion(members, {voter_key(names): VoterSet(Affine(1.3, 0.2), threshold, 0.0, dict.fromkeys(names, 1.1))})


def condition(name: str, sides: Sides, margin: float = 0.0, threshold: float = 3.0) -> Condition:
    return Condition(
        name,
        {member: tuple(4 * unit(size)) for member, size in DIMENSIONS.items()},
        -1.0,
        {member: Centroids(tuple(0.3 * unit(size)), tuple(0.2 * unit(size))) for member, size in DIMENSIONS.items()},
        fusion("a", threshold=threshold) if name == "covered" else fusion("a", "b", threshold=threshold),
        sides,
        margin,
    )


@pytest.fixture(scope="module", params=["both", "shared", "measured", "paired"])
def rule(request: pytest.FixtureRequest) -> Fusion:
    """With a condition of every kind, two of them related."""
    glasses = condition("glasses", "both", 0.3, threshold=2.5)
    if request.param != "both":
        glasses = replace(glasses, sides="shared", centroids={}, fusion=Fusion((), {}))
    if request.param in ("measured", "paired"):
        glasses = replace(glasses, measure="glasses")
    if request.param == "paired":
        glasses = replace(glasses, pair=Pair("eyewear", -0.1, 0.6))
    conditions = (
        condition("covered", "either", 0.7),
        condition("eyes_covered", "either", 0.1),
        glasses,
        condition("blurred", "probes"),
    )
    return replace(fusion("a", "b"), conditions=conditions)


def features(count: int) -> Faces:
    made = {}
    for name, size in NETWORKS.items():
        norms = RNG.uniform(5, 30, count).astype(np.float32)
        made[name] = Embeddings(unit(count, size).astype(np.float32), norms)
    # of every third nobody knows
    return Faces(made, np.where(np.arange(count) % 3, RNG.uniform(0, 1, count), np.nan).tolist())


def alone(templates: Templates, index: int) -> Mapping[str, Embeddings]:
    return templates.take(np.array([index])).embeddings


@pytest.fixture(scope="module")
def templates() -> Templates:
    """120 subjects with 1 to 4 references each."""
    counts = RNG.integers(1, 5, 120)
    return Templates(features(int(counts.sum())), np.cumsum(counts) - counts)


def test_every_candidate_scores_as_in_verify(rule: Fusion, templates: Templates) -> None:
    met = set()
    for count in (1, 3) * 12:
        frames = features(count)
        scores = score(rule, templates, frames, 0.8)
        for index in range(len(templates)):
            decision = rule.judge(alone(templates, index), frames, 0.8)
            assert scores.score[index] == pytest.approx(decision.score, abs=1e-6)
            assert scores.threshold[index] == pytest.approx(decision.threshold, abs=1e-6)
            met.add((decision.condition, round(decision.threshold, 3)))
    # every condition decided, with and without the margin of both sides
    shared = {condition.name for condition in rule.shared_under(None)}
    assert {name for name, _ in met} == {"", "covered", "eyes_covered", "glasses", "blurred"} - shared
    assert {("covered", 3.0), ("covered", 3.7), ("eyes_covered", 3.1)} <= met
    raised = {(name, threshold) for name, threshold in met if threshold not in (2.0, 2.5, 2.8, 3.0, 3.1, 3.7)}
    assert {name for name, _ in raised} == ({"", "eyes_covered"} if shared else set())


def test_a_roster_is_scored_as_its_parts_are(rule: Fusion, templates: Templates) -> None:
    frames, some = features(2), np.array([7, 3, 100])
    whole = score(rule, templates, frames, 0.8)
    part = score(rule, templates.take(some), frames, 0.8)
    assert part.margin == pytest.approx(whole.margin[some], abs=1e-9)


def test_a_large_roster_is_scored_in_the_callers_thread_alone() -> None:
    with get_context("spawn").Pool(1) as pool:  # here other tests' threads may be at work
        process, own = pool.apply(processor_times)
    assert process < 1.5 * own


def processor_times() -> tuple[float, float]:
    """What scoring a large roster takes of the whole process, and of this thread, in seconds."""
    DIMENSIONS["a"] = NETWORKS["a"] = 512
    rule = replace(fusion("a", "b"), conditions=tuple(condition(name, "either") for name in "tuvwxyz"))
    templates, frames = Templates(features(2000), np.arange(2000)), features(1)
    process, own = time.process_time(), time.thread_time()
    for _ in range(3):
        score(rule, templates, frames, 0.8)
    own = time.thread_time() - own
    time.sleep(0.05)  # threads of a BLAS keep a core busy afterwards
    return time.process_time() - process, own


def test_what_verify_refuses_is_refused_for_all(rule: Fusion, templates: Templates) -> None:
    frames = features(1)
    broken = {name: replace(e, norms=e.norms.copy()) for name, e in templates.embeddings.items()}
    broken["b"].norms[5] = 0
    with pytest.raises(InferenceFailed):
        score(rule, Templates(broken, templates.starts), frames, 0.8)
    with pytest.raises(InferenceFailed):
        score(rule, templates, {"a": frames["a"]}, 0.8)
    with pytest.raises(InferenceFailed):
        score(Fusion(rule.members, rule.voter_sets), templates, {**frames, "b": frames["a"]}, 0.8)
    demanding = Fusion(tuple(replace(m, quality_threshold=0.5) for m in rule.members), rule.voter_sets)
    with pytest.raises(LowQuality):
        score(demanding, templates, frames, 0.4)
    with pytest.raises(MissingThreshold):
        score(Fusion(rule.members, {}), templates, frames, 0.8)


def test_the_offset_rises_with_the_logarithm_of_the_candidates() -> None:
    numbers = IdentificationRule(0.001, OFFSETS)
    assert [numbers.at(offset.candidates) for offset in OFFSETS] == list(OFFSETS)
    between = numbers.at(100)
    assert [between.match, between.review] == pytest.approx([2.0, 0.0])
    for count in (0, 2001):
        with pytest.raises(MissingThreshold):
            numbers.at(count)


@pytest.mark.parametrize(
    "offsets",
    [
        (),
        OFFSETS[1:],
        OFFSETS[:-1],
        (OFFSETS[0], OFFSETS[2], OFFSETS[1], OFFSETS[3]),
        (Offset(1, 0.5, 0.0), Offset(2000, 0.4, 0.0)),
        (Offset(1, -0.1, -1.0), Offset(2000, 3.0, 0.0)),
        (Offset(1, 0.0, 0.1), Offset(2000, 3.0, 0.2)),
        (Offset(1, 0.0, -1.0), Offset(2000, math.nan, 0.0)),
    ],
)
def test_offsets_that_would_name_more_easily_than_verify_or_than_fewer_do_are_refused(
    offsets: tuple[Offset, ...],
) -> None:
    with pytest.raises(ValueError, match="identification"):
        IdentificationRule(0.001, offsets)


@pytest.mark.parametrize("target", [0.0, 0.5, -0.1])
def test_a_target_that_is_none_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="FPIR"):
        IdentificationRule(target, OFFSETS)


def test_the_nearest_are_told_by_the_members_that_the_templates_have() -> None:
    everybody, probe = features(12), features(2)
    templates = Templates(Faces({"a": everybody["a"]}, [None]), np.array([0, 3, 4, 9]))
    products = everybody["a"].vectors @ probe["a"].vectors.mean(0)
    means = [products[rows].mean() for rows in (slice(0, 3), slice(3, 4), slice(4, 9), slice(9, 12))]
    assert nearest(templates, probe, 3).tolist() == np.argsort(means)[::-1][:3].tolist()
    with pytest.raises(InferenceFailed):
        nearest(templates, Faces({"a": Embeddings.of_features(probe["b"].vectors)}, [None]), 3)


def test_the_foremost_member_is_the_one_whose_vote_counts_most() -> None:
    both = fusion("a", "b")
    assert both.foremost.name == "a"
    [(key, rule)] = both.voter_sets.items()
    assert replace(both, voter_sets={key: replace(rule, trust={"b": 1.2})}).foremost.name == "b"
    assert replace(both, voter_sets={}).foremost.name == "a"
