"""One face: the networks by themselves, and each step of an extraction. Everything is timed in turn, so that another
process's load falls on all of it."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import cv2

from devstack.bench.figures import percentile
from devstack.bench.service import NEWCOMER, ask, enrolled

Work = Callable[[], Any]


def measure(picture: bytes, runs: int) -> dict[str, Any]:
    """Milliseconds are medians. Ratios are to the limit: the sum of the networks' own times in onnxruntime (of the
    detector in OpenCV), one after another on one core: one detection and the members."""
    from ml_models import runtime
    from ml_models.engine.decode import decode
    from ml_models.engine.pipeline import chip_crop
    from ml_models.services import admission

    cv2.setNumThreads(1)  # as in the service
    runtime.refresh()
    version = runtime.active()
    pipeline = version.pipeline
    extraction = pipeline.extract(picture)
    image, crop = decode(picture), chip_crop(extraction.chip)[None]
    served: dict[str, Work] = {name: partial(member.embed, crop) for name, member in pipeline.members.items()}
    served["detector"] = partial(pipeline.detector.detect, image)
    own = {f"own {name}": work for name, work in _in_onnxruntime(version.config, image, crop).items()}
    steps: dict[str, list[float]] = {}

    def alone() -> None:
        for step, ms in pipeline.extract(picture).timings_ms.items():
            steps.setdefault(step, []).append(ms)

    def side_by_side() -> None:
        with admission.admitted(admission.VERIFY) as lanes:
            pipeline.extract(picture, lanes=lanes)

    with enrolled(picture) as service:
        calls: dict[str, Work] = {
            "extract": alone,
            "extract_side_by_side": side_by_side,
            "enroll": partial(ask, service, "enroll", NEWCOMER, picture),
        }
        taken = in_turn({**served, **own, **calls}, runs, after={"enroll": partial(service.erase, NEWCOMER)})
    ms = {name: statistics.median(values) for name, values in taken.items()}
    limit_ms = sum(ms[name] for name in own)
    parts: dict[str, Any] = {**pipeline.members, "detector": pipeline.detector}
    return {
        "own_ms": {name.removeprefix("own "): ms[name] for name in own},
        "served_ms": {name: ms[name] for name in served},
        "engines": {name: part.engine for name, part in parts.items()},
        "steps_ms": {step: statistics.median(values) for step, values in steps.items()},
        "limit_ms": limit_ms,
        **{f"{name}_ms": ms[name] for name in calls},
        **{f"{name}_to_limit": ms[name] / limit_ms for name in calls},
        "openvino_to_other": in_both_engines(runs),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def with_verify(face: dict[str, Any], seconds: Sequence[float], pictures_ms: Sequence[float]) -> dict[str, Any]:
    """What `measure` gives, and beside it the verifies of one client that asks again as soon as it is answered.
    `pictures_ms`: what the service says of these that their pictures took."""
    p50_ms, p95_ms = (percentile(seconds, share) * 1000 for share in (0.5, 0.95))
    return {
        **face,
        "verify_ms": p50_ms,
        "verify_to_limit": p50_ms / face["limit_ms"],
        "verify_p95_to_p50": p95_ms / p50_ms,
        # HTTP, authentication, the database, the rule
        "around_ms": p50_ms - statistics.median(pictures_ms),
    }


def _in_onnxruntime(config: Any, image: Any, crop: Any) -> dict[str, Work]:
    from ml_models import artifacts
    from ml_models.engine.detect import Detector
    from ml_models.engine.embed import Embedder

    members = (member.artifact for member in config.members.all())
    works: dict[str, Work] = {
        artifact.name: partial(Embedder(artifacts.ensure_local(artifact), artifact.input_contract).embed, crop)
        for artifact in members
    }
    return {**works, "detector": partial(Detector(artifacts.ensure_local(config.detector)).detect, image)}


def in_both_engines(runs: int) -> dict[str, float]:
    """OpenVINO's processor time over the other engine's, by model file of the active version; one thread, the median of
    pairs timed in turn. A file that OpenVINO answers differently is timed, too. Empty where it is not installed."""
    from ml_models import artifacts, runtime
    from ml_models.engine.choice import golden_scene, time_ratio
    from ml_models.engine.embed import Embedder, golden_crops
    from ml_models.engine.inference import OpenVinoGraph, why_not_openvino
    from ml_models.engine.yunet import SIZES, OpenCvYuNet, OpenVinoYuNet

    if why_not_openvino():
        return {}
    config, crop = runtime.active().config, golden_crops()[:1]
    ratios = {}
    for artifact in (member.artifact for member in config.members.all()):
        path, contract = artifacts.ensure_local(artifact), artifact.input_contract
        in_openvino = partial(OpenVinoGraph, calls=1, precision=contract.precision)
        ours, theirs = Embedder(path, contract), Embedder(path, contract, in_openvino)
        ratios[artifact.name] = time_ratio(partial(ours.embed, crop), partial(theirs.embed, crop), runs)
    path = artifacts.ensure_local(config.detector)
    opencv = OpenCvYuNet(path)
    openvino = OpenVinoYuNet(path, others=opencv, calls=1)
    for size in SIZES:
        works = [partial(network.find, golden_scene(size), 0.5) for network in (opencv, openvino)]
        ratios[f"{config.detector.name}, {size[0]} × {size[1]}"] = time_ratio(works[0], works[1], runs)
    return ratios


def in_turn(works: Mapping[str, Work], runs: int, after: Mapping[str, Work]) -> dict[str, list[float]]:
    """The milliseconds of each work, every time; what comes `after` one is not timed."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            taken[name].append((time.perf_counter() - began) * 1000)
            after.get(name, lambda: None)()
    return {name: values[1:] for name, values in taken.items()}  # the first one warms up
