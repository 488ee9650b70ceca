"""Pair lists: which two images are compared, and of whom they are.

Three layouts are read:
- CSV with the columns `same,a,b`, and if present `fold`, `subject_a`, `subject_b`; paths relative to the
  images' folder;
- LFW's `pairs.txt` (Huang et al., 2007), images as `Name/Name_0001.jpg`;
- a CFP protocol folder, `Protocol/Split/FF` or `…/FP` (Sengupta et al., 2016), images below `Data/Images`.

The subject is the first folder of the path (`001/frontal/04.jpg` → `001`); of an image without a folder,
its name up to the last underscore (`004_neutral.jpg` → `004`). A list whose labels contradict that rule is
refused: intervals are drawn over subjects, and would be wrong without anyone noticing.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int32]
Flags = NDArray[np.bool_]


class EvidenceRefused(ValueError):
    """No honest figure can come of what was given; `code` says why, the message what would help."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class PairListRefused(EvidenceRefused):
    """missing_files, unreadable, contradictory, one_class"""


@dataclass(frozen=True, slots=True)
class Pair:
    """One line of a list: two image paths, POSIX, relative to the images' folder."""

    fold: int
    same: bool
    a: str
    b: str
    subject_a: str
    subject_b: str


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Who is compared with whom; every array has shape (N,).

    `a`, `b` index the images; `subject_a`, `subject_b` the subjects; `fold` is 0 where the list has none.
    """

    a: Indices
    b: Indices
    subject_a: Indices
    subject_b: Indices
    fold: Indices

    @property
    def same(self) -> Flags:
        return np.asarray(self.subject_a == self.subject_b)

    def __len__(self) -> int:
        return len(self.a)

    def take(self, keep: Flags | Indices | NDArray[np.intp]) -> Comparisons:
        return Comparisons(self.a[keep], self.b[keep], self.subject_a[keep], self.subject_b[keep], self.fold[keep])


@dataclass(frozen=True, slots=True)
class PairList:
    """`images[i]` shows subject `subjects[subject_of[i]]`; `warnings` are to be shown beside every figure."""

    name: str
    images: tuple[Path, ...]
    subjects: tuple[str, ...]
    subject_of: Indices
    listed: Comparisons
    warnings: tuple[str, ...] = ()

    def all_pairs(self) -> PairList:
        """Every image against every other; where no image stands on both sides of the list (frontal against
        profile, say) every image of the first column against every image of the second."""
        left, right = np.unique(self.listed.a), np.unique(self.listed.b)
        if np.intersect1d(left, right).size:
            used = np.union1d(left, right)
            i, j = np.triu_indices(len(used), k=1)
            a, b = used[i], used[j]
        else:
            a, b = (side.ravel() for side in np.meshgrid(left, right, indexing="ij"))
        a, b = a.astype(np.int32), b.astype(np.int32)
        everything = Comparisons(a, b, self.subject_of[a], self.subject_of[b], np.zeros(len(a), np.int32))
        return replace(self, listed=everything)


def read(path: Path, images: Path) -> PairList:
    """Read one list.

    Args:
        path: the CSV, `pairs.txt` or CFP split folder.
        images: the folder its paths are relative to.

    Raises:
        PairListRefused: unreadable, contradictory, one class only, or files missing.
    """
    if not images.is_dir():
        raise PairListRefused("missing_files", f"The images' folder does not exist: {images}")
    if not path.exists():
        raise PairListRefused("missing_files", f"The pair list does not exist: {path}")
    if path.is_dir():
        pairs = list(_cfp(path))
    elif path.suffix == ".csv":
        pairs = list(_csv(path))
    else:
        pairs = list(_lfw(path))
    return _build(f"{namespace(images)}/{path.stem}", pairs, images)


@dataclass(frozen=True, slots=True)
class Pool:
    """Several lists over common images and subjects: what occurs in two lists is embedded, and drawn,
    once."""

    names: tuple[str, ...]
    images: tuple[Path, ...]
    subjects: tuple[str, ...]
    subject_of: Indices
    lists: tuple[Comparisons, ...]
    warnings: tuple[str, ...]

    def fold_parts(self) -> Indices | None:
        """The part of each subject, shape (S,), when the lists' own folds part the subjects; folds of two
        lists that share a subject are one part. Subjects without a fold are in part −1. None when one part
        is left."""
        part_of = np.full(len(self.subjects), -1, np.int32)
        for c in self.lists:
            for fold in np.unique(c.fold[c.fold > 0]):
                who = np.union1d(c.subject_a[c.fold == fold], c.subject_b[c.fold == fold])
                for met in np.unique(part_of[who][part_of[who] >= 0]):
                    part_of[part_of == met] = fold
                part_of[who] = fold
        return part_of if len(np.unique(part_of[part_of >= 0])) > 1 else None


def concatenate(lists: Sequence[Comparisons]) -> tuple[Comparisons, Indices]:
    """All lists in one, each pair of images once, and where in the concatenated lists each was found."""
    columns = zip(*((c.a, c.b, c.subject_a, c.subject_b, c.fold) for c in lists), strict=True)
    together = Comparisons(*(np.concatenate(column) for column in columns))
    low, high = np.minimum(together.a, together.b), np.maximum(together.a, together.b)
    _, first = np.unique(low.astype(np.int64) << 32 | high, return_index=True)
    where: Indices = np.sort(first).astype(np.int32)
    return together.take(where), where


def pool(lists: Sequence[PairList]) -> Pool:
    """Put lists side by side. Their folds stay apart; strangers from two lists are not compared: taken with
    another camera, they are too easy to tell apart."""
    images = tuple(dict.fromkeys(image for item in lists for image in item.images))
    subjects = tuple(dict.fromkeys(name for item in lists for name in item.subjects))
    at, who = {p: i for i, p in enumerate(images)}, {s: i for i, s in enumerate(subjects)}
    subject_of = np.zeros(len(images), np.int32)
    found, first_fold = [], 0
    for item in lists:
        moved = np.array([at[p] for p in item.images], np.int32)
        subject_of[moved] = np.array([who[s] for s in item.subjects], np.int32)[item.subject_of]
        fold = np.where(item.listed.fold > 0, item.listed.fold + first_fold, 0).astype(np.int32)
        first_fold += int(item.listed.fold.max())
        a, b = moved[item.listed.a], moved[item.listed.b]
        found.append(Comparisons(a, b, subject_of[a], subject_of[b], fold))
    warnings = tuple(f"{item.name}: {warning}" for item in lists for warning in item.warnings)
    names = tuple(item.name for item in lists)
    return Pool(names, images, subjects, subject_of, tuple(found), warnings)


def comparisons_needed(target_fmr: float) -> int:
    """Non-mated comparisons without one error that would bound the FMR at the target with 95 % certainty:
    the rule of three, 3 / target (ISO/IEC 19795-1, annex on sample size)."""
    return math.ceil(3 / target_fmr - 1e-9)


def subject_hashes(subjects: Iterable[str]) -> list[str]:
    """Who was in a list, without saying who: the first 16 hex digits of sha256 of each subject's name with its
    namespace, sorted. What calibrated a version and what measured it are compared by these."""
    return sorted({hashlib.sha256(subject.encode()).hexdigest()[:16] for subject in subjects})


def subject_from_path(path: str) -> str:
    pure = PurePosixPath(path)
    return pure.parts[0] if len(pure.parts) > 1 else pure.stem.rsplit("_", 1)[0]


def _csv(path: Path) -> Iterator[Pair]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if missing := {"same", "a", "b"} - set(rows.fieldnames or ()):
            raise PairListRefused("unreadable", f"{path.name} has no column {', '.join(sorted(missing))}.")
        for row in rows:
            where = f"{path.name}, line {rows.line_num}"
            if row["same"] not in ("0", "1") or not row["a"] or not row["b"]:
                raise PairListRefused("unreadable", f"{where}: `same` must be 0 or 1, and `a`, `b` paths.")
            fold = row.get("fold") or "0"
            if not fold.isdigit():
                raise PairListRefused("unreadable", f"{where}: `fold` must be a number.")
            named = (row.get("subject_a"), row.get("subject_b"))
            yield _pair(where, int(fold), row["same"] == "1", row["a"], row["b"], *named)


def _lfw(path: Path) -> Iterator[Pair]:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[0].split() if lines else []
    if not header or not all(field.isdigit() for field in header) or len(header) > 2:
        raise PairListRefused("unreadable", f"{path.name} is neither a CSV nor LFW's pairs.txt.")
    per_class = int(header[-1])
    for number, line in enumerate(lines[1:]):
        if not line.strip():
            continue
        where, fold = f"{path.name}, line {number + 2}", number // (2 * per_class) + 1
        match line.split():
            case [name, i, j] if i.isdigit() and j.isdigit():
                yield _pair(where, fold, True, _lfw_image(name, i), _lfw_image(name, j))
            case [name, i, other, j] if i.isdigit() and j.isdigit():
                yield _pair(where, fold, False, _lfw_image(name, i), _lfw_image(other, j))
            case _:
                raise PairListRefused("unreadable", f"{where} is not a pair of LFW images.")


def _lfw_image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def _cfp(split: Path) -> Iterator[Pair]:
    protocol = split.parent.parent
    kind = split.name.upper()
    if kind not in ("FF", "FP") or not (protocol / "Pair_list_F.txt").is_file():
        raise PairListRefused("unreadable", f"{split} is not CFP's Protocol/Split/FF or Protocol/Split/FP.")
    first = _cfp_images(protocol / "Pair_list_F.txt")
    second = first if kind == "FF" else _cfp_images(protocol / "Pair_list_P.txt")
    for folder in sorted(f for f in split.iterdir() if f.is_dir()):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for number, line in enumerate((folder / name).read_text().split()):
                where = f"{folder.name}/{name}, line {number + 1}"
                a, _, b = line.partition(",")
                if a not in first or b not in second or not folder.name.isdigit():
                    raise PairListRefused("unreadable", f"{where} is not a pair of CFP image numbers.")
                yield _pair(where, int(folder.name), same, first[a], second[b])


def _cfp_images(path: Path) -> dict[str, str]:
    """Number → path below `Data/Images`; the lists write it as `../Data/Images/001/frontal/01.jpg`."""
    rows = (line.split(None, 1) for line in path.read_text().splitlines() if line.strip())
    return {number: "/".join(PurePosixPath(image.strip()).parts[-3:]) for number, image in rows}


def _pair(
    where: str, fold: int, same: bool, a: str, b: str, who_a: str | None = None, who_b: str | None = None
) -> Pair:
    for path in (a, b):
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise PairListRefused("unreadable", f"{where}: a path leads out of the images' folder.")
    pair = Pair(fold, same, a, b, who_a or subject_from_path(a), who_b or subject_from_path(b))
    if a == b:
        raise PairListRefused("unreadable", f"{where} compares an image with itself.")
    if same != (pair.subject_a == pair.subject_b):
        raise PairListRefused(
            "contradictory",
            f"{where} is labelled {'mated' if same else 'non-mated'}, but its paths name "
            f"{'two subjects' if same else 'one subject'}. Columns subject_a and subject_b can say who.",
        )
    return pair


def _build(name: str, pairs: list[Pair], root: Path) -> PairList:
    # an unordered pair listed twice would count one person's luck twice; CFP's own list does it 25 times in
    # two folds
    distinct = {frozenset((pair.a, pair.b)): pair for pair in reversed(pairs)}
    kept = list(reversed(distinct.values()))
    warnings = []
    if len(kept) < len(pairs):
        warnings.append(f"{len(pairs) - len(kept)} duplicate pairs were left out.")
    if len({pair.same for pair in kept}) < 2:
        raise PairListRefused("one_class", "A list needs mated and non-mated pairs; this one has not both.")
    who = {path: subject for p in kept for path, subject in ((p.a, p.subject_a), (p.b, p.subject_b))}
    if any(who[p.a] != p.subject_a or who[p.b] != p.subject_b for p in kept):
        raise PairListRefused("contradictory", "An image is said to show two different subjects.")
    missing = sorted(path for path in who if not (root / path).is_file())
    if missing:
        raise PairListRefused(
            "missing_files",
            f"{len(missing)} of {len(who)} images are missing below {root}, first: {missing[0]}",
        )
    full = [f"{namespace(root)}/{subject}" for subject in who.values()]
    names = tuple(dict.fromkeys(full))
    at, index = {path: i for i, path in enumerate(who)}, {subject: i for i, subject in enumerate(names)}
    subject_of = np.array([index[subject] for subject in full], np.int32)
    a = np.array([at[p.a] for p in kept], np.int32)
    b = np.array([at[p.b] for p in kept], np.int32)
    fold = np.array([p.fold for p in kept], np.int32)
    listed = Comparisons(a, b, subject_of[a], subject_of[b], fold)
    files = tuple((root / path).resolve() for path in who)
    return PairList(name, files, names, subject_of, listed, tuple(warnings))


def namespace(root: Path) -> str:
    """What keeps subject 001 of one set apart from 001 of another: the images' folder's name, or of the
    nearest folder above that is not just called `images` or `data`. The same on every machine, so that
    overlaps can be found later."""
    return next(part for part in reversed(root.resolve().parts) if part.lower() not in ("images", "data"))
