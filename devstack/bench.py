"""How far the service is from its limit, the networks' own inference time; ratios from one run on one machine.

Everything is timed in turn, so that another process's load falls on all of it. Runs against the service at DEVSTACK_URL
with DEVSTACK_API_KEY, which `make bench` sets.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import cv2
import django

from devstack.demo import Service
from devstack.portraits import eileen_collins

SUBJECT, NEWCOMER = "bench-collins", "bench-newcomer"
PASSES = 3

Work = Callable[[], Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="timed runs of each thing (default 40)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    django.setup()
    result = measure(options.runs)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    return 0


def measure(runs: int) -> dict[str, Any]:
    """Milliseconds are medians, rates are per second; every ratio is to the networks alone, timed in this same run."""
    from ml_models import runtime
    from ml_models.engine.decode import decode
    from ml_models.engine.pipeline import chip_crop

    cv2.setNumThreads(1)  # as in the service
    runtime.refresh()
    pipeline = runtime.active().pipeline
    picture = eileen_collins()
    image, crop = decode(picture), chip_crop(pipeline.extract(picture).chip)[None]
    networks: dict[str, Work] = {name: partial(member.embed, crop) for name, member in pipeline.members.items()}
    networks["detector"] = partial(pipeline.detector.detect, image)
    parts: dict[str, Any] = {**pipeline.members, "detector": pipeline.detector}
    engines = {name: part.engine for name, part in parts.items()}

    cores = len(os.sched_getaffinity(0))
    with enrolled(picture) as services:
        service = services[0]
        steps: dict[str, Work] = {
            "extract": partial(pipeline.extract, picture),
            "verify": partial(ask, service, "verify", SUBJECT, picture),
            "enroll": partial(ask, service, "enroll", NEWCOMER, picture),
        }
        times = in_turn({**networks, **steps}, runs, after={"enroll": partial(service.erase, NEWCOMER)})
        rates = side_by_side(
            {
                "networks": lambda _: [work() for work in networks.values()],
                "extract": lambda _: pipeline.extract(picture),
                "verify": lambda i: ask(services[i % cores], "verify", SUBJECT, picture),
            },
            runs,
            cores,
        )
    limit_ms = sum(times[name] for name in networks)
    return {
        "cores": cores,
        "networks_ms": {name: times[name] for name in networks},
        "engines": engines,
        "openvino_to_other": in_both_engines(runs),
        "limit_ms": limit_ms,
        **{f"{name}_ms": times[name] for name in steps},
        **{f"{name}_to_limit": times[name] / limit_ms for name in steps},
        **{f"{name}_per_s": rate for name, rate in rates.items()},
        **{f"{name}_rate_to_limit": rates[name] / rates["networks"] for name in ("extract", "verify")},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


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
        ours, theirs = Embedder(path, contract), Embedder(path, contract, partial(OpenVinoGraph, calls=1))
        ratios[artifact.name] = time_ratio(partial(ours.embed, crop), partial(theirs.embed, crop), runs)
    path = artifacts.ensure_local(config.detector)
    opencv = OpenCvYuNet(path)
    openvino = OpenVinoYuNet(path, others=opencv, calls=1)
    for size in SIZES:
        works = [partial(network.find, golden_scene(size), 0.5) for network in (opencv, openvino)]
        ratios[f"{config.detector.name}, {size[0]} × {size[1]}"] = time_ratio(works[0], works[1], runs)
    return ratios


@contextmanager
def enrolled(picture: bytes) -> Iterator[list[Service]]:
    """The subject of the verifies, and a client for each core; both subjects are gone afterwards."""
    cores = len(os.sched_getaffinity(0))
    services = [Service(os.environ["DEVSTACK_URL"], os.environ["DEVSTACK_API_KEY"]) for _ in range(cores)]
    try:
        for subject in (SUBJECT, NEWCOMER):
            services[0].erase(subject)
        ask(services[0], "enroll", SUBJECT, picture)
        yield services
    finally:
        for subject in (SUBJECT, NEWCOMER):
            services[0].erase(subject)


def ask(service: Service, call: str, subject: str, picture: bytes) -> None:
    """A call that has to succeed: a refusal is quick, and would pass for speed."""
    if code := service.post(call, subject, picture).get("code"):
        raise SystemExit(f"The service refused to {call}: {code}. Nothing was measured.")


def in_turn(works: Mapping[str, Work], runs: int, after: Mapping[str, Work]) -> dict[str, float]:
    """The median milliseconds of each work; what comes `after` one is not timed."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append((time.perf_counter() - began) * 1000)
            after.get(name, lambda: None)()
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}  # the first one warms up


def side_by_side(works: Mapping[str, Callable[[int], Any]], runs: int, threads: int) -> dict[str, float]:
    """How often a second each work is done by so many threads; the median of a few passes in turn."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(PASSES):
            for name, work in works.items():
                began = time.perf_counter()
                list(pool.map(work, range(runs)))
                rates[name].append(runs / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in rates.items()}


def show(result: dict[str, Any]) -> None:
    print("\nThe limit is the networks' own time, measured in this same run.\n\none face on one core")
    for name, ms in result["networks_ms"].items():
        print(f"  {name:24} {ms:7.1f} ms   {result['engines'][name]}")
    print(f"  {'limit: their sum':24} {result['limit_ms']:7.1f} ms\n")
    for what, key in (("extract, in process", "extract"), ("verify, over HTTP", "verify"), ("enroll", "enroll")):
        print(f"  {what:24} {result[f'{key}_ms']:7.1f} ms   {result[f'{key}_to_limit']:.2f} × the limit")
    if result["openvino_to_other"]:
        print("\nOpenVINO's processor time, 1 being onnxruntime's or OpenCV's")
    for name, ratio in result["openvino_to_other"].items():
        print(f"  {name:24} {ratio:7.2f}")
    print(f"\nfaces a second, {result['cores']} threads on {result['cores']} cores")
    print(f"  {'limit: networks alone':24} {result['networks_per_s']:7.1f}")
    for what, key in (("extract, in process", "extract"), ("verify, over HTTP", "verify")):
        print(f"  {what:24} {result[f'{key}_per_s']:7.1f}      {result[f'{key}_rate_to_limit']:.2f} of the limit")
    print(f"\npeak memory of this process: {result['peak_mb']:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
