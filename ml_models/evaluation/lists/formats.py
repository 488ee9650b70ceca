"""The layouts that pair lists come in.

- CSV with the columns `same,a,b`, and if present `fold`, `subject_a`, `subject_b`; paths relative to the
  images' folder. Every other column is an attribute: `light_a` and `light_b` of each picture, `distance` of the pair;
  a table beside the list may say more of its subjects or pictures, see `read_attributes`;
- LFW's `pairs.txt` (Huang et al., 2007), images as `Name/Name_0001.jpg`;
- a CFP protocol folder, `Protocol/Split/FF` or `…/FP` (Sengupta et al., 2016), images below `Data/Images`.

The subject is the first folder of the path (`001/frontal/04.jpg` → `001`); of an image without a folder,
its name up to the last underscore (`004_neutral.jpg` → `004`). A list whose labels contradict that rule is
refused: intervals are drawn over subjects, and wrong subjects would make them wrong without anyone noticing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import PairListRefused

_KNOWN = {"same", "a", "b", "fold", "subject_a", "subject_b"}
UNKNOWN = frozenset({"", "-", "?", "na", "n/a", "nan", "null", "unknown"})
"""What tables write for no value, whatever its case."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One line of a list: two image paths, POSIX, relative to the images' folder. `attributes` by column."""

    fold: int
    same: bool
    a: str
    b: str
    subject_a: str
    subject_b: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def read_lines(path: Path) -> list[Pair]:
    """The lines of a CSV, a `pairs.txt` or a CFP split folder, as they are written.

    Raises:
        PairListRefused: unreadable, or a label contradicts the paths.
    """
    if path.is_dir():
        return list(_cfp(path))
    return list(_csv(path) if path.suffix == ".csv" else _lfw(path))


def read_attributes(path: Path) -> dict[str, dict[str, str]]:
    """Read a table of attributes: the first column names a subject or an image, the others are its attributes, such as
    `age` or `gender`.

    Returns: by subject or image, its attributes by column; "" for one of UNKNOWN.

    Raises:
        PairListRefused: missing, no second column, no line, or two lines of one subject or image.
    """
    if not path.is_file():
        raise PairListRefused("missing_files", f"The table of attributes does not exist: {path}")
    table: dict[str, dict[str, str]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        key, *columns = rows.fieldnames or ("",)
        for row in rows:
            name = row[key].strip()
            if name in table:  # the message names no person: which of the two lines holds is not for us to say
                raise PairListRefused(
                    "contradictory", f"{path.name}, line {rows.line_num}: a line above names the same subject or image."
                )
            table[name] = {column: attribute(row[column]) for column in columns}
    if not columns or not table:
        raise PairListRefused("unreadable", f"{path.name} needs a column of subjects or images, and one of attributes.")
    return table


def attribute(text: str | None) -> str:
    """A value as written in a table, "" where it says that there is none."""
    value = (text or "").strip()
    return "" if value.lower() in UNKNOWN else value


def subject_from_path(path: str) -> str:
    pure = PurePosixPath(path)
    return pure.parts[0] if len(pure.parts) > 1 else pure.stem.rsplit("_", 1)[0]


def _csv(path: Path) -> Iterator[Pair]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if missing := {"same", "a", "b"} - set(rows.fieldnames or ()):
            raise PairListRefused("unreadable", f"{path.name} has no column {', '.join(sorted(missing))}: add it.")
        more = [name for name in rows.fieldnames or () if name and name not in _KNOWN]
        for row in rows:
            where = f"{path.name}, line {rows.line_num}"
            if row["same"] not in ("0", "1") or not row["a"] or not row["b"]:
                raise PairListRefused("unreadable", f"{where}: `same` must be 0 or 1, and `a` and `b` must be paths.")
            fold = row.get("fold") or "0"
            if not fold.isdigit():
                raise PairListRefused("unreadable", f"{where}: `fold` must be a whole number, not {fold!r}.")
            named = (row.get("subject_a"), row.get("subject_b"))
            attributes = {name: attribute(row[name]) for name in more}
            yield _pair(where, int(fold), row["same"] == "1", row["a"], row["b"], *named, attributes)


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
    where: str,
    fold: int,
    same: bool,
    a: str,
    b: str,
    who_a: str | None = None,
    who_b: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Pair:
    for path in (a, b):
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise PairListRefused("unreadable", f"{where}: {path} leads out of the images' folder.")
    pair = Pair(fold, same, a, b, who_a or subject_from_path(a), who_b or subject_from_path(b), attributes or {})
    if a == b:
        raise PairListRefused("unreadable", f"{where} compares an image with itself: take the line out.")
    if same != (pair.subject_a == pair.subject_b):
        raise PairListRefused(
            "contradictory",
            f"{where} is labelled {'mated' if same else 'non-mated'}, but its paths name "
            f"{'two subjects' if same else 'one subject'}. Correct the label, or name the subjects in columns "
            "subject_a and subject_b.",
        )
    return pair
