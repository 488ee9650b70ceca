"""Pair lists: which two images are compared, and whom they show; `formats` reads the files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import PairListRefused, StudyRefused
from .formats import Pair, read_attributes, read_lines

__all__ = ["PairListRefused", "StudyRefused"]

Indices = NDArray[np.int32]
Words = NDArray[np.str_]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Which images, of which subjects, are compared; every array has shape (N,).

    `a`, `b` index the images; `subject_a`, `subject_b` the subjects; `fold` is 0 where the list has none;
    `attributes` are the list's further columns about pairs, "" where a pair has no value.
    """

    a: Indices
    b: Indices
    subject_a: Indices
    subject_b: Indices
    fold: Indices
    attributes: Mapping[str, Words] = field(default_factory=dict, kw_only=True)

    @property
    def same(self) -> Flags:
        return np.asarray(self.subject_a == self.subject_b)

    def __len__(self) -> int:
        return len(self.a)

    def take(self, keep: Flags | Indices | NDArray[np.intp]) -> Comparisons:
        more = {name: words[keep] for name, words in self.attributes.items()}
        return Comparisons(
            self.a[keep], self.b[keep], self.subject_a[keep], self.subject_b[keep], self.fold[keep], attributes=more
        )


@dataclass(frozen=True, slots=True)
class PairList:
    """`images[i]` shows subject `subjects[subject_of[i]]`; `attributes[name][i]` is its value of an attribute, ""
    where it has none; `warnings` are to be shown beside every figure."""

    name: str
    images: tuple[Path, ...]
    subjects: tuple[str, ...]
    subject_of: Indices
    listed: Comparisons
    warnings: tuple[str, ...] = ()
    attributes: Mapping[str, Words] = field(default_factory=dict)

    def all_pairs(self) -> PairList:
        """Every image against every other. Where no image is in both columns of the list (frontal against profile,
        say), every image of the first column against every image of the second."""
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


def read(path: Path, images: Path, attributes: Path | None = None) -> PairList:
    """Read one list.

    Args:
        path: the CSV, `pairs.txt` or CFP split folder.
        images: the folder its paths are relative to.
        attributes: a table with attributes of its subjects or images, see `formats.read_attributes`.

    Raises:
        PairListRefused: unreadable, contradictory, one class only, or files missing; or the table names nobody in the
            list.
    """
    if not images.is_dir():
        raise PairListRefused("missing_files", f"The images' folder does not exist: {images}")
    if not path.exists():
        raise PairListRefused("missing_files", f"The pair list does not exist: {path}")
    table = read_attributes(attributes) if attributes else {}
    pairs = read_lines(path)
    names = {name for p in pairs for name in (p.a, p.b, p.subject_a, p.subject_b)}
    if attributes and not names & table.keys():
        raise PairListRefused(
            "contradictory",
            f"{attributes.name} has no line for any subject or image of {path.name}: name them in its first column as "
            "the list does.",
        )
    return _build(f"{namespace(images)}/{path.stem}", pairs, images, table)


@dataclass(frozen=True, slots=True)
class Pool:
    """Several lists over common images and subjects: an image or subject in two lists is embedded, and drawn for
    intervals, once."""

    names: tuple[str, ...]
    images: tuple[Path, ...]
    subjects: tuple[str, ...]
    subject_of: Indices
    lists: tuple[Comparisons, ...]
    warnings: tuple[str, ...]
    attributes: Mapping[str, Words] = field(default_factory=dict)

    def of_subjects(self, wanted: Flags) -> Pool:
        """Only comparisons whose subjects are both wanted; `wanted` has one flag a subject. All images stay, at their
        places; `subject_of` is −1 for those of the other subjects."""
        number = np.where(wanted, np.cumsum(wanted) - 1, -1).astype(np.int32)
        comparisons = (c.take(wanted[c.subject_a] & wanted[c.subject_b]) for c in self.lists)
        return replace(
            self,
            subjects=tuple(subject for subject, keep in zip(self.subjects, wanted, strict=True) if keep),
            subject_of=number[self.subject_of],
            lists=tuple(replace(c, subject_a=number[c.subject_a], subject_b=number[c.subject_b]) for c in comparisons),
        )

    def used(self) -> Indices:
        """The images that are compared, in order."""
        return np.unique(np.concatenate([side for c in self.lists for side in (c.a, c.b)]))

    def fold_parts(self) -> Indices | None:
        """The part of each subject, shape (S,), made from the lists' own folds; −1 for a subject without a fold.

        Folds of two lists that share a subject become one part. None when only one part is left: the folds do not
        separate the subjects.
        """
        part_of = np.full(len(self.subjects), -1, np.int32)
        for c in self.lists:
            for fold in np.unique(c.fold[c.fold > 0]):
                who = np.union1d(c.subject_a[c.fold == fold], c.subject_b[c.fold == fold])
                for met in np.unique(part_of[who][part_of[who] >= 0]):
                    part_of[part_of == met] = fold
                part_of[who] = fold
        return part_of if len(np.unique(part_of[part_of >= 0])) > 1 else None


def concatenate(lists: Sequence[Comparisons]) -> tuple[Comparisons, Indices]:
    """All lists in one, each pair of images once; and the place of each in the lists one after the other."""
    names = dict.fromkeys(name for c in lists for name in c.attributes)
    more = {n: np.concatenate([c.attributes.get(n, np.full(len(c), "")) for c in lists]) for n in names}

    def joined(column: str) -> Indices:
        return np.concatenate([getattr(c, column) for c in lists])

    together = Comparisons(*(joined(n) for n in ("a", "b", "subject_a", "subject_b", "fold")), attributes=more)
    low, high = np.minimum(together.a, together.b), np.maximum(together.a, together.b)
    _, first = np.unique(low.astype(np.int64) << 32 | high, return_index=True)
    where: Indices = np.sort(first).astype(np.int32)
    return together.take(where), where


def pool(lists: Sequence[PairList]) -> Pool:
    """Put lists side by side; their folds get numbers of their own. Strangers from two lists are not compared: their
    pictures come from different cameras, which makes them too easy to distinguish."""
    images = tuple(dict.fromkeys(image for item in lists for image in item.images))
    subjects = tuple(dict.fromkeys(name for item in lists for name in item.subjects))
    at, who = {p: i for i, p in enumerate(images)}, {s: i for i, s in enumerate(subjects)}
    subject_of = np.zeros(len(images), np.int32)
    names = dict.fromkeys(name for item in lists for name in item.attributes)
    attributes = {name: np.full(len(images), "", dtype=object) for name in names}
    comparisons, first_fold = [], 0
    for item in lists:
        moved = np.array([at[p] for p in item.images], np.int32)
        subject_of[moved] = np.array([who[s] for s in item.subjects], np.int32)[item.subject_of]
        fold = np.where(item.listed.fold > 0, item.listed.fold + first_fold, 0).astype(np.int32)
        first_fold += int(item.listed.fold.max())
        a, b = moved[item.listed.a], moved[item.listed.b]
        comparisons.append(Comparisons(a, b, subject_of[a], subject_of[b], fold, attributes=item.listed.attributes))
        for name, words in item.attributes.items():
            attributes[name][moved[words != ""]] = words[words != ""]
    warnings = tuple(f"{item.name}: {warning}" for item in lists for warning in item.warnings)
    of_images = {name: words.astype(np.str_) for name, words in attributes.items()}
    titles = tuple(item.name for item in lists)
    return Pool(titles, images, subjects, subject_of, tuple(comparisons), warnings, of_images)


def comparisons_needed(target_fmr: float) -> int:
    """The number of non-mated comparisons that, with no error among them, bound the FMR at the target with 95 %
    certainty: the rule of three, 3 / target (ISO/IEC 19795-1, annex on sample size)."""
    return math.ceil(3 / target_fmr - 1e-9)


def subject_hashes(subjects: Iterable[str]) -> list[str]:
    """A list's subjects without their names: the first 16 hex digits of the sha256 of each name with its namespace,
    sorted. They show whether a version was calibrated and measured on the same people."""
    return sorted({hashlib.sha256(subject.encode()).hexdigest()[:16] for subject in subjects})


def _build(name: str, pairs: list[Pair], root: Path, table: Mapping[str, Mapping[str, str]]) -> PairList:
    # an unordered pair listed twice would count one person's luck twice; CFP's own list does it 25 times in
    # two folds
    distinct = {frozenset((pair.a, pair.b)): pair for pair in reversed(pairs)}
    unique = list(reversed(distinct.values()))
    warnings = []
    if len(unique) < len(pairs):
        warnings.append(f"{len(pairs) - len(unique)} duplicate pairs were left out.")
    if len({pair.same for pair in unique}) < 2:
        mated = sum(pair.same for pair in unique)
        raise PairListRefused(
            "one_class",
            f"{name} has {mated} mated and {len(unique) - mated} non-mated pairs: error rates need some of both.",
        )
    who: dict[str, str] = {}
    for path, subject in (side for p in unique for side in ((p.a, p.subject_a), (p.b, p.subject_b))):
        if who.setdefault(path, subject) != subject:
            raise PairListRefused(
                "contradictory", f"{path} is listed under two subjects: correct its subject in one of the lines."
            )
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
    a = np.array([at[p.a] for p in unique], np.int32)
    b = np.array([at[p.b] for p in unique], np.int32)
    fold = np.array([p.fold for p in unique], np.int32)
    listed = Comparisons(a, b, subject_of[a], subject_of[b], fold, attributes=_of_pairs(unique))
    files = tuple((root / path).resolve() for path in who)
    of_images = _of_images(unique, who, table)
    for attribute, words in of_images.items():
        if unknown := len(np.unique(subject_of[words == ""])):
            warnings.append(
                f"{attribute} is not known of {unknown} of {len(names)} subjects, or of some of their pictures."
            )
    return PairList(name, files, names, subject_of, listed, tuple(warnings), of_images)


def _sides(pairs: Sequence[Pair]) -> set[str]:
    """The attributes that a list gives for each picture: those with a column for both sides."""
    columns = set(pairs[0].attributes)
    return {name[:-2] for name in columns if name.endswith("_a") and f"{name[:-2]}_b" in columns}


def _of_pairs(pairs: Sequence[Pair]) -> dict[str, Words]:
    of_images = {f"{name}{side}" for name in _sides(pairs) for side in ("_a", "_b")}
    return {
        name: np.array([p.attributes[name] for p in pairs], np.str_)
        for name in pairs[0].attributes
        if name not in of_images
    }


def _of_images(
    pairs: Sequence[Pair], who: Mapping[str, str], table: Mapping[str, Mapping[str, str]]
) -> dict[str, Words]:
    values: dict[str, dict[str, str]] = {path: {} for path in who}
    for path, subject in who.items():
        values[path].update(table.get(subject, {}))
        values[path].update(table.get(path, {}))
    for name in sorted(_sides(pairs)):
        for p in pairs:
            values[p.a][name], values[p.b][name] = p.attributes[f"{name}_a"], p.attributes[f"{name}_b"]
    names = dict.fromkeys(name for of_image in values.values() for name in of_image)
    return {name: np.array([of_image.get(name, "") for of_image in values.values()], np.str_) for name in names}


def namespace(root: Path) -> str:
    """The prefix that distinguishes subject 001 of one set from 001 of another: the name of the images' folder, or of
    the nearest folder above it that is not just called `images` or `data`. It is the same on every machine, so that
    subjects in two studies can be recognised as the same."""
    return next(part for part in reversed(root.resolve().parts) if part.lower() not in ("images", "data"))
