"""The conditions of a face that have decision rules of their own: the one list of their names, what helps, and which
faces are in two of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaceCondition:
    """`advice` is for the phone at a verify, `warning` for whoever enrols a reference in this condition; both "" where
    nobody has to change anything. A reference in it is `refused`, unless somebody overrides that. Faces in this
    condition are in the `milder` one, too."""

    name: str
    advice: str = ""
    warning: str = ""
    milder: str = ""
    refused: bool = False


GLASSES = FaceCondition("glasses")
COVERED = FaceCondition(
    "covered",
    "uncover the face",
    "The lower half of the face seems to be covered: take a picture without mask or scarf.",
)
EYES_COVERED = FaceCondition(
    "eyes_covered",
    "uncover the eyes",
    "The eyes seem to be covered: take a picture without dark glasses, and with hat and hair out of the eyes.",
    milder=GLASSES.name,
    # strangers in one cap or pair of dark glasses match each other's references: docs/quality.md
    refused=True,
)
BLURRED = FaceCondition(
    "blurred",
    "blurred: hold still",
    "The picture seems to be blurred: take another one and hold still.",
)
CONDITIONS = {condition.name: condition for condition in (COVERED, EYES_COVERED, GLASSES, BLURRED)}


def milder(name: str) -> str:
    """The condition that all faces in this one are in, too; "" where there is none."""
    return CONDITIONS[name].milder if name in CONDITIONS else ""


def related(first: str, second: str) -> bool:
    """Whether both are the same condition, or one is the milder form of the other."""
    return first == second or first == milder(second) or second == milder(first)
