"""A verify with a challenge of three steps beside one with a single picture, timed in turn."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from devstack.bench.networks import Work, in_turn
from devstack.bench.service import SUBJECT, ask, enrolled
from devstack.turned import shown

STEPS = 3


def measure(picture: bytes, runs: int) -> dict[str, Any]:
    """Medians. The challenge is asked for and its pictures are drawn beforehand, untimed."""
    with enrolled(picture) as service:
        ready: list[tuple[dict[str, str], list[bytes]]] = []

        def prepare() -> None:
            while True:  # a challenge has three to five steps
                answer, steps = service.challenge(SUBJECT)
                if len(steps) == STEPS:
                    return ready.append((answer, shown(picture, steps)))

        def attempt() -> None:
            answer, pictures = ready.pop()
            ask(service, "verify", SUBJECT, *pictures, **answer)

        prepare()
        works: dict[str, Work] = {"verify": partial(ask, service, "verify", SUBJECT, picture), "challenged": attempt}
        ms = {name: statistics.median(taken) for name, taken in in_turn(works, runs, {"challenged": prepare}).items()}
    return {
        "steps": STEPS,
        "verify_ms": ms["verify"],
        "challenged_ms": ms["challenged"],
        "challenged_to_verify": ms["challenged"] / ms["verify"],
    }
