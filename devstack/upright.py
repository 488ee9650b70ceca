"""Pictures turned by 90, 180 and 270°, against the same pictures upright: docs/decisions/upright.md.

    python -m devstack exec python -m devstack.upright --images 0

Of every development set some pictures are drawn, or all. Each is verified against another of its listed pairs, with
the numbers of the version that ships active, as it is and turned. A turned picture's outcome is its decision, or the
code it is refused with. Then every picture of the lists is looked at as it is, to count those that are turned or
refused though they are upright, and the same under the stresses of `ml_models.evaluation`.
"""

import argparse
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from devstack.dev_eval import DATA, in_threads, loaded, png, rows
from devstack.prepare import FIRST_ACTIVE
from devstack.state import say

SETS = {
    "CFP, frontal": ("cfp", "pairs_FF.csv", ""),
    "CFP, frontal of the profile list": ("cfp", "pairs_FP.csv", "frontal"),
    "CFP, profile": ("cfp", "pairs_FP.csv", "profile"),
    "LFW": ("lfw", "pairs.csv", ""),
    "London": ("london", "pairs.csv", ""),
}
# an embedding that is further from the upright picture's than this is of a face that lies
MIN_COSINE = 0.7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=150, help="turned pictures of every set, 0 for all (default 150)")
    parser.add_argument("--looked-at", type=int, default=10_000, help="upright pictures of every set, at most")
    parser.add_argument("--stressed", type=int, default=0, help="upright pictures of every set under every stress")
    parser.add_argument("--only", choices=SETS, help="one set")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    measured, sets = Measured(options.seed), [options.only] if options.only else list(SETS)
    print("| set | pictures | turned | same outcome | other outcomes | enrolled, lying |\n" + "| --- " * 6 + "|")
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
    """The version that ships active, its pipeline and its rule."""

    def __init__(self, seed: int) -> None:
        self._pipeline, self._rule = loaded(FIRST_ACTIVE)
        self._seed = seed
        self._turned: set[Path] = set()

    def turned(self, name: str, images: int) -> str:
        from ml_models.engine import upright

        counts: Counter[str] = Counter()
        pairs = [pair for pair in self._probes(name, images) if pair[1] not in self._turned]
        self._turned.update(probe for _, probe in pairs)
        steps: dict[str, Any] = {name: remembering(getattr(upright, name)) for name in ("_found", "_look")}
        with patch.multiple("ml_models.engine.upright", **steps):
            for number, turns in enumerate(in_threads(lambda pair: [*self._turns(*pair)], pairs), 1):
                counts.update(turns)
                if not number % 200:
                    say(f"{name}: of {number} pictures {dict(counts)}")
        count = 3 * len(pairs)
        same = counts.pop("the same view", 0) + counts.pop("the same outcome", 0)
        lying = counts.pop("enrolled, lying", 0)
        others = ", ".join(f"{change} {number}" for change, number in counts.most_common())
        return f"| {name} | {len(pairs)} | {count} | {same} ({same / count:.2%}) | {others or '–'} | {lying} |"

    def _turns(self, reference: Path, probe: Path) -> Iterator[str]:
        """What became of a picture turned by 90, 180 and 270°, against what becomes of it upright.

        Where the engine brings it to the very pixels and landmarks of the upright one, all that follows is the same,
        and is not computed again.
        """
        from ml_models.engine.decode import decode
        from ml_models.engine.quality import ENROLL_LIMITS, reasons

        upright = decode(probe.read_bytes())
        turned = [np.ascontiguousarray(np.rot90(upright, quarters)) for quarters in (1, 2, 3)]
        upright_view = self._view(upright)
        different = [image for image in turned if not same(self._view(image), upright_view)]
        yield from ["the same view"] * (len(turned) - len(different))
        if not different:
            return
        enrolled, as_upright = self._extracted(reference.read_bytes()), self._extracted(png(upright))
        before = self._outcome(enrolled, as_upright)
        for image in different:
            found = self._extracted(png(image))
            after = self._outcome(enrolled, found)
            yield "the same outcome" if after == before else f"{before} → {after}"
            good_enough = not isinstance(found, str) and not reasons(found.quality, ENROLL_LIMITS)
            if good_enough and (isinstance(as_upright, str) or cosine(found, as_upright) < MIN_COSINE):
                yield "enrolled, lying"

    def _view(self, image: Any) -> Any:
        """How the engine turns a picture; the code that it refuses it with."""
        from ml_models.engine.errors import ImageError
        from ml_models.engine.upright import stand

        try:
            return stand(self._pipeline.detector, image)
        except ImageError as error:
            return error.code

    def upright(self, name: str, images: int) -> str:
        pairs = self._pairs(name)
        paths = sorted({path for pair in pairs for path in pair})[:images]
        became = [*in_threads(lambda path: self._became(path.read_bytes()), paths)]
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

        paths = [path for name in sets for _, path in self._probes(name, images)]
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
        from ml_models.engine.compare import by_member

        if isinstance(reference, str) or isinstance(probe, str):
            return reference if isinstance(reference, str) else str(probe)
        decision = self._rule.judge(by_member([reference]), by_member([probe]), probe.quality.score)
        return str(decision.decision)

    def _pairs(self, name: str) -> list[tuple[Path, Path]]:
        folder, file, _ = SETS[name]
        images = DATA / folder / "images"
        return [(images / row["a"], images / row["b"]) for row in rows(f"{folder}/{file}")]

    def _probes(self, name: str, count: int) -> list[tuple[Path, Path]]:
        """As many pictures of a set as asked for, all when 0, each as the second of a pair listed for it."""
        kind, pairs = SETS[name][2], self._pairs(name)
        random.Random(self._seed).shuffle(pairs)  # noqa: S311
        by_probe = {a: (b, a) for a, b in pairs} | {b: (a, b) for a, b in pairs}
        return [pair for probe, pair in by_probe.items() if kind in str(probe)][: count or None]

    def _mated(self, name: str) -> list[bool]:
        return [row["same"] == "1" for row in rows("/".join(SETS[name][:2]))]


def as_it_is(detector: Any, image: Any, faces: Any = None) -> Any:
    """What `stand` gave before it turned anything."""
    from ml_models.engine.detect import most_prominent
    from ml_models.engine.upright import View

    faces = detector.detect(image) if faces is None else faces
    if not faces:
        return View(image, (), upright=True)
    first = most_prominent(faces, image.shape)
    return View(image, (detector.settle(image, first).face, *(f for f in faces if f is not first)), upright=True)


def same(a: Any, b: Any) -> bool:
    """Whether two views are of the same pixels and landmarks; of two refusals, the same."""
    if isinstance(a, str) or isinstance(b, str):
        return bool(a == b)
    first = [[*face.box, *face.landmarks.ravel(), face.score] for face in a.faces]
    second = [[*face.box, *face.landmarks.ravel(), face.score] for face in b.faces]
    return a.upright == b.upright and np.array_equal(a.image, b.image) and first == second


def remembering(look: Callable[..., Any]) -> Callable[..., Any]:
    """A step of the engine's looks at a picture, taken once of every turn: what it sees comes of the pixels alone."""
    thread = threading.local()

    def remembered(detector: Any, picture: Any, *more: Any) -> Any:
        pixels = getattr(picture, "image", picture)
        key = (pixels.shape, pixels.tobytes())
        looks = getattr(thread, "looks", {})
        if key not in looks:
            # of no more than the last picture's turns
            thread.looks = looks = {**(looks if len(looks) < 4 else {}), key: look(detector, picture, *more)}
        return looks[key]

    return remembered


def cosine(a: Any, b: Any) -> float:
    return float(min(a.vectors[name] @ b.vectors[name] for name in a.vectors))


if __name__ == "__main__":
    raise SystemExit(main())
