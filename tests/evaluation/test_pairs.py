"""Pair lists are read as written, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml_models.evaluation.lists import pairs
from ml_models.evaluation.lists.pairs import PairListRefused


def images(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def csv(folder: Path, *lines: str, header: str = "same,a,b", name: str = "pairs.csv") -> Path:
    path = folder / name
    path.write_text("\r\n".join((header, *lines)) + "\r\n")
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return images(tmp_path / "people" / "images", "ann/1.jpg", "ann/2.jpg", "bob/1.jpg", "bob/2.jpg", "cem/1.jpg")


GOOD = ("1,ann/1.jpg,ann/2.jpg", "1,bob/1.jpg,bob/2.jpg", "0,ann/1.jpg,bob/1.jpg", "0,bob/2.jpg,cem/1.jpg")


def test_a_csv_gives_images_subjects_and_labels(tmp_path: Path, people: Path) -> None:
    pair_list = pairs.read(csv(tmp_path, *GOOD), people)
    assert pair_list.subjects == ("people/ann", "people/bob", "people/cem")
    assert len(pair_list.images) == 5
    assert pair_list.listed.same.tolist() == [True, True, False, False]
    assert pair_list.listed.fold.tolist() == [0, 0, 0, 0]
    assert pair_list.warnings == ()


def test_folds_are_kept(tmp_path: Path, people: Path) -> None:
    pair_list = pairs.read(
        csv(tmp_path, *(f"{i % 2 + 1},{line}" for i, line in enumerate(GOOD)), header="fold,same,a,b"), people
    )
    assert pair_list.listed.fold.tolist() == [1, 2, 1, 2]


def test_a_flat_folder_names_its_subjects_before_the_last_underscore(tmp_path: Path) -> None:
    root = images(tmp_path / "london", "004_neutral.jpg", "004_smiling.jpg", "Ann_Lee_0001.jpg")
    path = csv(tmp_path, "1,004_neutral.jpg,004_smiling.jpg", "0,004_neutral.jpg,Ann_Lee_0001.jpg")
    pair_list = pairs.read(path, root)
    assert pair_list.subjects == ("london/004", "london/Ann_Lee")


def test_columns_may_name_the_subjects(tmp_path: Path) -> None:
    root = images(tmp_path / "flat", "x1.jpg", "x2.jpg", "y1.jpg")
    path = csv(tmp_path, "1,x1.jpg,x2.jpg,x,x", "0,x1.jpg,y1.jpg,x,y", header="same,a,b,subject_a,subject_b")
    assert pairs.read(path, root).subjects == ("flat/x", "flat/y")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("1,ann/1.jpg,bob/1.jpg", *GOOD), "contradictory"),
        (("0,ann/1.jpg,ann/2.jpg", *GOOD), "contradictory"),
        (GOOD[:2], "one_class"),
        (GOOD[2:], "one_class"),
        ((*GOOD, "0,ann/1.jpg,dan/1.jpg"), "missing_files"),
        ((*GOOD, "1,ann/1.jpg,ann/1.jpg"), "unreadable"),
        ((*GOOD, "yes,ann/1.jpg,ann/2.jpg"), "unreadable"),
        ((*GOOD, "1,../ann/1.jpg,ann/2.jpg"), "unreadable"),
        ((*GOOD, "1,/ann/1.jpg,ann/2.jpg"), "unreadable"),
        ((*GOOD, "1,ann/1.jpg"), "unreadable"),
    ],
)
def test_a_list_no_figure_can_come_from_is_refused(
    tmp_path: Path, people: Path, lines: tuple[str, ...], code: str
) -> None:
    with pytest.raises(PairListRefused) as refused:
        pairs.read(csv(tmp_path, *lines), people)
    assert refused.value.code == code


def test_a_missing_file_is_named_and_counted(tmp_path: Path, people: Path) -> None:
    with pytest.raises(PairListRefused, match=r"1 of 6 images .* dan/1.jpg"):
        pairs.read(csv(tmp_path, *GOOD, "0,ann/1.jpg,dan/1.jpg"), people)


def test_a_list_without_its_columns_or_its_images_is_refused(tmp_path: Path, people: Path) -> None:
    with pytest.raises(PairListRefused, match="no column same"):
        pairs.read(csv(tmp_path, "1,x,y", header="label,a,b"), people)
    with pytest.raises(PairListRefused, match="does not exist"):
        pairs.read(csv(tmp_path, *GOOD), tmp_path / "nowhere")
    with pytest.raises(PairListRefused, match="does not exist"):
        pairs.read(tmp_path / "nothing.csv", people)


def test_a_pair_listed_twice_counts_once_and_is_reported(tmp_path: Path, people: Path) -> None:
    pair_list = pairs.read(csv(tmp_path, *GOOD, "1,ann/2.jpg,ann/1.jpg"), people)
    assert len(pair_list.listed) == 4
    assert pair_list.warnings == ("1 duplicate pairs were left out.",)


def test_lfw_pairs_txt_is_read(tmp_path: Path) -> None:
    root = images(
        tmp_path / "lfw",
        "Ann_Lee/Ann_Lee_0001.jpg",
        "Ann_Lee/Ann_Lee_0003.jpg",
        "Bo/Bo_0002.jpg",
        "Bo/Bo_0004.jpg",
    )
    path = tmp_path / "pairs.txt"
    path.write_text("2\t1\nAnn_Lee\t1\t3\nAnn_Lee\t1\tBo\t2\nBo\t2\t4\nBo\t4\tAnn_Lee\t3\n")
    pair_list = pairs.read(path, root)
    assert pair_list.listed.same.tolist() == [True, False, True, False]
    assert pair_list.listed.fold.tolist() == [1, 1, 2, 2]
    path.write_text("2\t1\nAnn_Lee one three\n")
    with pytest.raises(PairListRefused, match="line 2"):
        pairs.read(path, root)


def cfp(tmp_path: Path) -> tuple[Path, Path]:
    names = [f"{who}/{view}/{n:02d}.jpg" for who in ("001", "002") for view in ("frontal", "profile") for n in (1, 2)]
    root = images(tmp_path / "cfp" / "Data" / "Images", *names)
    protocol = tmp_path / "cfp" / "Protocol"
    for kind, view in (("F", "frontal"), ("P", "profile")):
        listed = [name for name in names if view in name]
        (protocol / "Split").mkdir(parents=True, exist_ok=True)
        text = "".join(f"{i + 1} ../Data/Images/{name}\n" for i, name in enumerate(listed))
        (protocol / f"Pair_list_{kind}.txt").write_text(text)
    for kind in ("FF", "FP"):
        for fold in ("01", "02"):
            (protocol / "Split" / kind / fold).mkdir(parents=True)
            (protocol / "Split" / kind / fold / "same.txt").write_text("1,2\n" if fold == "01" else "3,4\n")
            (protocol / "Split" / kind / fold / "diff.txt").write_text("1,3\n" if fold == "01" else "4,2\n")
    return protocol, root


def test_a_cfp_protocol_folder_is_read(tmp_path: Path) -> None:
    protocol, root = cfp(tmp_path)
    pair_list = pairs.read(protocol / "Split" / "FP", root)
    assert pair_list.listed.same.tolist() == [True, False, True, False]
    assert pair_list.listed.fold.tolist() == [1, 1, 2, 2]
    assert pair_list.images[pair_list.listed.a[0]].parts[-3:] == ("001", "frontal", "01.jpg")
    assert pair_list.images[pair_list.listed.b[0]].parts[-3:] == ("001", "profile", "02.jpg")
    assert pair_list.subjects[0] == "cfp/001"
    with pytest.raises(PairListRefused, match="Split/FF or Protocol/Split/FP"):
        pairs.read(protocol, root)


def test_all_pairs_compares_every_image_with_every_other_once(tmp_path: Path, people: Path) -> None:
    pair_list = pairs.read(csv(tmp_path, *GOOD, "0,ann/2.jpg,cem/1.jpg", "0,cem/1.jpg,ann/1.jpg"), people).all_pairs()
    assert len(pair_list.listed) == 5 * 4 // 2
    assert pair_list.listed.same.sum() == 2


def test_all_pairs_of_two_separate_sides_stay_across_the_sides(tmp_path: Path) -> None:
    protocol, root = cfp(tmp_path)
    pair_list = pairs.read(protocol / "Split" / "FP", root).all_pairs()
    views = {
        (pair_list.images[a].parent.name, pair_list.images[b].parent.name)
        for a, b in zip(pair_list.listed.a, pair_list.listed.b, strict=True)
    }
    assert views == {("frontal", "profile")}


def test_pooled_lists_share_images_and_keep_folds_and_namesakes_apart(tmp_path: Path, people: Path) -> None:
    other = images(tmp_path / "others", "ann/1.jpg", "ann/2.jpg", "bob/1.jpg")
    head = "fold,same,a,b"
    first = pairs.read(csv(tmp_path, *(f"1,{line}" for line in GOOD), header=head), people)
    again = pairs.read(csv(tmp_path, *(f"1,{line}" for line in GOOD[:3]), header=head, name="again.csv"), people)
    lines = ("1,1,ann/1.jpg,ann/2.jpg", "1,0,ann/1.jpg,bob/1.jpg")
    third = pairs.read(csv(tmp_path, *lines, header=head, name="o.csv"), other)
    pooled = pairs.pool([first, again, third])
    assert pooled.names == ("people/pairs", "people/again", "others/o")
    assert pooled.subjects == ("people/ann", "people/bob", "people/cem", "others/ann", "others/bob")
    assert len(pooled.images) == 8
    together, where = pairs.concatenate(pooled.lists)
    assert where.tolist() == [0, 1, 2, 3, 7, 8]
    assert np.array_equal(together.fold, [1, 1, 1, 1, 3, 3])
    assert together.same.tolist() == [True, True, False, False, True, False]


def test_folds_that_share_a_subject_are_one_part(tmp_path: Path, people: Path) -> None:
    head = "fold,same,a,b"
    images(people, "dan/1.jpg", "dan/2.jpg")
    apart = ("1,1,ann/1.jpg,ann/2.jpg", "1,0,ann/1.jpg,cem/1.jpg", "2,1,bob/1.jpg,bob/2.jpg", "2,0,bob/1.jpg,dan/1.jpg")
    first = pairs.read(csv(tmp_path, *apart, header=head), people)
    part_of = pairs.pool([first]).fold_parts()
    assert part_of is not None
    ann, cem, bob, dan = part_of
    assert ann == cem != bob == dan
    joined = pairs.read(csv(tmp_path, *apart, "2,0,bob/2.jpg,ann/1.jpg", header=head), people)
    assert pairs.pool([joined]).fold_parts() is None
    other = pairs.read(csv(tmp_path, *apart[2:], "3,0,cem/1.jpg,dan/2.jpg", header=head, name="o.csv"), people)
    assert pairs.pool([first, other]).fold_parts() is None


def test_the_number_of_impostors_that_would_suffice_follows_the_rule_of_three() -> None:
    assert pairs.comparisons_needed(0.001) == 3000
    assert pairs.comparisons_needed(0.01) == 300


def test_some_of_the_people_keep_their_pictures_and_names(tmp_path: Path, people: Path) -> None:
    whole = pairs.pool([pairs.read(csv(tmp_path, *GOOD), people)])
    part = whole.of_subjects(np.array([subject != "people/ann" for subject in whole.subjects]))
    assert part.subjects == ("people/bob", "people/cem")
    assert part.images == whole.images
    (left,) = part.lists
    named = [(part.images[a].parent.name, part.images[b].parent.name) for a, b in zip(left.a, left.b, strict=True)]
    assert named == [("bob", "bob"), ("bob", "cem")]
    assert [part.subjects[s] for s in left.subject_a] == ["people/bob", "people/bob"]
    assert left.same.tolist() == [True, False]
    assert [part.images[i].parent.name for i in part.used()] == ["bob", "bob", "cem"]
    assert all(part.subjects[part.subject_of[i]].endswith(part.images[i].parent.name) for i in part.used())
