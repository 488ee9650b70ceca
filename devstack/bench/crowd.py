"""Many clients: throughput, what is offered beyond it, slow clients, and memory."""

from __future__ import annotations

import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from devstack.bench import load
from devstack.bench.service import resident_mb

CLIENTS = (1, 2, 8, 32)
OFFERED = (1, 2, 10)
SLOW_CLIENTS = 200


def port() -> int:
    return urlsplit(os.environ["DEVSTACK_URL"]).port or 80


def pictures_ms(count: int) -> list[float]:
    """What the pictures of the latest verifies took, as their audit rows say."""
    from ml_models.models import Verification

    return [row.timings_ms["pictures"] for row in Verification.objects.order_by("-at")[:count]]


def throughput(request: bytes, seconds: float) -> dict[str, Any]:
    """Good answers a second, and milliseconds, by the number of clients that ask again as soon as they are answered."""
    figures = {}
    for clients in CLIENTS:
        outcome = load.run(request, port(), seconds, clients=clients)
        figures[str(clients)] = {
            "per_s": outcome.good_per_s,
            "p50_ms": outcome.ms(200, 0.5),
            "p95_ms": outcome.ms(200, 0.95),
            "refused": len(outcome.of(503)),
            "generator_cores": outcome.cpu_s / outcome.took_s,
        }
    return figures


def overload(request: bytes, seconds: float, capacity_per_s: float, unloaded_p95_ms: float) -> dict[str, Any]:
    """What becomes of requests at a fixed rate, by multiples of the capacity; and of the service a moment later.

    Goodput is put beside the capacity of before and after it: a machine's own speed changes by a tenth in a minute.
    """
    figures: dict[str, Any] = {}
    capacities = []
    for times in OFFERED:
        capacities.append(_capacity(request, seconds / 6))
        before_mb = resident_mb()
        outcome = load.run(request, port(), seconds, rate=times * capacity_per_s)
        figures[str(times)] = _offered(outcome, unloaded_p95_ms) | {"memory_to_before": resident_mb() / before_mb}
    normal_again_s = _normal_again(request, unloaded_p95_ms)
    capacities.append(_capacity(request, seconds / 6))
    for step, beside in zip(figures.values(), pairwise(capacities), strict=True):
        step["goodput_to_capacity"] = step["good_per_s"] / statistics.mean(beside)
        step["goodput_to_capacity_beside_the_generator"] = step["goodput_to_capacity"] / step.pop("left")
    return figures | {"normal_again_after_s": normal_again_s}


def _offered(outcome: load.Outcome, unloaded_p95_ms: float) -> dict[str, Any]:
    """`left` is what the generator left of the cores."""
    accepted = outcome.ms(200, 0.95)
    return {
        "good_per_s": outcome.good_per_s,
        "left": 1 - outcome.cpu_s / outcome.took_s / len(os.sched_getaffinity(0)),
        "accepted_p95_to_unloaded": accepted / unloaded_p95_ms if accepted else None,
        "refused_per_s": len(outcome.of(503)) / outcome.took_s,
        "refused_p95_ms": outcome.ms(503, 0.95),
        "refused_max_ms": outcome.ms(503, 1.0),
        "probe_max_ms": max(outcome.probe_s) * 1000,
        "without_answer": outcome.failed,
    }


def _capacity(request: bytes, seconds: float) -> float:
    """Good answers a second to two clients, who keep two cores busy and wait for nobody."""
    return load.run(request, port(), seconds, clients=2).good_per_s


def _normal_again(request: bytes, unloaded_p95_ms: float) -> float | None:
    """Seconds after a load until one client is served as before it; None when not within ten."""
    began = time.monotonic()
    while time.monotonic() < began + 10:
        outcome = load.run(request, port(), 0.5, clients=1)
        p50 = outcome.ms(200, 0.5)
        if p50 is not None and p50 <= unloaded_p95_ms and not outcome.of(503):
            return time.monotonic() - began
    return None


def beside_slow_clients(request: bytes, seconds: float) -> dict[str, Any]:
    """The median of one client's verifies beside 200 that send a byte a second, over the one without them; in turn."""
    alone, beside = [], []
    for _ in range(3):
        alone.append(load.run(request, port(), seconds / 6, clients=1).ms(200, 0.5))
        with _slow_clients(request):
            beside.append(load.run(request, port(), seconds / 6, clients=1).ms(200, 0.5))
    medians = [sorted(ms or float("inf") for ms in values)[1] for values in (alone, beside)]
    return {"clients": SLOW_CLIENTS, "p50_to_alone": medians[1] / medians[0]}


@contextmanager
def _slow_clients(request: bytes) -> Iterator[None]:
    stop = threading.Event()
    with ExitStack() as sockets:
        clients = [
            sockets.enter_context(closing(socket.create_connection(("127.0.0.1", port())))) for _ in range(SLOW_CLIENTS)
        ]

        def send() -> None:
            # half of them stop in the headers, half in the body
            for number, client in enumerate(clients):
                client.sendall(request[: 20 if number % 2 else request.index(b"\r\n\r\n") + 10])
            position = request.index(b"\r\n\r\n") + 10
            while not stop.wait(1.0):
                for client in clients[::2]:
                    client.sendall(request[position : position + 1])
                position += 1

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def growth(request: bytes, calls: int) -> dict[str, Any]:
    """The web processes' memory after so many calls, over that after the first tenth."""
    after: list[float] = []
    for share in (0.1, 0.9):
        left = int(calls * share)
        while left > 0:
            left -= len(load.run(request, port(), 10.0, clients=2).of(200)) or 1
        after.append(resident_mb())
    return {"calls": calls, "memory_to_the_first_tenth": after[1] / after[0], "resident_mb": after[1]}
