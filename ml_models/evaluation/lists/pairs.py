"""Which two images are compared, and of whom they are; `formats` says how the lists are written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import EvidenceRefused, PairListRefused
from .formats import Pair, read_attributes, read_lines

__all__ = ["EvidenceRefused", "PairListRefused"]

Indices = NDArray[np.int32]
Words = NDArray[np.str_]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Who is compared with whom; every array has shape (N,).

    `a`, `b` index the images; `subject_a`, `subject_b` the subjects; `fold` is 0 where the list has none;
    `attributes` are what the list says of the pairs, "" where it says nothing.
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
    """`images[i]` shows subject `subjects[subject_of[i]]`; `attributes[name][i]` is what is said of it, ""
    for nothing; `warnings` are to be shown beside every figure."""

    name: str
    images: tuple[Path, ...]
    subjects: tuple[str, ...]
    subject_of: Indices
    listed: Comparisons
    warnings: tuple[str, ...] = ()
    attributes: Mapping[str, Words] = field(default_factory=dict)

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


def read(path: Path, images: Path, attributes: Path | None = None) -> PairList:
    """Read one list.

    Args:
        path: the CSV, `pairs.txt` or CFP split folder.
        images: the folder its paths are relative to.
        attributes: a table of what is known of its subjects or images, see `formats.read_attributes`.

    Raises:
        PairListRefused: unreadable, contradictory, one class only, or files missing.
    """
    if not images.is_dir():
        raise PairListRefused("missing_files", f"The images' folder does not exist: {images}")
    if not path.exists():
        raise PairListRefused("missing_files", f"The pair list does not exist: {path}")
    table = read_attributes(attributes) if attributes else {}
    return _build(f"{namespace(images)}/{path.stem}", read_lines(path), images, table)


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
    attributes: Mapping[str, Words] = field(default_factory=dict)

    def of_subjects(self, wanted: Flags) -> Pool:
        """Only comparisons whose subjects are both wanted; `wanted` has one flag a subject. The images stay where they
        are; those of nobody wanted show subject −1."""
        number = np.where(wanted, np.cumsum(wanted) - 1, -1).astype(np.int32)
        kept = (c.take(wanted[c.subject_a] & wanted[c.subject_b]) for c in self.lists)
        return replace(
            self,
            subjects=tuple(subject for subject, keep in zip(self.subjects, wanted, strict=True) if keep),
            subject_of=number[self.subject_of],
            lists=tuple(replace(c, subject_a=number[c.subject_a], subject_b=number[c.subject_b]) for c in kept),
        )

    def used(self) -> Indices:
        """The images that are compared, in order."""
        return np.unique(np.concatenate([side for c in self.lists for side in (c.a, c.b)]))

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
    """Put lists side by side. Their folds stay apart; strangers from two lists are not compared: taken with
    another camera, they are too easy to tell apart."""
    images = tuple(dict.fromkeys(image for item in lists for image in item.images))
    subjects = tuple(dict.fromkeys(name for item in lists for name in item.subjects))
    at, who = {p: i for i, p in enumerate(images)}, {s: i for i, s in enumerate(subjects)}
    subject_of = np.zeros(len(images), np.int32)
    names = dict.fromkeys(name for item in lists for name in item.attributes)
    attributes = {name: np.full(len(images), "", dtype=object) for name in names}
    found, first_fold = [], 0
    for item in lists:
        moved = np.array([at[p] for p in item.images], np.int32)
        subject_of[moved] = np.array([who[s] for s in item.subjects], np.int32)[item.subject_of]
        fold = np.where(item.listed.fold > 0, item.listed.fold + first_fold, 0).astype(np.int32)
        first_fold += int(item.listed.fold.max())
        a, b = moved[item.listed.a], moved[item.listed.b]
        found.append(Comparisons(a, b, subject_of[a], subject_of[b], fold, attributes=item.listed.attributes))
        for name, words in item.attributes.items():
            attributes[name][moved[words != ""]] = words[words != ""]
    warnings = tuple(f"{item.name}: {warning}" for item in lists for warning in item.warnings)
    told = {name: words.astype(np.str_) for name, words in attributes.items()}
    titles = tuple(item.name for item in lists)
    return Pool(titles, images, subjects, subject_of, tuple(found), warnings, told)


def comparisons_needed(target_fmr: float) -> int:
    """Non-mated comparisons without one error that would bound the FMR at the target with 95 % certainty:
    the rule of three, 3 / target (ISO/IEC 19795-1, annex on sample size)."""
    return math.ceil(3 / target_fmr - 1e-9)


def subject_hashes(subjects: Iterable[str]) -> list[str]:
    """Who was in a list, without saying who: the first 16 hex digits of sha256 of each subject's name with its
    namespace, sorted. What calibrated a version and what measured it are compared by these."""
    return sorted({hashlib.sha256(subject.encode()).hexdigest()[:16] for subject in subjects})


def _build(name: str, pairs: list[Pair], root: Path, table: Mapping[str, Mapping[str, str]]) -> PairList:
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
    listed = Comparisons(a, b, subject_of[a], subject_of[b], fold, attributes=_of_pairs(kept))
    files = tuple((root / path).resolve() for path in who)
    told = _of_images(kept, who, table)
    return PairList(name, files, names, subject_of, listed, tuple(warnings), told)


def _sides(pairs: Sequence[Pair]) -> set[str]:
    """The attributes that a list gives for each picture: those with a column for both sides."""
    columns = set(pairs[0].attributes)
    return {name[:-2] for name in columns if name.endswith("_a") and f"{name[:-2]}_b" in columns}


def _of_pairs(pairs: Sequence[Pair]) -> dict[str, Words]:
    taken = {f"{name}{side}" for name in _sides(pairs) for side in ("_a", "_b")}
    return {
        name: np.array([p.attributes[name] for p in pairs], np.str_)
        for name in pairs[0].attributes
        if name not in taken
    }


def _of_images(
    pairs: Sequence[Pair], who: Mapping[str, str], table: Mapping[str, Mapping[str, str]]
) -> dict[str, Words]:
    said: dict[str, dict[str, str]] = {path: {} for path in who}
    for path, subject in who.items():
        said[path].update(table.get(subject, {}))
        said[path].update(table.get(path, {}))
    for name in sorted(_sides(pairs)):
        for p in pairs:
            said[p.a][name], said[p.b][name] = p.attributes[f"{name}_a"], p.attributes[f"{name}_b"]
    names = dict.fromkeys(name for of_image in said.values() for name in of_image)
    return {name: np.array([of_image.get(name, "") for of_image in said.values()], np.str_) for name in names}


def namespace(root: Path) -> str:
    """What keeps subject 001 of one set apart from 001 of another: the images' folder's name, or of the
    nearest folder above that is not just called `images` or `data`. The same on every machine, so that
    overlaps can be found later."""
    return next(part for part in reversed(root.resolve().parts) if part.lower() not in ("images", "data"))
