"""What measurements on the development pictures share: the pictures, and a version's pipeline and rule.

Each runs inside `python -m devstack exec`, as its own page says.
"""

import argparse
import csv
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import django
import numpy as np
from django.core.management import call_command
from numpy.typing import NDArray

from devstack.state import ROOT, say

DATA = ROOT.parent / "shared" / "data" / "dev_eval"
ENSEMBLES = ROOT / "config" / "ensembles"
# the pairs, the pictures, and what a table says of the people; subject 001 of two sets is two people
LISTS = {
    "LFW": ("lfw/pairs.csv", "lfw/images", None),
    "CFP-FF": ("cfp/pairs_FF.csv", "cfp/images", None),
    "CFP-FP": ("cfp/pairs_FP.csv", "cfp/images", None),
    "London": ("london/pairs.csv", "london/images", "london/london_info.csv"),
}
FRONTAL = (("lfw", ""), ("cfp", "frontal"), ("london", ""))


def begin() -> None:
    """Django on an empty database, with the demo pack. Ends the process where the development sets are not there."""
    if not DATA.is_dir():
        say(f"The development sets are not there: {DATA.relative_to(ROOT.parent)}")
        sys.exit(1)
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("fetch_demo_pack", stdout=sys.stderr)


def load(version: int) -> Any:
    """`begin`, and a version of `config/ensembles`."""
    begin()
    # the report that is there may be on numbers that the file does not have any more
    call_command("load_ensemble", str(ENSEMBLES / f"v{version}.yaml"), "--no-report", stdout=sys.stderr)
    from ml_models import selectors

    return selectors.get_config(version)


def loaded(version: int = 2) -> tuple[Any, Any]:
    """A version of `config/ensembles`, on an empty database: its pipeline and its decision rule."""
    config = load(version)
    cv2.setNumThreads(1)
    from ml_models.studies import loading
    from ml_models.versions import numbers

    return loading.pipeline(config), numbers.rule(config)


@contextmanager
def cache(description: str) -> Iterator[Path]:
    """Reads the command line: the folder that --cache names, or one for this run."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="keep vectors here, so that a run can be resumed; delete it after")
    named = parser.parse_args().cache
    with tempfile.TemporaryDirectory(prefix="vectors-") as folder:
        yield named or Path(folder)


class Watcher:
    """Says what is done, and how far it is, on standard error."""

    def say(self, text: str) -> None:
        say(text)

    def progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: say(f"  {what}: {done} of {total}") if done in (1, total) else None


def rows(file: str) -> list[dict[str, str]]:
    """A pair list's rows."""
    with (DATA / file).open() as lines:
        return list(csv.DictReader(lines))


def pictures(folder: str, kind: str = "") -> list[Path]:
    """A set's pictures, in one order; `kind` is part of their path."""
    images = DATA / folder / "images"
    return sorted(path for path in images.rglob("*.*") if path.is_file() and kind in str(path.relative_to(images)))


def in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    with ThreadPoolExecutor(2) as pool:
        for number, result in enumerate(pool.map(function, items), 1):
            if not number % 100:
                say(f"{number} of {len(items)}")
            yield result


def samples(each: int, seed: int) -> list[Path]:
    """So many frontal pictures of every set, drawn by a seed."""
    drawn = random.Random(seed)  # noqa: S311
    return [path for which in FRONTAL for path in drawn.sample(pictures(*which), k=each)]


def png(image: NDArray[np.uint8]) -> bytes:
    """A file without loss of RGB pixels, (H, W, 3)."""
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return data.tobytes()
