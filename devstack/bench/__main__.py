"""How fast the service is: one face beside the networks' own time, rosters beside one face, and many clients; ratios of
one run on one machine.

Needs the service at DEVSTACK_URL with DEVSTACK_API_KEY, which `make bench` starts. About ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import django

from devstack.bench import challenged, crowd, load, networks, pictures, report, rosters
from devstack.bench.service import SUBJECT, enrolled, request
from devstack.portraits import eileen_collins
from devstack.state import ROOT, say

PAGE = ROOT / "docs" / "performance.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=60, help="timed runs of each thing (default 60)")
    parser.add_argument("--seconds", type=float, default=60, help="how long each overload lasts (default 60)")
    parser.add_argument("--verifies", type=int, default=1000, help="for the memory's growth (default 1000; 0 for none)")
    parser.add_argument(
        "--identifications", type=int, default=300, help="the same, on a roster of 200 (default 300; 0 for none)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--rosters", action="store_true", help="only what is of rosters, as JSON")
    what.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    django.setup()
    if options.rosters:
        print(json.dumps(rosters.measure(eileen_collins(), options.runs, options.identifications), indent=2))
        return 0
    result = measure(options.runs, options.seconds, options.verifies, options.identifications)
    print(json.dumps(result, indent=2) if options.json else report.text(result))
    if options.write:
        PAGE.write_text(report.markdown(result, f'make bench ARGS="{" ".join(sys.argv[1:])}"'), encoding="utf-8")
    return 0


def measure(runs: int, seconds: float, verifies: int, identifications: int) -> dict[str, Any]:
    from ml_models.engine.processor import cpu_name

    machine = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }
    picture = eileen_collins()
    say("  one face …")
    face = networks.measure(picture, runs)
    say("  a challenge …")
    steps = challenged.measure(picture, runs)
    say("  rosters …")
    searched = rosters.measure(picture, runs, identifications)
    verify = request("verify", picture, subject_id=SUBJECT)
    with enrolled(picture) as service:
        say("  large pictures …")
        large = pictures.measure(service, picture, max(1, runs // 4))
        say("  one client …")
        one = load.run(verify, crowd.port(), seconds / 4, clients=1, probed=False)
        pictures_ms = crowd.pictures_ms(len(one.of(200)))
        say("  many clients …")
        throughput = crowd.throughput(verify, seconds / 4)
        say("  more than can be answered …")
        # two clients keep two cores busy, and wait for nobody
        capacity = max(figures["per_s"] for figures in throughput.values())
        unloaded = throughput["1"]["p95_ms"]
        if not unloaded:
            raise SystemExit("No verify was answered. Do the limits allow so many? `make bench` lifts them.")
        overload = crowd.overload(verify, seconds, capacity, unloaded)
        say("  slow clients …")
        slow = crowd.beside_slow_clients(verify, seconds / 2)
        say("  memory …")
        growth = crowd.growth(verify, verifies) if verifies else None
    face = networks.with_verify(face, one.of(200), pictures_ms)
    many = {"throughput": throughput, "overload": overload, "slow": slow, "growth": growth}
    faces = {"face": face, "pictures": large, "challenged": steps, "rosters": searched}
    return {"machine": machine, **faces, "crowd": many}


if __name__ == "__main__":
    sys.exit(main())
