"""One picture in two files against two pictures, for docs/presentation.md: how alike their pixels are."""

import io
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from PIL import Image

from devstack.dev_eval import in_threads

QUALITIES = (95, 70, 40)
EXPRESSIONS = ("neutral", "smiling")

HEAD = """
## One picture for two steps

The correlation of the aligned faces' pixels after one is laid onto the other (`engine/same_picture.py`). From {limit}
on they are one picture. Two pictures are of one person, neutral and smiling, before a fixed camera. Nobody was
photographed twice with the same expression, which a challenge may get: watch `same_picture` on your own cameras.

| | pairs | least | 5 % | median | 95 % | most | taken for one |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def sent_again(m: Any) -> Iterator[str]:
    """The rows of the page; `m` is `devstack.presentation.Measured`."""
    from ml_models.engine.same_picture import SAME_PICTURE

    yield HEAD.format(limit=SAME_PICTURE)
    found: dict[str, list[float]] = defaultdict(list)
    for name, value in two_pictures(m):
        found[name].append(value)
    for values in in_threads(partial(other_files, m), [one for one in m.london if one.expression == "neutral"]):
        for name, value in values:
            found[name].append(value)
    for name, values in found.items():
        numbers = " | ".join(f"{value:.4f}" for value in np.percentile(values, [0, 5, 50, 95, 100]))
        yield f"| {name} | {len(values)} | {numbers} | {sum(value >= SAME_PICTURE for value in values)} |"


def two_pictures(m: Any) -> Iterator[tuple[str, float]]:
    """Of one person: of one step, and of the steps that a mirror image could pass for."""
    from ml_models.engine.same_picture import correlation, mirrored

    for subject in m.people:
        crops = {key[1:]: crop(one.face) for key, one in m.of.items() if key[0] == subject}
        for step in ("front", "left", "right"):
            if all((step, expression) in crops for expression in EXPRESSIONS):
                first, second = (crops[step, expression] for expression in EXPRESSIONS)
                yield f"two pictures, {step}", correlation(first, second)
                if step == "front":
                    yield "two pictures, front, one mirrored", correlation(first, mirrored(second))
        for left, right in product(EXPRESSIONS, repeat=2):
            if ("left", left) in crops and ("right", right) in crops:
                value = correlation(crops["left", left], mirrored(crops["right", right]))
                yield "two pictures, left and right, one mirrored", value


def other_files(m: Any, one: Any) -> list[tuple[str, float]]:
    """Of one picture: saved anew, in half the size, and mirrored; those that a challenge would take."""
    from ml_models.engine.same_picture import correlation, mirrored

    image = Image.open(one.path).convert("RGB")
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    files = {f"one picture, JPEG {quality}": jpeg(image, quality) for quality in QUALITIES}
    files["one picture, half the size, JPEG 90"] = jpeg(half, 90)
    files |= {f"one picture, mirrored, JPEG {quality}": jpeg(flipped, quality) for quality in QUALITIES}
    values = []
    for name, data in files.items():
        if face := m.extract(data):
            other = mirrored(crop(face)) if "mirrored" in name else crop(face)
            values.append((name, correlation(crop(one.face), other)))
    return values


def crop(face: Any) -> Any:
    from ml_models.engine.pipeline import chip_crop

    return chip_crop(face.chip)


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
