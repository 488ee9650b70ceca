"""Live verifies scored again under a version on its way: after the answer is sent, in the same process, from the bytes
in memory. Of an attempt only the score is kept, and an attempt is dropped rather than let a live one wait: the shadow
takes a core only while nobody else on this host waits for one.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from django.db import DatabaseError, connection
from django.db.models import Avg, Count, F

from .. import conf, runtime, selectors
from ..engine.errors import EngineError
from ..exceptions import CryptoError, NotReady, Overloaded
from ..models import Rollout, ShadowScore, Verification
from ..runtime import ServedVersion
from . import admission
from .attempts import Attempt

logger = logging.getLogger(__name__)

# What may wait: so many attempts, so many bytes of pictures.
MAX_WAITING = 8
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Sample:
    version: ServedVersion
    verification: Verification
    subject_id: str
    images: Sequence[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.images))


class Waiting:
    """What waits to be scored in this process."""

    def __init__(self) -> None:
        self.waiting: queue.Queue[_Sample] = queue.Queue(MAX_WAITING)
        self.bytes = 0
        self.dropped = 0
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None


current = runtime.PerProcess(Waiting)


def offer(verification: Verification, subject_id: str, images: Sequence[bytes]) -> None:
    """Take an answered attempt along, if the dice say so and there is room; never waits."""
    version = runtime.rolling_out()
    if version is None or random.random() >= conf.get("SHADOW_SHARE"):  # noqa: S311 - a sample, not a secret
        return
    process, sample = current(), _Sample(version, verification, subject_id, tuple(images))
    with process.lock:
        try:
            if process.bytes + sample.size > MAX_BYTES:
                raise queue.Full
            process.waiting.put_nowait(sample)
        except queue.Full:
            process.dropped += 1
            return
        process.bytes += sample.size
        if process.thread is None:
            process.thread = threading.Thread(target=_work, args=(process,), name="ml_models-shadow", daemon=True)
            process.thread.start()


def dropped() -> int:
    """How many sampled attempts this process has dropped under load."""
    return current().dropped


def _work(process: Waiting) -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # this thread alone, on Linux
    while True:
        sample = process.waiting.get()
        try:
            score(sample.version, sample.verification, sample.subject_id, sample.images)
        except Overloaded:  # no quiet moment in all its patience
            process.dropped += 1
        except DatabaseError as error:
            logger.warning("shadow: the database does not answer (%s)", type(error).__name__)
        except Exception:  # whatever a version on its way does, it must not end the scoring of the others
            logger.exception("shadow: verification %s could not be scored", sample.verification.pk)
        finally:
            connection.close()  # this thread's own; it may have nothing to do for hours
            with process.lock:
                process.bytes -= sample.size
            del sample


def score(version: ServedVersion, verification: Verification, subject_id: str, images: Sequence[bytes]) -> None:
    """Score an attempt under a version as `services.verify` would, and keep the score alone.

    Nothing is kept while not all of the subject's references are embedded, or once the rollout is over.

    Raises:
        Overloaded: there was no quiet moment.
    """
    rollout = Rollout.objects.filter(config=version.config, state__in=Rollout.OPEN).first()
    try:
        template = selectors.template(subject_id, version.config)
    except (NotReady, CryptoError):
        return
    if rollout is None or template is None or len(template.references) != verification.references:
        return
    row = ShadowScore(rollout=rollout, verification=verification)
    try:
        attempt = Attempt()
        with admission.admitted(admission.SHADOW) as lanes:
            attempt.extract(version, images, lanes)
        decision = attempt.decide(version, template)
        row.decision, row.score = decision.decision, decision.score
    except EngineError as error:
        row.code = error.code
    ShadowScore.objects.bulk_create([row], ignore_conflicts=True)


@dataclass(frozen=True, slots=True)
class Summary:
    """`scored` live verifies under the version on its way. `agreement`: the share that it would have decided alike.
    `score_shift`: its score minus the live one, natural log, the mean over the verifies with each live decision.
    `changes`: how many it would have decided otherwise, as "match → no_match"; a code where it would have failed."""

    scored: int
    agreement: float | None
    score_shift: dict[str, float]
    changes: dict[str, int]


def summary(rollout: Rollout) -> Summary:
    """What the shadow has told so far, from rows."""
    before = F("verification__decision")
    rows = rollout.shadows.values("decision", "code", before=before).annotate(count=Count("pk")).order_by()
    shifts = rollout.shadows.filter(score__isnull=False).values(before=before).order_by("before")
    shifted = shifts.annotate(shift=Avg(F("score") - F("verification__score")))
    scored = sum(row["count"] for row in rows)
    agreed = sum(row["count"] for row in rows if row["decision"] == row["before"])
    changed = [row for row in rows if row["decision"] != row["before"]]
    changes = {f"{row['before']} → {row['decision'] or row['code']}": row["count"] for row in changed}
    return Summary(
        scored,
        agreed / scored if scored else None,
        {row["before"]: round(row["shift"], 4) for row in shifted},
        dict(sorted(changes.items())),
    )
