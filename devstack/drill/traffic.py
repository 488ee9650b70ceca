"""Verifies at a steady rate, as phones would send them: nobody waits for the one before."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests

from devstack.drill.people import Photo

CLIENTS = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """`at`: when it was due, seconds of the monotonic clock; `took_ms` counts from then to the answer."""

    at: float
    took_ms: float
    photo: Photo
    subject: str
    status: int
    body: dict[str, Any]


class Traffic:
    """A context in which `rate` verifies a second go to the service; `answers` grows meanwhile."""

    call = "verify"

    def __init__(self, url: str, token: str, attempts: Iterator[tuple[Photo, str]], rate: float) -> None:
        self.answers: list[Answer] = []
        self._url, self._token, self._attempts, self._period_s = url, token, attempts, 1 / rate
        self._over = threading.Event()
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clock = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Traffic:
        self._clock.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._clock.join()
        self._pool.shutdown()

    def _run(self) -> None:
        due = time.monotonic()
        for photo, subject in self._attempts:
            if self._over.is_set():
                return
            self._pool.submit(self._send, due, photo, photo.read(), subject)
            due += self._period_s
            self._over.wait(max(0.0, due - time.monotonic()))

    def _send(self, due: float, photo: Photo, picture: bytes, subject: str) -> None:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["Authorization"] = f"Token {self._token}"
        status, body = 0, {}
        try:
            answer = self._local.session.post(
                f"{self._url}/api/v1/face/{self.call}",
                data={"subject_id": subject},
                files={"image": ("photo.jpg", picture)},
                timeout=60,
            )
            status, body = answer.status_code, answer.json()
        except (requests.RequestException, ValueError) as error:
            body = {"code": type(error).__name__}
        self.answers.append(Answer(due, (time.monotonic() - due) * 1000, photo, subject, status, body))

    def between(self, since: float, until: float) -> list[Answer]:
        return [answer for answer in list(self.answers) if since <= answer.at < until]


class Enrolments(Traffic):
    """The same with enrolments."""

    call = "enroll"


def percentile_ms(answers: list[Answer], percent: float) -> float:
    return float(np.percentile([answer.took_ms for answer in answers], percent)) if answers else float("nan")
