"""A rollout under traffic, with everything killed once, and its pace.

Starts the whole service on a database of its own, enrols LFW's people of ../shared/data/dev_eval, and keeps nothing.
Exits with 1 when something does not hold. The full drill takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time

from devstack.drill import network
from devstack.drill.people import PHOTOS, people
from devstack.drill.report import Report
from devstack.drill.stack import Stack, stack
from devstack.processes import Interrupted, Interruption, StackError
from devstack.state import say

PARTS = ("live", "kills", "pace", "scale")
FAULTS, HOSTS, SOAK = "faults", "hosts", "soak"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make rollout-drill", description=__doc__)
    parser.add_argument("--references", type=int, default=2000, help="how many to enrol (default 2000)")
    parser.add_argument("--rate", type=float, default=4.0, help="verifies a second (default 4)")
    parser.add_argument("--before", type=float, default=60.0, metavar="S", help="traffic before it (default 60)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*PARTS, FAULTS, HOSTS, SOAK),
        default=list(PARTS),
        help=f"parts of it (default all but {FAULTS}, {HOSTS} and {SOAK})",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault happens (default 3)")
    parser.add_argument("--fault", nargs="+", metavar="TEXT", help="only faults whose names have one of these in them")
    parser.add_argument("--minutes", type=float, default=60, help=f"how long {SOAK} lasts (default 60)")
    parser.add_argument("--faces", type=int, default=300_000, help="rows made by SQL for scale (default 300000)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    if options.only != ["scale"] and not PHOTOS.is_dir():
        say("The LFW photos are not there (../shared/data/dev_eval): nothing was drilled.")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = Report()
    try:
        if HOSTS in options.only:
            network.enter()
        with stack(Interruption()) as running:
            drill(running, options, report)
    except (Interrupted, KeyboardInterrupt):
        say("Stopped.")
        return 1
    except StackError as error:
        say(f"✗ {error}")
        return 1
    if options.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        report.show()
    return 0 if report.holds else 1


def drill(running: Stack, options: argparse.Namespace, report: Report) -> None:
    from devstack.drill import scale, versions
    from ml_models import rollouts

    began = time.monotonic()
    say("  prepare the versions …")
    versions.prepare(running, running.state.path)
    versions.load_everything((versions.OLD, versions.NEW))
    if options.only != ["scale"]:
        with_people(running, options, report)
    if "scale" in options.only:
        scale.run(report, rollouts.get_config(versions.OLD), rollouts.get_config(versions.NEW), options.faces)
    report.facts["the drill took s"] = round(time.monotonic() - began)


def with_people(running: Stack, options: argparse.Namespace, report: Report) -> None:
    """The parts that need the photos, and the servers."""
    from devstack.drill import crowd, faults, hosts, kills, live, pace, scale, soak, versions

    say(f"  enrol {options.references} references …")
    everybody = people()
    enrolled = crowd.enroll(everybody, options.references)
    for table in ("reference", "embedding"):
        report.facts[f"bytes of a row, {table}"] = scale.bytes_a_row(table)
    known = {photo.subject for photo in enrolled}
    probes = [photo for photo in everybody.probes if photo.subject in known]
    if HOSTS in options.only:
        say("  compute every answer offline …")
        hosts.run(
            running, crowd.offline(enrolled, probes, (versions.OLD, versions.NEW)), enrolled, options.rate, report
        )
        return
    say("  start the servers …")
    running.start_servers()
    if SOAK in options.only:
        soak.run(running, crowd.offline(enrolled, probes, [versions.OLD]), enrolled, options.minutes, report)
    if FAULTS in options.only:
        strangers = [photo for photo in everybody.first if photo.subject not in known]
        wanted = [name for name in faults.CASES if any(text in name for text in options.fault or [""])]
        offline = crowd.offline(enrolled, probes, [versions.OLD])
        faults.run(running, offline, enrolled, strangers, options.rate, options.rounds, wanted, report)
    if "live" in options.only:
        say("  compute every answer offline …")
        numbers = (versions.OLD, versions.REWEIGHTED, versions.NEW)
        live.run(running, crowd.offline(enrolled, probes, numbers), enrolled, options.rate, options.before, report)
    if "kills" in options.only:
        kills.run(running, report)
    if "pace" in options.only:
        pace.run(running, report)
    if "scale" in options.only:
        versions.forget_the_new_space(running)
    running.stop_servers()


if __name__ == "__main__":
    sys.exit(main())
