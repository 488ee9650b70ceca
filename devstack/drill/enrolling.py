"""People who enrol beside what is timed, and what they wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
from django.db import connection, transaction

from devstack.portraits import eileen_collins
from ml_models import services
from ml_models.versions import locks

_CLIENTS = 2


@dataclass
class Times:
    """Seconds, as they come."""

    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - began)

    @property
    def longest(self) -> float:
        return max(self.seconds)

    def line(self) -> list[float]:
        percentiles = np.percentile(self.seconds, (50, 99, 100)) * 1000
        return [len(self.seconds), *(round(float(value), 1) for value in percentiles)]


@dataclass
class Phase:
    """Enrolments from the picture to the commit; and how long their lock alone is waited for, tried all the time."""

    enrolled: Times = field(default_factory=Times)
    waited: Times = field(default_factory=Times)


@contextmanager
def enrolling(at_least_s: float = 0.0) -> Iterator[Phase]:
    """Around what is done while people enrol."""
    phase, over, picture = Phase(), threading.Event(), eileen_collins()
    failures: list[BaseException] = []

    def enroll() -> None:
        with phase.enrolled.one():
            services.enroll(services.NOBODY, f"beside-{uuid4()}", picture)

    def wait() -> None:
        with transaction.atomic(), phase.waited.one():
            locks.share_versions()
        over.wait(0.005)

    def repeat(work: Callable[[], None]) -> None:
        try:
            while not over.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=repeat, args=(work,)) for work in (*[enroll] * _CLIENTS, wait)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)
        yield phase
        time.sleep(at_least_s)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
