"""How far the service is from its limit, the networks' own inference time; ratios from one run on one machine.

Runs against the service at DEVSTACK_URL with DEVSTACK_TOKEN, which `make bench` sets.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import django

from devstack.demo import Service
from devstack.portraits import eileen_collins

SUBJECT = "bench-collins"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
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
    """Milliseconds are medians; every ratio is to the limit measured in this same run."""
    from ml_models import runtime, selectors
    from ml_models.engine.pipeline import chip_crop

    picture = eileen_collins()
    runtime.refresh()
    pipeline = runtime.pipeline(selectors.active_config())
    crop = chip_crop(pipeline.extract(picture).chip)[None]
    members = {name: median_ms(runs, partial(member.embed, crop)) for name, member in pipeline.members.items()}
    detect_ms = statistics.median(pipeline.extract(picture).timings_ms["detect"] for _ in range(runs))
    limit_ms = sum(members.values()) + detect_ms
    extract_ms = median_ms(runs, lambda: pipeline.extract(picture))
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        began = time.perf_counter()
        list(pool.map(lambda _: pipeline.extract(picture), range(runs)))
        engine_per_s = runs / (time.perf_counter() - began)
    return {
        "cores": cores,
        "members_ms": members,
        "detector_ms": detect_ms,
        "limit_ms": limit_ms,
        "extract_ms": extract_ms,
        "extract_to_limit": extract_ms / limit_ms,
        "engine_faces_per_s": engine_per_s,
        "engine_to_limit": engine_per_s * limit_ms / 1000 / cores,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **over_http(runs, cores, picture, limit_ms),
    }


def over_http(runs: int, cores: int, picture: bytes, limit_ms: float) -> dict[str, float]:
    service = Service(os.environ["DEVSTACK_URL"], os.environ["DEVSTACK_TOKEN"])
    service.erase(SUBJECT)
    service.post("enroll", SUBJECT, picture)
    try:
        verify_ms = median_ms(runs, lambda: service.post("verify", SUBJECT, picture))
        with ThreadPoolExecutor(cores) as pool:
            clients = [Service(service.url, os.environ["DEVSTACK_TOKEN"]) for _ in range(cores)]
            began = time.perf_counter()
            list(pool.map(lambda i: clients[i % cores].post("verify", SUBJECT, picture), range(runs)))
            per_s = runs / (time.perf_counter() - began)
    finally:
        service.erase(SUBJECT)
    return {
        "verify_ms": verify_ms,
        "verify_to_limit": verify_ms / limit_ms,
        "verifies_per_s": per_s,
        "verifies_to_limit": per_s * limit_ms / 1000 / cores,
    }


def median_ms(runs: int, work: Callable[[], Any]) -> float:
    work()

    def timed() -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1000

    return statistics.median(timed() for _ in range(runs))


def show(result: dict[str, Any]) -> None:
    print(f"\nOn {result['cores']} cores; the limit of one face is the networks' own time on one core.\n")
    for name, ms in result["members_ms"].items():
        print(f"  {name:24} {ms:7.1f} ms")
    print(f"  {'detector':24} {result['detector_ms']:7.1f} ms")
    print(f"  {'limit, their sum':24} {result['limit_ms']:7.1f} ms\n")
    for what, key in (("extract, one thread", "extract"), ("verify over HTTP", "verify")):
        print(f"  {what:24} {result[f'{key}_ms']:7.1f} ms    {result[f'{key}_to_limit']:.2f} × the limit")
    rates = (
        ("engine, all cores", "engine_faces_per_s", "engine_to_limit"),
        ("verify, all cores", "verifies_per_s", "verifies_to_limit"),
    )
    for what, rate, share in rates:
        print(f"  {what:24} {result[rate]:7.1f} /s    {result[share]:.2f} of the limit")
    print(f"\n  peak memory of this process {result['peak_mb']:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
