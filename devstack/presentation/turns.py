"""How far heads are turned, and what a turned head scores against a front view."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from devstack.presentation.measured import Measured, Shown, share

# a tenth of a single comparison's: an attacker chooses which frames to mix
FMR = 0.0001


def turns(m: Measured) -> Iterator[str]:
    from ml_models.engine.turns import turn

    yield (
        "\n## How far heads are turned\n\n| pictures | of | least | 5 % | median | 95 % | most |\n" + "| --- " * 7 + "|"
    )
    sets: dict[str, list[float]] = defaultdict(list)
    for one in m.london:
        sets[f"London, {one.step}"].append(turn(one.face.chip.landmarks))
    for one in m.cfp:
        sets[f"CFP, {one.step}"].append(turn(one.face.chip.landmarks))
    for name, values in sorted(sets.items()):
        values = [abs(value) for value in values] if "turned" in name else values
        numbers = " | ".join(f"{value:.2f}" for value in np.percentile(values, [0, 5, 50, 95, 100]))
        yield f"| {name} | {len(values)} | {numbers} |"


def scores(m: Measured, ones: Sequence[Shown]) -> tuple[list[float], list[float]]:
    """Of front against turned pictures: mated, non-mated."""
    mated: list[float] = []
    non_mated: list[float] = []
    for front in (one for one in ones if one.step == "front"):
        for turned in (one for one in ones if one.step != "front"):
            (mated if front.subject == turned.subject else non_mated).append(m.score(front.face, turned.face))
    return mated, non_mated


def fitted(*non_mated: Sequence[float]) -> float:
    """The least threshold with an FMR of at most 0.01 % on every set."""
    return math.ceil(max(float(np.quantile(values, 1 - FMR)) for values in non_mated) * 100) / 100


def thresholds(m: Measured, sets: Mapping[str, tuple[list[float], list[float]]]) -> Iterator[str]:
    best = fitted(*(bad for _, bad in sets.values()))
    yield f"\n## A turned head against a front view\n\nFitted on all: {best}; the version has {m.turned.threshold}.\n"
    yield "| set | mated | least score | under the threshold | non-mated | highest | at the threshold or over |"
    yield "| --- " * 7 + "|"
    for name, (good, bad) in sets.items():
        missed, let_in = (
            share(sum(value < m.turned.threshold for value in good), len(good)),
            share(sum(value >= m.turned.threshold for value in bad), len(bad)),
        )
        yield f"| {name} | {len(good)} | {min(good):.2f} | {missed} | {len(bad)} | {max(bad):.2f} | {let_in} |"
