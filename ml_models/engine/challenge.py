"""Do the frames of a challenge show one and the same person, in the asked order, in pictures of their own?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .compare import by_member, compare
from .errors import Reason
from .fuse import Fusion
from .turns import Step, turn, unlike_steps
from .types import Embeddings, Extraction

Mirror = Callable[[Extraction], Mapping[str, Embeddings]]
"""The members' embeddings of a face's mirror image."""


@dataclass(frozen=True, slots=True)
class TurnedRule:
    """A version's numbers for frames of a challenge.

    `threshold` decides where a head is turned on either side of a comparison, in the units of the version's score,
    which such heads lower. Cosines are means over the members: two frames of one step that reach `same_picture` are one
    picture sent twice; a frame turned to the left and the mirror image of one turned to the right that reach
    `mirrored_picture` are one picture mirrored.
    """

    threshold: float
    same_picture: float
    mirrored_picture: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.threshold, self.same_picture, self.mirrored_picture))):
            raise ValueError(f"The numbers for turned heads must be finite, not {self}.")


def failures(
    frames: Sequence[Extraction], steps: Sequence[Step], rule: Fusion, turned: TurnedRule, mirror: Mirror
) -> tuple[Reason, ...]:
    """Why the frames do not pass the challenge; empty when they do. Nobody's template takes part.

    Args:
        frames: one of each step, in their order.
        rule: the version's; conditions do not count here.
        mirror: asked for frames turned to the right, where one to the left passed all else.

    Raises:
        InferenceFailed, MissingThreshold, LowQuality: see `Fusion.decide`.
    """
    if unlike := unlike_steps([turn(frame.chip.landmarks) for frame in frames], steps):
        return unlike
    pairs = list(combinations(range(len(frames)), 2))
    strangers = [
        _another_person(second)
        for first, second in pairs
        if not _same_person(frames[first], by_member([frames[second]]), _is_front(steps, first, second), rule, turned)
    ]
    if strangers:
        return tuple(dict.fromkeys(strangers))
    twice = [
        Reason("same_picture", "take a new picture for each step", frame=second)
        for first, second in pairs
        if steps[first] == steps[second] and _cosine(frames[first], by_member([frames[second]])) >= turned.same_picture
    ]
    return tuple(twice) or _mirrored(frames, steps, turned, mirror)


def unlike_template(
    frames: Sequence[Extraction],
    steps: Sequence[Step],
    template: Mapping[str, Embeddings],
    rule: Fusion,
    turned: TurnedRule,
) -> tuple[Reason, ...]:
    """Which frames do not match the references of whoever is claimed or named; empty when all do. Front frames go by
    the version's own rule, each by itself. Raises as `failures`."""
    return tuple(
        _another_person(index)
        for index, (frame, step) in enumerate(zip(frames, steps, strict=True))
        if not _same_person(frame, template, step == "front", rule, turned)
    )


def _another_person(frame: int) -> Reason:
    return Reason("another_person", "show the same face in every picture", frame=frame)


def _is_front(steps: Sequence[Step], first: int, second: int) -> bool:
    return steps[first] == steps[second] == "front"


def _same_person(
    frame: Extraction, others: Mapping[str, Embeddings], front: bool, rule: Fusion, turned: TurnedRule
) -> bool:
    probe = by_member([frame])
    if front:
        return rule.judge(others, probe, frame.quality.score).decision == "match"
    return rule.decide(compare(others, probe), frame.quality.score).score >= turned.threshold


def _cosine(frame: Extraction, other: Mapping[str, Embeddings]) -> float:
    """The members' mean."""
    return float(np.mean([vector @ other[name].vectors[0] for name, vector in frame.vectors.items()]))


def _mirrored(
    frames: Sequence[Extraction], steps: Sequence[Step], turned: TurnedRule, mirror: Mirror
) -> tuple[Reason, ...]:
    lefts = [frame for frame, step in zip(frames, steps, strict=True) if step == "left"]
    for index, (frame, step) in enumerate(zip(frames, steps, strict=True)):
        if step == "right":
            mirrored = mirror(frame)
            if any(_cosine(left, mirrored) >= turned.mirrored_picture for left in lefts):
                text = "take a new picture for each side, not the mirror image of the other"
                return (Reason("mirrored_picture", text, frame=index),)
    return ()
