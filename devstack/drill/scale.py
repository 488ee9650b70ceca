"""What a rollout asks of the database when there are many faces: how long, and what enrolments wait for meanwhile.

The faces are rows made by SQL: a vector in each space, of the size and randomness of a real ciphertext, so that
PostgreSQL keeps it where it keeps real ones. Chips are one byte: nothing that is timed reads one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from uuid import UUID

import numpy as np
from django.db import connection
from django.db.models.functions import Now

from devstack.drill.enrolling import Phase, enrolling
from devstack.drill.report import Check, Report
from devstack.state import say
from ml_models import rollouts, runtime
from ml_models.models import EnsembleConfig, Reference, Rollout, RolloutChunk, ServingProcess, Verification
from ml_models.rollouts import backfill, purging, transitions
from ml_models.rollouts.estimates import activation_cost
from ml_models.services import retention

ROLLBACK_S, WAIT_S, TICK_S = 1.0, 1.0, 1.0
"""At the most: a rollback, an enrolment's wait for the lock, and a tick, which follows every chunk of ten seconds."""
_UNNEEDED = "f" * 64  # a space of no version
_CIPHER = 34  # header, nonce and tag
_QUIET_S = 10.0
_SUBJECTS = """
    WITH s AS (
        INSERT INTO ml_models_subject (id, subject_id, created_at, failures)
        SELECT gen_random_uuid(), 'many-' || i, now(), 0 FROM generate_series(1, %s) i RETURNING id
    )
    INSERT INTO ml_models_reference (id, subject_id, chip, quality, overridden, captured_at)
    SELECT gen_random_uuid(), id, '\\x01', '{}', false, now() - interval '1 day' FROM s
"""
_OLD_VERIFICATIONS = """
    INSERT INTO ml_models_verification (id, at, decision, code, voters, similarities, quality, "references", frames,
        frames_dropped, timings_ms)
    SELECT gen_random_uuid(), now() - interval '10 years' + i * interval '1 second', 'match', '',
        '["arcface_int8", "mobilefacenet_192"]', '{"arcface_int8": 0.61, "mobilefacenet_192": 0.64}',
        '{"score": 0.9123, "yaw": 3.1, "pitch": 2.2, "roll": 0.4, "sharpness": 0.77, "brightness": 0.51}', 1, 1, '[]',
        '{"decode": 6.1, "detect": 14.2, "align": 1.2, "quality": 2.0, "embed": 31.0, "total": 58.2}'
    FROM generate_series(1, %s) i
"""
_VECTORS = """
    INSERT INTO ml_models_embedding (id, reference_id, space, vector)
    SELECT gen_random_uuid(), id, %s, %s FROM (
        SELECT id FROM ml_models_reference WHERE id > %s ORDER BY id LIMIT %s
    ) r ON CONFLICT DO NOTHING
"""


def run(report: Report, old: EnsembleConfig, new: EnsembleConfig, faces: int, quiet_s: float = _QUIET_S) -> None:
    """Fill the database and time a whole rollout, with a purge and rollbacks at its end.

    Args:
        old: the active version.
        new: a validated version with at least one space that `old` has not.
        faces: how many references to make.
        quiet_s: how long to enrol with nothing beside it, to compare with.
    """
    say(f"  {faces:,} references by SQL …")
    began = time.monotonic()
    report.facts["references"] = _fill(faces, old)
    report.facts["filled in s"] = round(time.monotonic() - began, 1)
    tick = _before_cut_over(report, old, new)
    tick["hand out chunks in the middle"] = _half_way(old, new)
    for space in backfill.spaces_of(new) - backfill.spaces_of(old):
        _embed(space, _size(new, space))
    _vacuum()
    process = _starting()
    last = Reference.objects.order_by("-pk").values_list("pk", flat=True)[0]
    Rollout.objects.filter(config=new).update(cursor=last)  # as workers would have left it
    tick["nothing missing, a process is still loading"] = _timed(rollouts.advance)
    process.delete()
    with enrolling(quiet_s) as quiet:
        pass
    with enrolling() as crossing:
        runtime.report()  # as the web process that a cut-over wants to see alive
        took = _timed(lambda: transitions.cut_over(Rollout.objects.get(config=new)), 1)
    report.facts["cut-over, s"] = round(took, 3)
    tick["nothing is owed"] = _timed(rollouts.advance)
    purged = _purge_and_roll_back(report)
    expired = _remove_expired(report, faces)
    report.facts |= {f"tick, {what}, s": round(seconds, 3) for what, seconds in tick.items()}
    phases = {
        "alone": quiet,
        "during the cut-over": crossing,
        "during the purge": purged,
        "while old audit rows go": expired,
    }
    for name, phase in phases.items():
        report.facts[f"enrolments {name}: how many, p50 / p99 / longest, ms"] = phase.enrolled.line()
        report.facts[f"wait for the lock {name}: how many, p50 / p99 / longest, ms"] = phase.waited.line()
    report.add(
        *(Check(f"longest wait for the lock {name}", p.waited.longest, WAIT_S, unit="s") for name, p in phases.items()),
        *(Check(f"a tick, {what}", seconds, TICK_S, unit="s") for what, seconds in tick.items()),
    )


def _before_cut_over(report: Report, old: EnsembleConfig, new: EnsembleConfig) -> dict[str, float]:
    report.facts |= {
        "count what is missing, s (each look at the page)": round(_timed(lambda: backfill.count_missing(new)), 3),
        "reckon an activation, s": round(_timed(lambda: activation_cost(new)), 3),
    }
    report.facts["open, s"] = round(_timed(lambda: rollouts.open_rollout(new), 1), 3)
    return {"hand out chunks at the start": _tick_afresh(new)}


def _half_way(old: EnsembleConfig, new: EnsembleConfig) -> float:
    middle = Reference.objects.count() // 2
    for space in backfill.spaces_of(new) - backfill.spaces_of(old):
        _embed(space, _size(new, space), middle)
    _vacuum()
    last = Reference.objects.order_by("pk").values_list("pk", flat=True)[middle - 1]
    Rollout.objects.filter(config=new).update(cursor=last)
    return _tick_afresh(new)


def _tick_afresh(new: EnsembleConfig) -> float:
    """A tick that finds no chunk in hand."""
    rollout = Rollout.objects.filter(config=new)
    cursor = rollout.values_list("cursor", flat=True)[0]

    def tick() -> None:
        assert rollouts.advance()  # noqa: S101 - it is to do its work, or nothing was timed

    def once() -> float:
        RolloutChunk.objects.all().delete()
        rollout.update(cursor=cursor)
        return _timed(tick, 1)

    took = min(once() for _ in range(3))
    RolloutChunk.objects.all().delete()
    return took


def _purge_and_roll_back(report: Report) -> Phase:
    """Purge as long as there is something, while people enrol and an operator goes back and forth."""
    total = purging.unneeded().count()
    purge = threading.Thread(target=_purge)
    rolled_back = []
    with enrolling() as phase:
        began = time.monotonic()
        purge.start()
        while purge.is_alive():
            rolled_back.append(_timed(rollouts.roll_back, 1))
            purge.join(1)
        took = time.monotonic() - began
    report.facts |= {"purged": total - purging.unneeded().count(), "purge, s": round(took, 1)}
    report.facts["rollbacks during the purge, and the median, s"] = [
        len(rolled_back),
        round(float(np.median(rolled_back)), 4),
    ]
    report.add(
        Check("left by the purge", purging.unneeded().count(), 0),
        Check("rollback during the purge, slowest", max(rolled_back), ROLLBACK_S, unit="s"),
    )
    return phase


def _remove_expired(report: Report, rows: int) -> Phase:
    """Remove as many audit rows as there are faces, all too old, while people enrol."""
    young = Verification.objects.count()
    with connection.cursor() as cursor:
        cursor.execute(_OLD_VERIFICATIONS, [rows])
        cursor.execute("VACUUM ANALYZE ml_models_verification")
    removed = 0
    with enrolling() as phase:
        began = time.monotonic()
        while count := retention.remove_expired():
            removed += count
        took = time.monotonic() - began
    report.facts["audit rows removed, and a second"] = [removed, round(removed / took)]
    report.add(Check("audit rows left that are too old", Verification.objects.count() - young, 0))
    return phase


def _purge() -> None:
    try:
        for _ in purging.purge():
            pass
    finally:
        connection.close()


def _starting() -> ServingProcess:
    """A web process that has loaded nothing yet."""
    return ServingProcess.objects.create(host="starting", pid=1, heartbeat_at=Now(), started_at=Now())


def _fill(faces: int, old: EnsembleConfig) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_SUBJECTS, [faces])
    for space in backfill.spaces_of(old):
        _embed(space, _size(old, space))
    _embed(_UNNEEDED, 4 * 512 + _CIPHER)
    _vacuum()
    return Reference.objects.count()


def _embed(space: str, size: int, references: int | None = None, step: int = 50_000) -> None:
    """Give all references, or the first in key order, a vector in the space, where they have none."""
    last, left = UUID(int=0), Reference.objects.count() if references is None else references
    while left > 0:
        keys = Reference.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)
        batch = list(keys[: min(step, left)])
        if not batch:
            return
        with connection.cursor() as cursor:
            cursor.execute(_VECTORS, [space, os.urandom(size), last, len(batch)])
        last, left = batch[-1], left - len(batch)


def _size(config: EnsembleConfig, space: str) -> int:
    """Bytes of a ciphertext in this space."""
    [dimension] = {m.artifact.dimension for m in config.members.all() if m.space == space}
    return 4 * int(dimension or 0) + _CIPHER


def _timed(work: Callable[[], object], times: int = 3) -> float:
    """The best of three: the others are the machine's."""

    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(once() for _ in range(times))


def bytes_a_row(table: str) -> int:
    """With its indexes and what lies outside the table."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT pg_total_relation_size('ml_models_{table}') / greatest(count(*), 1) FROM ml_models_{table}"  # noqa: S608
        )
        row = cursor.fetchone()
        return int(row[0]) if row else 0


def _vacuum() -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE ml_models_reference, ml_models_embedding")
