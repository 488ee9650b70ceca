"""Faces that are not a person before the camera, and what enrolment makes of them: docs/quality.md.

    python -m devstack exec python -m devstack.not_a_face

Drawings, busts, posters, screens and cards with a portrait are made from the development pictures. Nothing here looks
for presentation attacks; this counts what is enrolled all the same.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from devstack.compositions import Sample, print_of, sample, scene
from devstack.dev_eval import in_threads, loaded, png, samples
from devstack.prepare import FIRST_ACTIVE

Picture = NDArray[np.uint8]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="pictures of every set (default 40)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=KINDS, help="one of what is shown; may be repeated")
    options = parser.parse_args()
    pipeline, rule = loaded(FIRST_ACTIVE)
    made = in_threads(lambda path: sample(pipeline, path), samples(options.images, options.seed))
    people = [person for person in made if person]
    print("| shown | of | enrolled unwarned | with a warning | refused | matches the person |\n" + "| --- " * 6 + "|")
    for name in options.only or KINDS:
        make = KINDS[name]
        results = [*in_threads(partial(outcome, pipeline, rule, make), people)]
        print(row(name, results), flush=True)
    return 0


def row(name: str, results: list[tuple[str, bool]]) -> str:
    counts = Counter(what for what, _ in results)
    taken = {what: counts.pop(what, 0) for what in ("unwarned", "warned")}
    refused = ", ".join(f"{code} {count}" for code, count in counts.most_common())
    matching = sum(matches for _, matches in results)
    refusals = f"{counts.total()} ({refused})" if refused else "0"
    return f"| {name} | {len(results)} | {taken['unwarned']} | {taken['warned']} | {refusals} | {matching} |"


def outcome(pipeline: Any, rule: Any, make: Callable[[Sample], Picture], person: Sample) -> tuple[str, bool]:
    """What enrolment makes of what is made of a person, and whether verification takes it for the photograph."""
    from ml_models.engine.compare import by_member
    from ml_models.engine.errors import ImageError
    from ml_models.engine.quality import ENROLL_LIMITS

    try:
        found = pipeline.extract(png(make(person)), ENROLL_LIMITS, stored=True)
    except ImageError as error:
        return error.code, False
    probe = by_member([found])
    decision = rule.judge(by_member([person.extraction]), probe, found.quality.score).decision
    return "warned" if rule.condition_of(probe) else "unwarned", decision == "match"


def photograph(person: Sample) -> Picture:
    """Head and shoulders, RGB, uint8, (1000, 1000, 3); the face is 200 pixels wide."""
    return scene(person, (500, 450))


def pencil(person: Sample) -> Picture:
    grey, _ = cv2.pencilSketch(photograph(person), sigma_s=60, sigma_r=0.07, shade_factor=0.05)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def coloured_pencil(person: Sample) -> Picture:
    return np.asarray(cv2.pencilSketch(photograph(person), sigma_s=60, sigma_r=0.07, shade_factor=0.05)[1], np.uint8)


def outlines(person: Sample) -> Picture:
    """Black lines on white paper, nothing else."""
    grey = cv2.medianBlur(cv2.cvtColor(photograph(person), cv2.COLOR_RGB2GRAY), 5)
    lines = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 15, 4)
    return np.asarray(cv2.cvtColor(lines, cv2.COLOR_GRAY2RGB), np.uint8)


def painting(person: Sample) -> Picture:
    return np.asarray(cv2.stylization(photograph(person), sigma_s=60, sigma_r=0.45), np.uint8)


def cartoon(person: Sample) -> Picture:
    """Six levels of each colour, smoothed areas, black outlines."""
    smooth = cv2.edgePreservingFilter(photograph(person), flags=1, sigma_s=60, sigma_r=0.4)
    flat = np.asarray(smooth) // 43 * 43 + 21
    return np.asarray(np.where(outlines(person) == 0, 0, flat), np.uint8)


def bilateral_cartoon(person: Sample) -> Picture:
    """Areas smoothed six times, thin black outlines."""
    flat = seen = photograph(person)
    for _ in range(6):
        flat = np.asarray(cv2.bilateralFilter(flat, 9, 60, 9), np.uint8)
    grey = cv2.medianBlur(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), 7)
    lines = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 2)
    return np.asarray(np.where(lines[..., None] == 0, 0, flat), np.uint8)


def greyscale(person: Sample) -> Picture:
    grey = cv2.cvtColor(photograph(person), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def bust(person: Sample) -> Picture:
    """Pale stone: no colour, a quarter of the contrast, smooth."""
    grey = cv2.bilateralFilter(greyscale(person), 9, 40, 9).astype(np.float32)
    return np.asarray(205 + (grey - grey.mean()) * 0.25, np.float32).clip(0, 255).astype(np.uint8)


def darker_bust(person: Sample) -> Picture:
    """No colour, nearly half of the contrast."""
    grey = greyscale(person).astype(np.float32)
    return np.asarray(190 + (grey - grey.mean()) * 0.45, np.float32).clip(0, 255).astype(np.uint8)


def poster(person: Sample) -> Picture:
    """A portrait over two lines of text, on a grey wall; its face 230 pixels wide."""
    portrait, _ = print_of(person, 230)
    rows, columns = portrait.shape[:2]
    paper = np.full((rows + 160, columns + 60, 3), (235, 232, 225), np.uint8)
    paper[30 : 30 + rows, 30 : 30 + columns] = portrait
    paper[rows + 60 : rows + 90, 60:columns] = 60
    paper[rows + 110 : rows + 125, 80 : columns - 60] = 90
    return laid(paper, 1000, 1000, 1, np.full((1000, 1000, 3), (150, 140, 130), np.uint8))


def screen(person: Sample) -> Picture:
    """A portrait on a phone, bluish, with the stripes of its pixels and the camera's."""
    portrait, _ = print_of(person, 230)
    rows, columns = portrait.shape[:2]
    y, x = np.mgrid[0:rows, 0:columns]
    stripes = 1 + 0.07 * np.sin(2.1 * x + 0.3 * y) + 0.05 * np.sin(2.7 * y)
    phone = np.full((rows + 140, columns + 40, 3), 15, np.uint8)
    phone[70 : 70 + rows, 20 : 20 + columns] = (portrait * stripes[..., None] * (0.95, 1, 1.08) + 8).clip(0, 255)
    return laid(phone, 1000, 1000, 1, np.full((1000, 1000, 3), (90, 90, 95), np.uint8))


def card(person: Sample) -> Picture:
    """An identity card, 86×54 mm at 12 pixels a mm, with a printed portrait of some 25×35 mm."""
    rows, columns = np.mgrid[0:648, 0:1032]
    waves = 12 * np.sin(columns / 9 + 6 * np.sin(rows / 40)) * np.sin(rows / 7)
    paper = np.array([205, 220, 230]) + waves[..., None]
    portrait, _ = print_of(person, 160)
    portrait = cv2.resize(cv2.GaussianBlur(portrait, (0, 0), 1.2), (300, 400), interpolation=cv2.INTER_AREA)
    paper[150:550, 60:360] = 0.85 * portrait.astype(np.float32) + 25 + 0.4 * waves[150:550, 60:360, None]
    for line in range(7):
        paper[170 + 52 * line : 184 + 52 * line, 420 : 420 + 90 * (3 + line % 4)] = 60
    paper[40:90, 60:640] = 90
    return np.asarray(paper.clip(0, 255), np.uint8)


def card_alone(person: Sample) -> Picture:
    """The card on a table, photographed a little askew; its portrait's face some 190 pixels wide."""
    return laid(card(person), 1600, 1200, 1.25, np.full((1200, 1600, 3), (120, 95, 70), np.uint8))


def card_close(person: Sample) -> Picture:
    """The same, so near that the portrait is in the middle."""
    table = np.full((1200, 1600, 3), (120, 95, 70), np.uint8)
    return laid(card(person), 1600, 1200, 2.2, table, centre=(210, 350))


def card_held(person: Sample) -> Picture:
    """Held up by the person whose portrait it shows, below the face; a third of the width of the picture."""
    return laid(card(person), 1000, 1000, 0.36, scene(person, (500, 300)), at=(500, 720))


def laid(
    paper: Picture,
    width: int,
    height: int,
    scale: float,
    ground: Picture,
    centre: tuple[int, int] | None = None,
    at: tuple[int, int] | None = None,
) -> Picture:
    """A card turned by 3° on a ground, with the light and noise of a phone's camera."""
    middle = centre or (paper.shape[1] // 2, paper.shape[0] // 2)
    matrix = cv2.getRotationMatrix2D(middle, 3, scale)
    place = at or (width // 2, height // 2)
    matrix[:, 2] += np.array(place) - np.array(middle)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    seen = cv2.warpAffine(paper, matrix, (width, height), flags=flags)
    covered = cv2.warpAffine(np.full(paper.shape[:2], 255, np.uint8), matrix, (width, height)) > 127
    picture = np.where(covered[..., None], seen, ground).astype(np.float32)
    light = np.linspace(0.85, 1.05, width)[None, :, None]
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.asarray((picture * light + noise).clip(0, 255), np.uint8)


KINDS: dict[str, Callable[[Sample], Picture]] = {
    "the photograph itself": photograph,
    "photograph, greyscale": greyscale,
    "pencil drawing, grey": pencil,
    "pencil drawing, coloured": coloured_pencil,
    "outlines alone": outlines,
    "painting (stylised)": painting,
    "cartoon": cartoon,
    "cartoon, thin outlines": bilateral_cartoon,
    "pale bust": bust,
    "bust with more contrast": darker_bust,
    "poster on a wall": poster,
    "phone's screen": screen,
    "identity card on a table": card_alone,
    "identity card, from near": card_close,
    "identity card held below the person's face": card_held,
}

if __name__ == "__main__":
    raise SystemExit(main())
