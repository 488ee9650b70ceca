"""Do the frames of a challenge show one and the same person, in the asked order, in pictures of their own, taken one
after another?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from .compare import by_member, compare
from .continuity import breaks
from .errors import Reason
from .fuse import Fusion
from .pipeline import chip_crop
from .same_picture import is_same_picture, mirrored
from .turns import Step, turn, unlike_steps
from .types import Embeddings, Extraction

_MIRRORED: dict[Step, Step] = {"front": "front", "left": "right", "right": "left"}
"""What a picture of a step shows in its mirror image."""


@dataclass(frozen=True, slots=True)
class TurnedRule:
    """A version's number for frames of a challenge: `threshold` decides where a head is turned on either side of a
    comparison, in the units of the version's score, which such heads lower."""

    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ValueError(f"The threshold for turned heads must be finite, not {self.threshold}.")


def failures(
    frames: Sequence[Extraction], steps: Sequence[Step], rule: Fusion, turned: TurnedRule
) -> tuple[Reason, ...]:
    """Why the frames do not pass the challenge; empty when they do. Nobody's template takes part.

    Args:
        frames: one of each step, in their order.
        rule: the version's; conditions do not count here.

    Raises:
        InferenceFailed, MissingThreshold, LowQuality: see `Fusion.decide`.
    """
    if unlike := unlike_steps([turn(frame.chip.landmarks) for frame in frames], steps):
        return unlike
    strangers = [
        _another_person(second)
        for first, second in combinations(range(len(frames)), 2)
        if not _same_person(frames[first], by_member([frames[second]]), _is_front(steps, first, second), rule, turned)
    ]
    return tuple(dict.fromkeys(strangers)) or _sent_again(frames, steps) or breaks(frames)


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


def _sent_again(frames: Sequence[Extraction], steps: Sequence[Step]) -> tuple[Reason, ...]:
    """The frames that are an earlier one's picture, or its mirror image, as far as their steps allow."""
    crops = [chip_crop(frame.chip) for frame in frames]
    reasons = []
    for first, second in combinations(range(len(frames)), 2):
        if steps[first] == steps[second] and is_same_picture(crops[first], crops[second]):
            reasons.append(Reason("same_picture", "take a new picture for each step", frame=second))
        elif _MIRRORED[steps[first]] == steps[second] and is_same_picture(crops[first], mirrored(crops[second])):
            text = "take a new picture for each step, not the mirror image of another"
            reasons.append(Reason("mirrored_picture", text, frame=second))
    return tuple(dict.fromkeys(reasons))
