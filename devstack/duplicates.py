"""The same photograph in other files, and other photographs of the same person: docs/decisions/same-picture.md.

    python -m devstack exec python -m devstack.duplicates --images 100

Each picture is embedded as enrolment does, and so are files made of it: another format, quality, size, an EXIF turn.
Then every photograph of a person is compared with every other of that person. Of two faces the mean of the members'
cosines counts.
"""

import argparse
import io
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from devstack.dev_eval import in_threads, loaded, pictures

LEVELS = (0.9999, 0.999, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.92, 0.9)
SETS = (("LFW", "lfw", ""), ("CFP, frontal", "cfp", "frontal"), ("London", "london", ""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="pictures of every set that are made into other files")
    parser.add_argument("--people", type=int, default=10_000, help="of every set, whose pictures are compared, at most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pipeline, _ = loaded()
    print(f"| file of the same photograph | enrolled | {head()} | least |\n| --- | --- {'| --- ' * (len(LEVELS) + 1)}|")
    drawn = random.Random(options.seed)  # noqa: S311
    samples = [path for _, *which in SETS for path in drawn.sample(pictures(*which), k=options.images)]
    files = [*in_threads(lambda path: compared(pipeline, path), samples)]
    for name in FILES:
        print(row(name, [cosines[name] for cosines in files if name in cosines]), flush=True)
    print(f"\n| set | pairs | {head()} | greatest |\n| --- | --- {'| --- ' * (len(LEVELS) + 1)}|")
    for name, *which in SETS:
        print(row(name, list(others(pipeline, by_person(which, options.people))), max), flush=True)
    return 0


def head() -> str:
    return " | ".join(f"≥ {level}" for level in LEVELS)


def row(name: str, cosines: list[float], extreme: Callable[[list[float]], float] = min) -> str:
    shares = " | ".join(f"{sum(c >= level for c in cosines)}" for level in LEVELS)
    return f"| {name} | {len(cosines)} | {shares} | {extreme(cosines):.5f} |"


def compared(pipeline: Any, path: Path) -> dict[str, float]:
    """The mean cosine between a photograph and each file made of it that would be enrolled."""
    first = vectors(pipeline, path.read_bytes())
    if first is None:
        return {}
    image = Image.open(path).convert("RGB")
    made = {name: vectors(pipeline, make(image)) for name, make in FILES.items()}
    made["same bytes"] = vectors(pipeline, path.read_bytes())
    return {name: cosine(first, other) for name, other in made.items() if other is not None}


def others(pipeline: Any, people: list[list[Path]]) -> Iterator[float]:
    """The cosine of every two photographs of one person."""
    paths = [path for photographs in people for path in photographs]
    by_path = dict(zip(paths, in_threads(lambda path: vectors(pipeline, path.read_bytes()), paths), strict=True))
    for photographs in people:
        enrolled = [by_path[path] for path in photographs]
        for a, b in itertools.combinations([one for one in enrolled if one is not None], 2):
            yield cosine(a, b)


def by_person(which: list[str], count: int) -> list[list[Path]]:
    people: dict[str, list[Path]] = defaultdict(list)
    for path in pictures(*which):
        person = path.name.split("_")[0] if which[0] == "london" else path.relative_to(path.parents[1]).parts[0]
        people[str(path.parents[1] if which[0] == "cfp" else person)].append(path)
    several = [photographs for photographs in people.values() if len(photographs) > 1]
    return random.Random(1).sample(several, k=min(count, len(several)))  # noqa: S311


def vectors(pipeline: Any, data: bytes) -> Mapping[str, Any] | None:
    """By member, as enrolment makes them; None where the picture is refused."""
    from ml_models.engine.errors import ImageError
    from ml_models.engine.quality import ENROLL_LIMITS

    try:
        found: Mapping[str, Any] = pipeline.extract(data, ENROLL_LIMITS, stored=True).vectors
    except ImageError:
        return None
    return found


def cosine(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    return float(np.mean([a[name] @ b[name] for name in a]))


def encoded(image: Image.Image, fmt: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


def turned(image: Image.Image, fmt: str = "JPEG", **options: Any) -> bytes:
    """Stored turned by a quarter, with the EXIF tag that says how to turn it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), fmt, exif=exif.tobytes(), **options)


def resized(image: Image.Image, by: float) -> Image.Image:
    return image.resize((round(image.width * by), round(image.height * by)), Image.Resampling.LANCZOS)


def next_in_a_burst(image: Image.Image) -> bytes:
    """What a second frame would show at least: the sensor's noise anew, and a hand that moved by less than a degree."""
    moved = image.rotate(0.7, Image.Resampling.BICUBIC, translate=(2, 1))
    noise = np.random.default_rng(image.width).normal(0, 3, (image.height, image.width, 3))
    return encoded(Image.fromarray(np.clip(np.asarray(moved) + noise, 0, 255).astype(np.uint8)), quality=95)


def cropped(image: Image.Image) -> Image.Image:
    """4 % less on every side."""
    width, height = image.size
    return image.crop((width // 25, height // 25, round(width * 0.96), round(height * 0.96)))


FILES: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG": lambda image: encoded(image, "PNG"),
    "turned, by EXIF, PNG": lambda image: turned(image, "PNG"),
    "turned, by EXIF, JPEG 95": lambda image: turned(image, quality=95),
    **{f"JPEG {q}": partial(encoded, quality=q) for q in (95, 90, 85, 80, 70, 50)},
    "WebP 80": lambda image: encoded(image, "WEBP", quality=80),
    "half the size, JPEG 90": lambda image: encoded(resized(image, 0.5), quality=90),
    "half the size, JPEG 70": lambda image: encoded(resized(image, 0.5), quality=70),
    "cropped by 8 %, JPEG 90": lambda image: encoded(cropped(image), quality=90),
    "mirrored, JPEG 90": lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=90),
    "a burst's next frame, simulated": next_in_a_burst,
}

if __name__ == "__main__":
    raise SystemExit(main())
