"""Pictures turned by 90, 180 and 270°, against the same pictures upright: docs/decisions/upright.md.

    python -m devstack exec python -m devstack.upright --images 150

Of every development set some pairs are drawn. The first picture is the reference; the second is verified against it,
with version 2's own numbers, as it is and turned. A turned picture's outcome is its decision, or the code it is refused
with. Then every picture of the lists is looked at as it is, to count those that are turned or refused though they are
upright, and the same under the stresses of `ml_models.evaluation`.
"""

import argparse
import csv
import io
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import django
import numpy as np
from django.core.management import call_command

from devstack.accuracy import DATA
from devstack.state import ROOT, say

SETS = {
    "LFW": ("lfw", "pairs.csv", ""),
    "CFP, frontal": ("cfp", "pairs_FF.csv", ""),
    "CFP, profile": ("cfp", "pairs_FP.csv", "profile"),
    "London": ("london", "pairs.csv", ""),
}
# an embedding that is further from the upright picture's than this is of a face that lies
MIN_COSINE = 0.7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=150, help="turned pictures of every set (default 150)")
    parser.add_argument("--looked-at", type=int, default=10_000, help="upright pictures of every set, at most")
    parser.add_argument("--stressed", type=int, default=0, help="upright pictures of every set under every stress")
    parser.add_argument("--only", choices=SETS, help="one set")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    django.setup()
    cv2.setNumThreads(1)
    call_command("migrate", verbosity=0)
    call_command("fetch_demo_pack", stdout=sys.stderr)
    call_command("load_ensemble", str(ROOT / "config" / "ensembles" / "v2.yaml"), stdout=sys.stderr)
    measured, sets = Measured(options.seed), [options.only] if options.only else list(SETS)
    print("| set | turned | same outcome | decisions | enrolled, lying |\n| --- " + "| --- " * 4 + "|")
    for name in sets:
        print(measured.turned(name, options.images), flush=True)
    print("\n| set | upright | turned | not_upright | listed pairs with another outcome |\n| --- " + "| --- " * 4 + "|")
    for name in sets:
        print(measured.upright(name, options.looked_at), flush=True)
    if options.stressed:
        print("\n| stress | pictures | turned | not_upright |\n| --- | --- | --- | --- |")
        for row in measured.stressed(sets, options.stressed):
            print(row, flush=True)
    return 0


class Measured:
    """Version 2, its pipeline and its rule."""

    def __init__(self, seed: int) -> None:
        from ml_models import selectors
        from ml_models.studies import loading
        from ml_models.versions import numbers

        config = selectors.get_config(2)
        self._pipeline, self._rule, self._seed = loading.pipeline(config), numbers.rule(config), seed

    def turned(self, name: str, images: int) -> str:
        from ml_models.engine.quality import ENROLL_LIMITS, reasons

        outcomes: Counter[str] = Counter()
        same = taken = lying = 0

        def one(pair: tuple[Path, Path]) -> list[tuple[str, str, bool, float]]:
            reference = self._extracted(pair[0].read_bytes())
            probes = [self._extracted(data) for data in in_four_turns(pair[1].read_bytes())]
            upright = probes[0]
            return [
                (
                    self._outcome(reference, upright),
                    self._outcome(reference, probe),
                    not isinstance(probe, str) and not reasons(probe.quality, ENROLL_LIMITS),
                    1.0 if isinstance(probe, str) or isinstance(upright, str) else cosine(probe, upright),
                )
                for probe in probes[1:]
            ]

        for rows in in_threads(one, self._pairs(name, images)):
            for upright, outcome, enrolled, likeness in rows:
                same += outcome == upright
                outcomes[outcome] += 1
                taken += enrolled
                lying += enrolled and likeness < MIN_COSINE
        count = outcomes.total()
        listed = ", ".join(f"{outcome} {number}" for outcome, number in outcomes.most_common())
        return f"| {name} | {count} | {same} ({same / count:.1%}) | {listed} | {lying} of {taken} |"

    def upright(self, name: str, images: int) -> str:
        pairs = self._pairs(name, 0)
        paths = sorted({path for pair in pairs for path in pair})[:images]
        became = in_threads(lambda path: self._became(path.read_bytes()), paths)
        changed = {path for path, what in zip(paths, became, strict=True) if what}
        outcomes = Counter(
            (int(mated), before, after)
            for (a, b), mated in zip(pairs, self._mated(name), strict=True)
            if {a, b} & changed
            for before, after in [self._before_and_after(a, b)]
            if before != after
        )
        listed = ", ".join(
            f"{'mated' if m else 'non-mated'}: {x} → {y} {n}" for (m, x, y), n in sorted(outcomes.items())
        )
        counts = Counter(became)
        return (
            f"| {name} | {len(paths)} | {counts['turned']} | {counts['refused']} | {listed or 'none'} of {len(pairs)} |"
        )

    def stressed(self, sets: Sequence[str], images: int) -> Iterator[str]:
        from ml_models.evaluation.pictures import stress

        paths = [path for name in sets for _, path in self._pairs(name, images)]
        for name in stress.STRESSES:

            def one(path: Path, name: str = name) -> str:
                return self._became(stress.apply(name, path.read_bytes(), self._pipeline.detector, seed=self._seed))

            counts = Counter(in_threads(one, paths))
            yield f"| {name.replace('_', ' ')} | {len(paths)} | {counts['turned']} | {counts['refused']} |"

    def _became(self, data: bytes) -> str:
        """What became of a picture: "turned", "refused", or nothing."""
        from ml_models.engine.decode import decode
        from ml_models.engine.upright import stand

        image = decode(data)
        view = stand(self._pipeline.detector, image)
        if view.faces and not view.upright:
            return "refused"
        return "" if np.array_equal(view.image, image) else "turned"

    def _before_and_after(self, a: Path, b: Path) -> tuple[str, str]:
        """The pair's outcome when pictures are taken as they are, and as the engine turns them."""
        after = self._outcome(self._extracted(a.read_bytes()), self._extracted(b.read_bytes()))
        with patch("ml_models.engine.pipeline.stand", as_it_is):
            return self._outcome(self._extracted(a.read_bytes()), self._extracted(b.read_bytes())), after

    def _extracted(self, data: bytes) -> Any:
        """What the engine makes of a picture, or the code that it refuses it with; LFW shows bystanders."""
        from dataclasses import replace

        from ml_models.engine.errors import ImageError
        from ml_models.engine.quality import VERIFY_LIMITS

        try:
            return self._pipeline.extract(data, replace(VERIFY_LIMITS, bystander_ratio=np.inf))
        except ImageError as error:
            return error.code

    def _outcome(self, reference: Any, probe: Any) -> str:
        from ml_models.engine.fuse import by_member

        if isinstance(reference, str) or isinstance(probe, str):
            return reference if isinstance(reference, str) else str(probe)
        return self._rule.judge(by_member([reference]), by_member([probe]), probe.quality.score).decision

    def _pairs(self, name: str, count: int) -> list[tuple[Path, Path]]:
        """As many of a set's pairs as asked for, each with another second picture; all of them when 0."""
        folder, _, kind = SETS[name]
        rows = [(DATA / folder / "images" / row["a"], DATA / folder / "images" / row["b"]) for row in self._rows(name)]
        if not count:
            return rows
        random.Random(self._seed).shuffle(rows)  # noqa: S311
        return list({b: (a, b) for a, b in rows if kind in str(b)}.values())[:count]

    def _mated(self, name: str) -> list[bool]:
        return [row["same"] == "1" for row in self._rows(name)]

    def _rows(self, name: str) -> list[dict[str, str]]:
        folder, file, _ = SETS[name]
        with (DATA / folder / file).open() as lines:
            return list(csv.DictReader(lines))


def as_it_is(detector: Any, image: Any) -> Any:
    """What `stand` gave before it turned anything."""
    from ml_models.engine.detect import most_prominent
    from ml_models.engine.upright import View

    faces = detector.detect(image)
    if not faces:
        return View(image, (), upright=True)
    first = most_prominent(faces, image.shape)
    return View(image, (detector.settle(image, first), *(f for f in faces if f is not first)), upright=True)


def in_four_turns(data: bytes) -> list[bytes]:
    """A picture as it is and turned by 90, 180 and 270°, without any loss."""
    from PIL import Image

    from ml_models.engine.decode import decode

    image, turns = decode(data), []
    for quarters in range(4):
        png = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(np.rot90(image, quarters))).save(png, "PNG", compress_level=1)
        turns.append(png.getvalue())
    return turns


def cosine(a: Any, b: Any) -> float:
    return float(min(a.vectors[name] @ b.vectors[name] for name in a.vectors))


def in_threads(function: Any, items: Sequence[Any]) -> list[Any]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))


if __name__ == "__main__":
    if not DATA.is_dir():
        say("The development sets are not there.")
        sys.exit(1)
    sys.exit(main())
