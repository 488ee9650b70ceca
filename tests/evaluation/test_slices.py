"""Slices by the worse of two pictures and by what a list says, each with its counts and intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_models.evaluation.lists import pairs
from ml_models.evaluation.lists.pairs import Comparisons, Pool
from ml_models.evaluation.pictures.embedding import QUALITY_FIELDS, Embedded
from ml_models.evaluation.rates.intervals import Subjects
from ml_models.evaluation.rates.systems import Systems
from ml_models.evaluation.report import slices

SUBJECTS, IMAGES = 30, 4


def pool(attributes: dict[str, Any] | None = None) -> Pool:
    """Every image of thirty people against every other."""
    who = np.repeat(np.arange(SUBJECTS, dtype=np.int32), IMAGES)
    a, b = (side.astype(np.int32) for side in np.triu_indices(len(who), 1))
    comparisons = Comparisons(a, b, who[a], who[b], np.zeros(len(a), np.int32))
    names = tuple(f"people/{i}" for i in range(SUBJECTS))
    images = tuple(Path(f"{i}.jpg") for i in range(len(who)))
    return Pool(("people",), images, names, who, (comparisons,), (), attributes or {})


def embedded(**quality: Any) -> Embedded:
    count = SUBJECTS * IMAGES
    measures = {field: np.full(count, 100.0) for field in QUALITY_FIELDS} | quality
    return Embedded({}, {}, measures, ("",) * count, np.zeros(count, bool), 1.0)


def systems(comparisons: Comparisons, wrong: Any = False) -> Systems:
    """Scores that are right but where `wrong` says."""
    margin = np.where(comparisons.same ^ np.asarray(wrong), 1.0, -1.0)
    return Systems(comparisons, {"net": margin / 2}, margin, margin, Subjects(SUBJECTS, 200))


def table(pool: Pool, embedded: Embedded, systems: Systems) -> dict[str, dict[str, dict[str, Any]]]:
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for row in slices.table(systems, pool, embedded, {"net": 0.0}):
        by_name.setdefault(row["by"], {})[row["slice"]] = row
    return by_name


def test_the_worse_of_the_two_pictures_decides() -> None:
    turned = np.where(np.arange(SUBJECTS * IMAGES) % IMAGES == 0, -60.0, 5.0)
    people = pool()
    comparisons = people.lists[0]
    worse = (np.abs(turned[comparisons.a]) > 50) | (np.abs(turned[comparisons.b]) > 50)
    by_name = table(people, embedded(yaw_deg=turned), systems(comparisons, wrong=worse & comparisons.same))["yaw"]
    assert set(by_name) == {"under 15°", "from 50°"}
    assert by_name["from 50°"]["mated"] == int((worse & comparisons.same).sum())
    assert by_name["from 50°"]["non_mated"] == int((worse & ~comparisons.same).sum())
    assert by_name["from 50°"]["fused"]["fnmr"]["value"] == 1
    assert by_name["under 15°"]["fused"]["fnmr"]["value"] == 0
    assert by_name["under 15°"]["fused"]["fnmr"]["high"] > 0  # few people: never certain
    assert by_name["from 50°"]["members"]["net"]["fnmr"]["value"] == 1


def test_darker_is_worse_and_smaller_is_worse() -> None:
    dark = np.where(np.arange(SUBJECTS * IMAGES) == 0, 20.0, 200.0)
    small = np.where(np.arange(SUBJECTS * IMAGES) == 1, 50.0, 300.0)
    people = pool()
    by_name = table(people, embedded(brightness=dark, face_px=small), systems(people.lists[0]))
    with_first = SUBJECTS * IMAGES - 1
    for by, name in (("darkness (luminance)", "under 40"), ("size", "under 60 px")):
        row = by_name[by][name]
        assert row["mated"] + row["non_mated"] == with_first


def test_a_slice_without_strangers_has_no_fmr_and_one_with_few_no_tar() -> None:
    people = pool()
    comparisons = people.lists[0]
    labelled = replace(comparisons, attributes={"kind": np.where(comparisons.same, "same", "other")})
    by_name = table(replace(people, lists=(labelled,)), embedded(), systems(labelled))["kind"]
    assert by_name["same"]["fused"]["fmr"] is None
    assert by_name["same"]["fused"]["tar"] is None
    assert by_name["other"]["fused"]["fnmr"] is None
    assert by_name["other"]["fused"]["fmr"]["value"] == 0


def test_failures_to_acquire_have_no_place_in_a_slice() -> None:
    people = pool()
    lost = systems(people.lists[0])
    touches = (people.lists[0].a == 0) | (people.lists[0].b == 0)
    lost = replace(lost, margin=np.where(touches, -np.inf, lost.margin))
    by_name = table(people, embedded(), lost)["size"]["100–160 px"]
    assert by_name["mated"] + by_name["non_mated"] == len(people.lists[0]) - touches.sum()


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., pairs.PairList]:
    root = tmp_path / "people"
    for name in ("ann/1.jpg", "ann/2.jpg", "bob/1.jpg", "bob/2.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()

    def read(header: str, *lines: str, attributes: str = "") -> pairs.PairList:
        (tmp_path / "pairs.csv").write_text("\n".join((header, *lines)))
        table = None
        if attributes:
            table = tmp_path / "more.csv"
            table.write_text(attributes)
        return pairs.read(tmp_path / "pairs.csv", root, table)

    return read


def test_columns_of_a_list_are_attributes_of_pictures_or_pairs(files: Callable[..., pairs.PairList]) -> None:
    pair_list = files(
        "same,a,b,light_a,light_b,distance",
        "1,ann/1.jpg,ann/2.jpg,day,night,near",
        "0,ann/1.jpg,bob/1.jpg,day,day,far",
    )
    assert pair_list.attributes["light"].tolist() == ["day", "night", "day"]
    assert pair_list.listed.attributes["distance"].tolist() == ["near", "far"]
    everything = pairs.pool([pair_list.all_pairs()])
    assert everything.attributes["light"].tolist() == ["day", "night", "day"]  # of pictures, so also all against all
    assert everything.lists[0].attributes == {}
    second = pair_list.listed.take(np.array([False, True]))
    assert second.attributes["distance"].tolist() == ["far"]


def test_a_table_says_more_of_subjects_or_pictures(files: Callable[..., pairs.PairList]) -> None:
    lines = ("1,ann/1.jpg,ann/2.jpg", "0,ann/1.jpg,bob/1.jpg")
    pair_list = files("same,a,b", *lines, attributes="who,age\nann,30\nbob/1.jpg,40\n")
    assert pair_list.attributes["age"].tolist() == ["30", "30", "40"]
    for table, refusal in (
        ("who\nann\n", "column of subjects"),
        ("who,age\nann,30\nbob,20\nann,31\n", "more.csv, line 4: a line above names the same"),
        ("who,age\nAnn,30\n", "no line for any subject"),
    ):
        with pytest.raises(pairs.PairListRefused, match=refusal) as refused:
            files("same,a,b", *lines, attributes=table)
        assert "ann" not in str(refused.value)


def test_what_a_table_says_of_nobody_is_unknown_and_counted(files: Callable[..., pairs.PairList]) -> None:
    lines = ("1,ann/1.jpg,ann/2.jpg", "0,ann/1.jpg,bob/1.jpg")
    for unknown in ("NA", "n/a", "", "unknown", "NaN"):
        pair_list = files("same,a,b", *lines, attributes=f"who,age\nann,30\nbob,{unknown}\n")
        assert pair_list.attributes["age"].tolist() == ["30", "30", ""]
        assert pair_list.warnings == ("age is not known of 1 of 2 subjects, or of some of their pictures.",)


def test_both_pictures_must_have_the_attribute() -> None:
    words = np.where(np.arange(SUBJECTS * IMAGES) % IMAGES, "night", "day")
    people = pool({"light": words})
    by_name = table(people, embedded(), systems(people.lists[0]))
    both, nights = by_name["light (both)"]["night"], SUBJECTS * (IMAGES - 1)
    assert both["mated"] + both["non_mated"] == nights * (nights - 1) // 2
    mixed = by_name["light (mixed)"]["two different ones"]
    assert mixed["mated"] + mixed["non_mated"] == nights * SUBJECTS


def test_strangers_are_of_one_group_or_of_two_and_the_slice_says_which() -> None:
    gender = np.repeat(np.where(np.arange(SUBJECTS) < 10, "female", "male"), IMAGES)
    people = pool({"gender": gender})
    comparisons = people.lists[0]
    first, second = gender[comparisons.a], gender[comparisons.b]
    confused = ~comparisons.same & (first == "female") & (second == "female")
    by_name = table(people, embedded(), systems(comparisons, wrong=confused))
    women, men = by_name["gender (both)"]["female"], by_name["gender (both)"]["male"]
    mixed = by_name["gender (mixed)"]["two different ones"]
    assert (women["fused"]["fmr"]["value"], men["fused"]["fmr"]["value"], mixed["fused"]["fmr"]["value"]) == (1, 0, 0)
    assert mixed["fused"]["fnmr"] is None  # nobody is of two groups
    assert mixed["non_mated"] == 10 * 20 * IMAGES**2
    assert 0 < men["fused"]["fmr"]["high"] < 1


def test_a_group_of_fewer_than_five_people_is_in_no_slice() -> None:
    groups = np.where(np.arange(SUBJECTS) < 4, "few", np.where(np.arange(SUBJECTS) < 9, "enough", "many"))
    people = pool({"group": np.repeat(groups, IMAGES)})
    by_name = table(people, embedded(), systems(people.lists[0]))
    assert set(by_name["group (both)"]) == {"enough", "many"}
    assert by_name["group (mixed)"]["two different ones"]["non_mated"] == 5 * 21 * IMAGES**2  # the few are not in it


def test_a_rate_of_fewer_than_five_people_is_not_shown_though_their_group_is_large() -> None:
    people = pool({"group": np.repeat(np.where(np.arange(SUBJECTS) < 10, "a", "b"), IMAGES)})
    comparisons = people.lists[0]
    of_few = comparisons.take(~comparisons.same | (comparisons.subject_a < 4) | (comparisons.subject_a >= 10))
    by_name = table(replace(people, lists=(of_few,)), embedded(), systems(of_few))["group (both)"]
    assert (by_name["a"]["mated"], by_name["a"]["fused"]["fnmr"]) == (0, None)
    assert by_name["a"]["fused"]["fmr"] is not None
    assert by_name["b"]["fused"]["fnmr"] is not None


def test_numbers_of_many_values_are_cut_into_quarters() -> None:
    ages = np.repeat(np.arange(20, 20 + SUBJECTS), IMAGES).astype(str)
    ages[:IMAGES] = ""  # one person's age is not known: the others' are numbers all the same
    people = pool({"age": ages})
    assert set(table(people, embedded(), systems(people.lists[0]))["age (both)"]) == {
        "under 28",
        "28–35",
        "35–42",
        "from 42",
    }
