"""The conditions of a face that have decision rules of their own: the one list of their names, and what helps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaceCondition:
    """`advice` is for the phone at a verify, `warning` for whoever enrols a reference in this condition; both "" where
    nobody has to change anything. Faces in this condition are in the `milder` one, too."""

    name: str
    advice: str = ""
    warning: str = ""
    milder: str = ""


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
)
BLURRED = FaceCondition(
    "blurred",
    "blurred: hold still",
    "The picture seems to be blurred: take another one and hold still.",
)
CONDITIONS = {condition.name: condition for condition in (COVERED, EYES_COVERED, GLASSES, BLURRED)}
