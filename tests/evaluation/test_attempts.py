"""Attempts of several references and frames see what the service's own comparison sees."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_models.engine.calibrate import Affine, Calibration
from ml_models.engine.compare import compare
from ml_models.engine.fuse import Fusion
from ml_models.engine.types import Embeddings
from ml_models.engine.voters import Member, VoterSet
from ml_models.evaluation import report
from ml_models.evaluation.attempts import CELLS, FEWEST_STRANGERS, attempts
from ml_models.evaluation.lists.pairs import Comparisons, Pool
from ml_models.evaluation.pictures.embedding import QUALITY_FIELDS, Embedded
from ml_models.evaluation.study import Study, score_with

SUBJECTS, PICTURES = 60, 8


@pytest.fixture(scope="module")
def embedded() -> Embedded:
    """Pictures of 60 people, the last of them not acquired."""
    rng = np.random.default_rng(0)
    count = SUBJECTS * PICTURES
    net = Embeddings.of_features(list(rng.normal(size=(count, 6)).astype(np.float32)))
    codes = ("",) * (count - 1) + ("no_face_found",)
    quality = {field: rng.uniform(size=count) for field in QUALITY_FIELDS}
    return Embedded(
        {"net": net.vectors}, {"net": net.norms.astype(np.float64)}, quality, codes, np.zeros(count, bool), 0
    )


@pytest.fixture(scope="module")
def everybody() -> tuple[Comparisons, np.ndarray]:
    """All against all, and who is in each picture."""
    subject_of = np.repeat(np.arange(SUBJECTS, dtype=np.int32), PICTURES)
    a, b = (side.astype(np.int32) for side in np.triu_indices(len(subject_of), 1))
    return Comparisons(a, b, subject_of[a], subject_of[b], np.zeros(len(a), np.int32)), subject_of


@pytest.mark.parametrize(("references", "frames"), [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_an_attempt_is_what_the_engine_would_compare(
    embedded: Embedded, everybody: tuple[Comparisons, np.ndarray], references: int, frames: int
) -> None:
    cell = attempts("list", *_args(embedded, everybody), references, frames)
    assert cell is not None
    labelled = cell.labelled
    net = Embeddings(embedded.vectors["net"], embedded.norms["net"].astype(np.float32))
    rng = np.random.default_rng(19795)
    sides = [np.unique(side[embedded.acquired[side]]) for side in (everybody[0].a, everybody[0].b)]
    left, right = (rng.permutation(side) for side in sides)
    who, came = (int(side[7]) for side in (labelled.comparisons.subject_a, labelled.comparisons.subject_b))
    template = [i for i in left if everybody[1][i] == who][:references]
    own = [i for i in left if everybody[1][i] == came][:references]
    group = [i for i in right if everybody[1][i] == came and i not in own]
    number = int((labelled.comparisons.subject_b[: labelled.comparisons.b[7]] == came).sum())
    group = group[number * frames : (number + 1) * frames]
    observation = compare(
        {"net": Embeddings(net.vectors[template], net.norms[template])},
        {"net": Embeddings(net.vectors[group], net.norms[group])},
    )["net"]
    assert labelled.observations.similarities["net"][7] == pytest.approx(observation.similarity, abs=1e-5)
    assert labelled.observations.log_norms["net"][7] == pytest.approx(observation.log_norm, abs=1e-5)
    np.testing.assert_array_equal(labelled.references["net"][labelled.comparisons.a[7]], net.vectors[template])
    np.testing.assert_array_equal(labelled.probes["net"][labelled.comparisons.b[7]], net.vectors[group])
    assert labelled.quality[7] == pytest.approx(embedded.quality["score"][group].max())


def test_frames_under_a_stress_meet_references_as_they_are(
    embedded: Embedded, everybody: tuple[Comparisons, np.ndarray]
) -> None:
    mirrored = replace(embedded, vectors={"net": -embedded.vectors["net"]}, norms={"net": 2 * embedded.norms["net"]})
    clean = attempts("list", *_args(embedded, everybody), 3, 1)
    stressed = attempts("list", *_args(embedded, everybody), 3, 1, mirrored, "covered")
    assert clean is not None
    assert stressed is not None
    assert stressed.labelled.condition == "covered"
    one, other = (cell.labelled.observations for cell in (stressed, clean))
    np.testing.assert_allclose(one.similarities["net"], -other.similarities["net"])
    np.testing.assert_allclose(stressed.labelled.probes["net"], -clean.labelled.probes["net"])
    shorter = one.log_norms["net"] - other.log_norms["net"]
    assert (shorter >= 0).all()
    assert (shorter < np.log(2)).any()  # the shorter one is the reference's then


def test_no_picture_is_compared_with_itself_and_none_that_was_not_acquired_is_used(
    embedded: Embedded, everybody: tuple[Comparisons, np.ndarray]
) -> None:
    cell = attempts("list", *_args(embedded, everybody), 3, 1)
    assert cell is not None
    labelled = cell.labelled
    assert np.isfinite(labelled.observations.similarities["net"]).all()
    assert labelled.observations.similarities["net"][labelled.comparisons.same].max() < 0.999
    # three pictures make the template, each other one is a frame; one picture of the last person is missing
    mated = labelled.comparisons.same.sum()
    assert SUBJECTS * (PICTURES - 3) - 3 <= mated <= SUBJECTS * (PICTURES - 3)
    assert (~labelled.comparisons.same).sum() >= FEWEST_STRANGERS


def test_a_list_without_enough_pictures_has_no_such_cell(
    embedded: Embedded, everybody: tuple[Comparisons, np.ndarray]
) -> None:
    assert attempts("list", *_args(embedded, everybody), PICTURES + 1, 1) is None
    few = everybody[0].take(everybody[0].subject_b < 4)
    assert attempts("list", few, embedded, everybody[1], 3, 1) is None


def _args(embedded: Embedded, everybody: tuple[Comparisons, np.ndarray]) -> tuple[Comparisons, Embedded, np.ndarray]:
    return everybody[0], embedded, everybody[1]


def reported(
    embedded: Embedded,
    subject_of: np.ndarray,
    lists: dict[str, Comparisons],
    stressed: Sequence[str] = (),
    condition: str = "",
) -> dict[str, Any]:
    """A report on these lists; what is called stress leaves the pictures as they are."""
    files = tuple(Path(f"{i}.jpg") for i in range(len(subject_of)))
    people = tuple(f"person-{i}" for i in range(SUBJECTS))
    pool = Pool(tuple(lists), files, people, subject_of, tuple(lists.values()), ())
    fusion = Fusion((Member("net", 1.0, Calibration(1.0, 0.0)),), {"net": VoterSet(Affine(1.0, 0.0), 0.5, 0.0)})
    study = Study(pool, pool, replace(embedded, digests=("ab",) * len(files)))
    return report.build(
        study,
        pool,
        partial(score_with, fusion),
        0.5,
        0.01,
        dict.fromkeys(stressed, replace(study, condition=condition)),
    ).data


def test_a_stress_is_told_of_every_list_by_itself(
    embedded: Embedded, everybody: tuple[Comparisons, np.ndarray]
) -> None:
    comparisons, subject_of = everybody
    first = comparisons.subject_a < SUBJECTS // 2
    lists = {"one": comparisons.take(first), "two": comparisons.take(~first)}
    (row,) = reported(embedded, subject_of, lists, ["fog"])["stress"]
    for name, alone in lists.items():
        (expected,) = reported(embedded, subject_of, {name: alone}, ["fog"])["stress"]
        assert row["lists"][name]["mated"] == alone.same.sum()
        assert row["lists"][name]["fused"] == expected["fused"]
    assert row["mated"] == comparisons.same.sum()


def test_a_report_tells_every_cell_in_a_condition_too(
    embedded: Embedded, everybody: tuple[Comparisons, np.ndarray]
) -> None:
    comparisons, subject_of = everybody
    for condition, expected in (("", [""]), ("covered", ["", "fog"])):
        cells = reported(embedded, subject_of, {"list": comparisons}, ["fog"], condition)["cells"]
        assert [(cell["under"], cell["references"], cell["frames"]) for cell in cells] == [
            (under, *cell) for under in expected for cell in CELLS
        ]


def test_a_report_tells_the_error_rates_of_every_cell(
    embedded: Embedded, everybody: tuple[Comparisons, np.ndarray]
) -> None:
    comparisons, subject_of = everybody
    cells = reported(embedded, subject_of, {"list": comparisons})["cells"]
    assert [(cell["under"], cell["references"], cell["frames"]) for cell in cells] == [("", *cell) for cell in CELLS]
    cell, expected = cells[2], attempts("list", *_args(embedded, everybody), 3, 1)
    assert expected is not None
    strangers = ~expected.labelled.comparisons.same
    assert cell["non_mated"] == strangers.sum()
    similarities = expected.labelled.observations.similarities["net"]
    assert cell["fmr"]["value"] == pytest.approx((similarities[strangers] >= 0.5).mean())
    assert cell["fmr"]["low"] < cell["fmr"]["value"] < cell["fmr"]["high"]
