"""What lists say of people, pictures and pairs, as groups that may be shown.

A group is shown when FEWEST_PEOPLE or more are in it: a rate of fewer says something of each of them.
"""

from __future__ import annotations

import numpy as np

from ..lists.pairs import Comparisons, Flags, Pool, Words
from .ranges import ranges

FEWEST_PEOPLE = 5
"""A group with fewer people is not shown, nor is a rate that rests on fewer."""
MOST_VALUES = 12
"""Of an attribute in words, this many of the most frequent values are shown. An attribute in numbers that has more
values is cut at its quartiles."""


def of_people(pool: Pool) -> dict[str, Words]:
    """The attributes of people: those of which no subject's pictures have two values.

    Returns: by attribute, each subject's group, shape (S,); "" where it is unknown, or has too few people.
    """
    by_subject = {name: _by_subject(words, pool) for name, words in pool.attributes.items()}
    return {name: _large(banded(words)) for name, words in by_subject.items() if words is not None}


def of_pictures(pool: Pool) -> dict[str, Words]:
    """The other attributes: by name, each picture's group, shape (I,), "" where it is unknown."""
    people = of_people(pool)
    return {name: banded(words) for name, words in pool.attributes.items() if name not in people}


def banded(words: Words) -> Words:
    """The attribute's words; where these are numbers of more than MOST_VALUES values, the range between quartiles that
    each lies in."""
    try:
        numbers = np.where(words == "", "nan", words).astype(np.float64)
    except ValueError:
        return words
    if len(np.unique(words[words != ""])) <= MOST_VALUES:
        return words
    # a quartile that is one of the values: 27, not 26.75
    quartiles = np.nanquantile(numbers, (0.25, 0.5, 0.75), method="nearest")
    bands = np.full(len(words), "", dtype="<U32")
    for name, inside in ranges(numbers, tuple(dict.fromkeys(float(q) for q in quartiles))):
        bands[inside] = name
    return bands


def frequent(words: Words) -> list[str]:
    """The most frequent values, in order of the words."""
    values, counts = np.unique(words[words != ""], return_counts=True)
    most_frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST_VALUES])
    return [str(value) for value in values[most_frequent]]


def of_enough_people(comparisons: Comparisons, inside: Flags) -> Flags:
    """`inside` without its mated comparisons where these are of fewer than FEWEST_PEOPLE, and without its non-mated
    ones likewise."""
    kept = inside.copy()
    for side in (comparisons.same, ~comparisons.same):
        among = inside & side
        people = np.union1d(comparisons.subject_a[among], comparisons.subject_b[among])
        if len(people) < FEWEST_PEOPLE:
            kept &= ~side
    return kept


def _by_subject(words: Words, pool: Pool) -> Words | None:
    known = np.flatnonzero((words != "") & (pool.subject_of >= 0))
    who = pool.subject_of[known]
    values = np.full(len(pool.subjects), "", dtype=words.dtype)
    values[who] = words[known]
    return values if (values[who] == words[known]).all() else None


def _large(words: Words) -> Words:
    values, counts = np.unique(words, return_counts=True)
    return np.where(np.isin(words, values[counts >= FEWEST_PEOPLE]), words, "")
