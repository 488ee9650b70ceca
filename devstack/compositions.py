"""A printed face in the middle of a picture, and the person beside or behind it: docs/decisions/one-face.md.

    python -m devstack exec python -m devstack.compositions

The face in the print is 0.3 to 1.1 times as wide as the person's and exactly in the picture's middle; the person's face
is wholly visible. Each composition is shown at verification and at enrolment. Whose face was taken is told by the
version's own score against a picture of either.
"""

import argparse
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from devstack.dev_eval import in_threads, loaded, png, samples
from devstack.prepare import FIRST_ACTIVE

SIDE, FACE = 1000, 200
RATIOS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
# where the person's face is, seen from the print: direction, and how far away as a part of the way to the edge
PLACES = {
    "right beside": (1.0, 0.0, 0.0),
    "left, at the edge": (-1.0, 0.0, 1.0),
    "above, the print held before the chest": (0.0, -1.0, 0.0),
    "above, at the edge": (0.3, -1.0, 1.0),
    "in a corner": (1.0, -1.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture, its one face's box in it, and what the engine makes of the picture alone."""

    image: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    extraction: Any


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12, help="of a person and a print, for each ratio and place")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pipeline, rule = loaded(FIRST_ACTIVE)
    drawn = random.Random(options.seed)  # noqa: S311
    known = [one for one in in_threads(lambda path: sample(pipeline, path), samples(60, options.seed)) if one]
    shown = [
        (ratio, place, *drawn.sample(known, 2)) for ratio in RATIOS for place in PLACES for _ in range(options.pairs)
    ]
    outcomes = [*in_threads(lambda one: outcome(pipeline, rule, *one), shown)]
    print("| the print's face, of the person's | compositions | verification | enrolment |\n| --- | --- | --- | --- |")
    for ratio in (*RATIOS, None):
        rows = [result for one, result in zip(shown, outcomes, strict=True) if ratio in (one[0], None)]
        steps = " | ".join(listed(Counter(step)) for step in zip(*rows, strict=True))
        print(f"| {ratio or 'all'} | {len(rows)} | {steps} |")
    return 0


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.most_common())


def sample(pipeline: Any, path: Path) -> Sample | None:
    """None where the picture alone would not be enrolled."""
    from ml_models.engine.decode import decode
    from ml_models.engine.errors import ImageError
    from ml_models.engine.quality import ENROLL_LIMITS
    from ml_models.engine.upright import stand

    data = path.read_bytes()
    try:
        extraction = pipeline.extract(data, ENROLL_LIMITS)
        view = stand(pipeline.detector, decode(data))
    except ImageError:
        return None
    return Sample(view.image, view.faces[0].box, extraction)


def outcome(pipeline: Any, rule: Any, ratio: float, place: str, person: Sample, printed: Sample) -> tuple[str, str]:
    """What verification and enrolment make of a composition."""
    from ml_models.engine.quality import ENROLL_LIMITS, VERIFY_LIMITS

    data = png(composition(ratio, PLACES[place], person, printed))
    return (
        taken(pipeline, rule, data, VERIFY_LIMITS, person, printed),
        taken(pipeline, rule, data, ENROLL_LIMITS, person, printed),
    )


def taken(pipeline: Any, rule: Any, data: bytes, limits: Any, person: Sample, printed: Sample) -> str:
    """Whose face was taken, or the code that the picture is refused with."""
    from ml_models.engine.compare import by_member
    from ml_models.engine.errors import ImageError

    try:
        found = pipeline.extract(data, limits)
    except ImageError as error:
        return error.code
    scores = [
        rule.judge(by_member([one.extraction]), by_member([found]), found.quality.score).score
        for one in (person, printed)
    ]
    return "the person" if scores[0] >= scores[1] else "the print"


def composition(ratio: float, place: tuple[float, float, float], person: Sample, printed: Sample) -> NDArray[np.uint8]:
    """RGB, uint8, (1000, 1000, 3)."""
    card, middle = print_of(printed, round(FACE * ratio))
    (right, down, outwards), half = place, SIDE // 2
    near = np.array([right, down]) * (np.array([card.shape[1], card.shape[0]]) / 2 + 0.8 * FACE)
    far = np.array([right, down]) * (half - 0.75 * FACE)
    x, y = half + near + (far - near) * outwards
    canvas = scene(person, (float(x), float(y)))
    top, left = half - middle[1], half - middle[0]
    canvas[top : top + card.shape[0], left : left + card.shape[1]] = card
    return canvas


def scene(person: Sample, at: tuple[float, float]) -> NDArray[np.uint8]:
    """A person's picture, moved and enlarged so that the face is 200 pixels wide and in that place; the rest of the
    scene is what the picture's edges show."""
    left, top, width, height = person.box
    scale = FACE / width
    matrix = np.array(
        [
            [scale, 0, at[0] - scale * (left + width / 2)],
            [0, scale, at[1] - scale * (top + height / 2)],
        ]
    )
    inside = cv2.warpAffine(person.image, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(inside, np.uint8)


def print_of(printed: Sample, width: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A white-edged print whose face is so wide, and where in it that face's middle is."""
    left, top, face_width, face_height = printed.box
    x, y, margin = left + face_width / 2, top + face_height / 2, 0.9 * face_width
    rows, columns = printed.image.shape[:2]
    x0, x1 = max(0, round(x - margin)), min(columns, round(x + margin))
    y0, y1 = max(0, round(y - 1.25 * margin)), min(rows, round(y + 1.25 * margin))
    scale = width / face_width
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    inside = cv2.resize(printed.image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
    edge = max(3, width // 12)
    card = cv2.copyMakeBorder(inside, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=(250, 250, 250))
    return np.asarray(card, np.uint8), (round((x - x0) * scale) + edge, round((y - y0) * scale) + edge)


if __name__ == "__main__":
    raise SystemExit(main())
