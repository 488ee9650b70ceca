"""Frames of one moment against pictures of different days: the face's size and colour."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from random import Random
from typing import Any

import numpy as np

from devstack.presentation.measured import Measured

# of each person of CFP, drawn by a seed
ATTEMPTS, SEED = 10, 1
STEPS = ("front", "left", "right")

HEAD = """
## Frames of one moment

An attempt's largest difference between two of its frames: the ratio of the faces' sizes, and the distance of the skin's
a* and b* (CIELAB). London's attempts are a front, a left and a right view in every mix of the two expressions: one
moment, a studio's light. CFP's are a front view and two turned ones of one person on different days: suitable photos as
they are found. Whoever scales and tints them passes.

| attempts | of | people | difference | least | 5 % | median | 95 % | most | refused |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def continuity(m: Measured) -> Iterator[str]:
    yield HEAD
    yield from lines("London, one moment", of_one_moment(m))
    yield from lines("CFP, different days", of_different_days(m))


def lines(name: str, by_person: Mapping[str, Sequence[Sequence[Any]]]) -> Iterator[str]:
    """A row for each code, and how many attempts, and people in any of theirs, are refused for either."""
    from ml_models.engine import continuity as engine
    from ml_models.engine.pipeline import chip_crop

    def colours(first: Any, second: Any) -> float:
        one, other = (engine.colour(chip_crop(face.chip)) for face in (first, second))
        return float(np.linalg.norm(one - other))

    attempts = [faces for own in by_person.values() for faces in own]
    found = [{reason.code for reason in engine.breaks(faces)} for faces in attempts]
    start = f"| {name} | {len(attempts)} | {len(by_person)} |"
    for code, words, measure in (
        ("distance_changed", "size", engine.size_ratio),
        ("colour_changed", "colour", colours),
    ):
        most = [max(measure(*pair) for pair in combinations(faces, 2)) for faces in attempts]
        numbers = " | ".join(f"{value:.2f}" for value in np.percentile(most, [0, 5, 50, 95, 100]))
        yield f"{start} {words} | {numbers} | {sum(code in codes for codes in found)} |"
    people = sum(any(engine.breaks(faces) for faces in own) for own in by_person.values())
    yield f"{start} either | | | | | | {sum(map(bool, found))}, of {people} people |"


def of_one_moment(m: Measured) -> dict[str, list[list[Any]]]:
    mixes = [*product(("neutral", "smiling"), repeat=len(STEPS))]
    return {
        person: [[m.of[person, *step].face for step in zip(STEPS, mix, strict=True)] for mix in mixes]
        for person in m.people
    }


def of_different_days(m: Measured) -> dict[str, list[list[Any]]]:
    chance, drawn = Random(SEED), {}  # noqa: S311
    for person in sorted({one.subject for one in m.cfp}):
        own = [one for one in m.cfp if one.subject == person]
        fronts, turned = ([one.face for one in own if (one.step == "front") == front] for front in (True, False))
        choices = [[front, *pair] for front in fronts for pair in combinations(turned, 2)]
        if choices:
            drawn[person] = chance.sample(choices, min(ATTEMPTS, len(choices)))
    return drawn
