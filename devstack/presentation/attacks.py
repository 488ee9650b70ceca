"""Pictures instead of a person: stills, prints that are turned, mirror images."""

import math
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np

from devstack.dev_eval import in_threads
from devstack.presentation.measured import Measured, Shown, picture_of, share

VIEWS = [(yaw, pitch) for yaw in (-60, -40, -20, 0, 20, 40, 60) for pitch in (0, 12)]
ATTACKS = f"""
## Pictures instead of a person

A print is 20 cm wide, 40 cm before the camera, and turned in {len(VIEWS)} ways (bent ones, and three-quarter views,
in 7). Of a cut-out nothing is left but the head, with living eyes behind holes. It counts as accepted when it shows a
front, a left and a right view in any of them, though nobody's face was asked for.

| attack | tried | accepted | |
| --- | --- | --- | --- |"""


def attacks(m: Measured) -> Iterator[str]:
    from ml_models.engine.turns import turn

    yield ATTACKS
    still = [still_passes(turn(one.face.chip.landmarks)) for one in (*m.london, *m.cfp)]
    yield f"| one still photograph for all steps | {len(still)} | {share(sum(still), len(still))} | |"
    neutral = [one for one in m.london if one.expression == "neutral"]
    fronts = [one for one in neutral if one.step == "front"]
    sheets = {
        "flat print of a front view": (fronts, math.inf, False),
        "flat print of a three-quarter view": ([one for one in neutral if one.step != "front"], math.inf, False),
        "print bent to 25 cm": (fronts, 25.0, False),
        "print bent to 12 cm": (fronts, 12.0, False),
        "flat cut-out": (fronts, math.inf, True),
        "cut-out bent to 25 cm": (fronts, 25.0, True),
        "cut-out bent to 12 cm": (fronts, 12.0, True),
    }
    for name, (ones, radius, cut_out) in sheets.items():
        reached = [*in_threads(partial(reaches, m, radius, cut_out), ones)]
        people = len({one.subject for one, ok in zip(ones, reached, strict=True) if ok})
        yield f"| {name} | {len(ones)} | {share(sum(reached), len(ones))} | of {people} of {len(m.people)} people |"
    sides = [one for one in m.london if one.step == "left"]
    caught = [*in_threads(partial(mirrored, m), sides)]
    accepted = share(caught.count("match"), len(sides))
    yield f"| front and left view, and the left one's mirror image | {len(sides)} | {accepted} | |"
    flipped = [*in_threads(partial(from_a_mirrored_camera, m), m.people)]
    known = flipped.count("mirrored_camera")
    yield f"\nA mirrored camera is recognised as one in {known} of {len(flipped)} challenges."


def still_passes(value: float) -> bool:
    from ml_models.engine.turns import unlike_steps

    return not unlike_steps([value] * 3, ["front", "left", "right"])


def reaches(m: Measured, radius: float, cut_out: bool, one: Shown) -> bool:
    """Whether a sheet, turned before the camera as it may, shows every step at least once."""
    from ml_models.engine.turns import STEPS, unlike_steps
    from ml_models.evaluation.pictures.attacks import cut, held, photographed, printed

    rng = np.random.default_rng(int(one.subject))
    sheet = printed(picture_of(one), rng)
    if cut_out:
        sheet = cut(m.scene(one), sheet, outline=True, eyes=True, shadow=0.85)
    views = [(yaw, pitch) for yaw, pitch in VIEWS if not pitch or (one.step == "front" and radius == math.inf)]
    seen = [m.turn_of(photographed(held(sheet, yaw, pitch, radius), rng)) for yaw, pitch in views]
    turns = [value for value in seen if value is not None]
    return all(any(not unlike_steps([value], [step]) for value in turns) for step in STEPS)


def saved_mirrored(one: Shown) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture_of(one), cv2.COLOR_RGB2BGR)[:, ::-1])
    return data.tobytes()


def mirrored(m: Measured, one: Shown) -> str:
    front = m.of[one.subject, "front", one.expression].face
    reference = m.of[one.subject, "front", {"smiling": "neutral", "neutral": "smiling"}[one.expression]].face
    right = m.extract(saved_mirrored(one))
    return m.passes([reference], [front, one.face, right], ["front", "left", "right"]) if right else "not acquired"


def from_a_mirrored_camera(m: Measured, subject: str) -> str:
    steps = ["front", "left", "right"]
    frames = [m.extract(saved_mirrored(m.of[subject, step, "smiling"])) for step in steps]
    return m.passes([m.of[subject, "front", "neutral"].face], frames, steps) if all(frames) else "not acquired"
