"""An hour at half of what the service can do: nothing may grow with the number of requests."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil
from django.db import connection

from devstack.drill.crowd import Offline
from devstack.drill.live import count, differs
from devstack.drill.people import Photo, attempts
from devstack.drill.report import Check, Report
from devstack.drill.stack import Stack
from devstack.drill.traffic import Traffic
from devstack.state import say

MOST_GROWTH = 0.03
_CAPACITY_S, _MORE_THAN_IT_CAN = 30.0, 40.0
_EVERY_S = 10.0
# caches fill and pools open their connections before it counts
_WARM_UP = 1 / 6


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server's processes. `memory` in bytes: what they have written, pages shared since a fork counted
    once. Not the libraries': whose share in those is how large depends on who else on this machine has them open."""

    memory: int
    threads: int
    files: int


def run(stack: Stack, crowd: Offline, enrolled: list[Photo], minutes: float, report: Report) -> None:
    """`minutes` of traffic at half of the capacity measured first, impostors among it."""
    subjects = sorted({photo.subject for photo in enrolled})

    def shown() -> Iterator[tuple[Photo, str]]:
        return attempts(list(crowd.probes), subjects)

    capacity = _capacity(stack, shown())
    say(f"  {capacity / 2:.1f} verifies a second for {minutes:g} min …")
    looks: list[tuple[dict[str, Sample], int]] = []
    with Traffic(stack.url, stack.token, shown(), capacity / 2) as traffic:
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            time.sleep(_EVERY_S)
            stack.supervisor.check()
            looks.append(({name: _look(stack, name) for name in ("web", "worker", "beat")}, _connections()))
    looks = looks[int(_WARM_UP * len(looks)) :]
    report.facts |= {
        "capacity, verifies a second": round(capacity, 1),
        "verifies": len(traffic.answers),
        "answers by status": count([str(answer.status) for answer in traffic.answers]),
        "failed by code": count([str(answer.body.get("code")) for answer in traffic.answers if answer.status != 200]),
    }
    report.add(
        Check("failed requests", sum(answer.status != 200 for answer in traffic.answers), 0),
        Check("wrong decisions", sum(answer.status == 200 and differs(crowd, answer) for answer in traffic.answers), 0),
        Check("database connections, growth", _growth(connections for _, connections in looks), 0),
    )
    for name in ("web", "worker", "beat"):
        samples = [by_name[name] for by_name, _ in looks]
        memory = _thirds(sample.memory for sample in samples)
        report.facts[f"{name}: memory of the first and last third, MiB"] = [round(size / 2**20, 1) for size in memory]
        report.add(
            Check(f"{name}: memory, growth", memory[1] / memory[0] - 1, MOST_GROWTH),
            Check(f"{name}: threads, growth", _growth(sample.threads for sample in samples), 0),
            Check(f"{name}: open files, growth", _growth(sample.files for sample in samples), 0),
        )


def _capacity(stack: Stack, shown: Iterator[tuple[Photo, str]]) -> float:
    """Good answers a second while more is asked than can be answered."""
    say("  what it can do …")
    with Traffic(
        stack.url, stack.token, islice(shown, int(_CAPACITY_S * _MORE_THAN_IT_CAN)), _MORE_THAN_IT_CAN
    ) as asked:
        time.sleep(_CAPACITY_S)
        good = [answer for answer in list(asked.answers) if answer.status == 200]
    return len(good) / _CAPACITY_S


def _look(stack: Stack, name: str) -> Sample:
    server = psutil.Process(stack.child(name).process.pid)
    family = [server, *server.children(recursive=True)]
    return Sample(
        sum(_anonymous(process.pid) for process in family),
        sum(process.num_threads() for process in family),
        sum(process.num_fds() for process in family),
    )


def _anonymous(pid: int) -> int:
    """Bytes of anonymous memory, by the kernel's own sum."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    [kib] = (line.split()[1] for line in lines if line.startswith("Pss_Anon:"))
    return int(kib) * 1024


def _connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def _thirds(values: Iterable[int]) -> tuple[float, float]:
    """The medians of the first third and of the last."""
    listed = list(values)
    third = max(1, len(listed) // 3)
    return statistics.median(listed[:third]), statistics.median(listed[-third:])


def _growth(values: Iterable[int]) -> float:
    first, last = _thirds(values)
    return last - first
