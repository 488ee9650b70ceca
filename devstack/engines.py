"""Whether version 2 decides the same in both engines, on the development sets: docs/decisions/two-engines.md.

    python -m devstack exec python -m devstack.engines --images 150

Of every set so many pictures are taken through the whole pipeline, once by onnxruntime and OpenCV and once by OpenVINO
wherever it proves equal. Then every two pictures of a set are compared.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from django.conf import settings

from devstack.dev_eval import DATA, LISTS, load, rows
from devstack.state import say

ENGINES = ("onnxruntime", "openvino")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=150, help="pictures of every set (default 150); 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    config = load(2)
    cv2.setNumThreads(1)
    from ml_models.versions import numbers

    pipelines, rule = [_pipeline(config, engine) for engine in ENGINES], numbers.rule(config)
    print("| set | pictures | refused alike | comparisons | other decision | score, at most | cosine, at least |")
    print("| --- " * 7 + "|")
    other = 0
    for name in LISTS:
        row, others = _set(name, _pictures(name, options.images, options.seed), pipelines, rule)
        print(row, flush=True)
        other += others
    return int(other > 0)


def _pipeline(config: Any, engine: str) -> Any:
    from ml_models.studies import loading

    settings.ML_MODELS = {**settings.ML_MODELS, "INFERENCE": engine}
    pipeline = loading.pipeline(config)
    networks: dict[str, Any] = {"detector": pipeline.detector, **pipeline.members}
    say(", ".join(f"{name}: {network.engine}" for name, network in networks.items()))
    return pipeline


def _pictures(name: str, count: int, seed: int) -> list[Path]:
    file, folder, _ = LISTS[name]
    names = sorted({row[side] for row in rows(file) for side in "ab"})
    random.Random(seed).shuffle(names)  # noqa: S311
    return [DATA / folder / name for name in names[: count or None]]


def _set(name: str, paths: Sequence[Path], pipelines: Sequence[Any], rule: Any) -> tuple[str, int]:
    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(lambda path: [_extracted(pipeline, path.read_bytes()) for pipeline in pipelines], paths))
    refused = [pair for pair in taken if any(isinstance(one, str) for one in pair)]
    alike = sum(a == b for a, b in refused if isinstance(a, str) and isinstance(b, str))
    both = [pair for pair in taken if not any(isinstance(one, str) for one in pair)]
    cosine = min(float(a.vectors[member] @ b.vectors[member]) for a, b in both for member in a.vectors)
    other, furthest, comparisons = len(refused) - alike, 0.0, 0
    for reference, probe in combinations(both, 2):
        ours, theirs = (_decision(rule, *pair) for pair in zip(reference, probe, strict=True))
        other += (ours.decision, ours.condition) != (theirs.decision, theirs.condition)
        furthest = max(furthest, abs(ours.score - theirs.score))
        comparisons += 1
    row = (name, len(paths), f"{alike} of {len(refused)}", comparisons, other, f"{furthest:.5f}", f"{cosine:.7f}")
    return f"| {' | '.join(map(str, row))} |", other


def _extracted(pipeline: Any, data: bytes) -> Any:
    """What the engine makes of a picture, or the code that it refuses it with; LFW shows bystanders."""
    from ml_models.engine.errors import ImageError
    from ml_models.engine.quality import VERIFY_LIMITS

    try:
        return pipeline.extract(data, replace(VERIFY_LIMITS, bystander_ratio=np.inf))
    except ImageError as error:
        return error.code


def _decision(rule: Any, reference: Any, probe: Any) -> Any:
    from ml_models.engine.compare import by_member

    return rule.judge(by_member([reference]), by_member([probe]), probe.quality.score)


if __name__ == "__main__":
    if not DATA.is_dir():
        say("The development sets are not there.")
        sys.exit(1)
    sys.exit(main())
