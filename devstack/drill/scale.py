"""What a rollout asks of the database when there are many faces: timed on rows made by SQL, told for ten million."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import connection, transaction

from devstack.drill.report import Check, Report
from devstack.drill.versions import NEW, OLD, new_space
from devstack.state import say
from ml_models import rollouts
from ml_models.models import Embedding, Reference, Rollout
from ml_models.rollouts import backfill, leasing
from ml_models.rollouts.estimates import activation_cost

FACES, MANY = 300_000, 10_000_000
# a tick follows every chunk of about ten seconds: more than this would be a tenth of a worker
_TICK_S = 1.0

_ROWS = """
    WITH s AS (
        INSERT INTO ml_models_subject (id, subject_id, created_at, failures)
        SELECT gen_random_uuid(), 'many-' || i, now(), 0 FROM generate_series(1, %s) i RETURNING id
    ), r AS (
        INSERT INTO ml_models_reference (id, subject_id, chip, quality, overridden, captured_at)
        SELECT gen_random_uuid(), id, '\\x01', '{}', false, now() FROM s RETURNING id
    )
    INSERT INTO ml_models_embedding (id, reference_id, space, vector)
    SELECT gen_random_uuid(), r.id, space, '\\x01' FROM r, unnest(%s::text[]) space
"""


def run(report: Report) -> None:
    say(f"  {FACES:,} references by SQL …")
    report.facts["bytes of a reference with its chip, and of an embedding, with their indexes"] = [
        _bytes_a_row("reference"),
        _bytes_a_row("embedding"),
    ]
    old, new = rollouts.get_config(OLD), rollouts.get_config(NEW)
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [FACES, sorted(backfill.spaces_of(old))])
    _vacuum()
    rollout = Rollout.objects.create(config=new)
    took = {
        "count what is missing (each look at the page)": _timed(lambda: backfill.count_missing(new, rollout)),
        "count before an activation": _timed(lambda: activation_cost(new)),
        "count inside the lock, nothing missing": _timed(lambda: backfill.count_missing(old, rollout)),
        "hand out chunks, at the start": _timed(lambda: _hand_out(rollout)),
    }
    middle = Reference.objects.order_by("pk").values_list("pk", flat=True)[FACES // 2]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO ml_models_embedding (id, reference_id, space, vector) SELECT gen_random_uuid(), r.id, %s, "
            "'\\x01' FROM ml_models_reference r WHERE r.id <= %s ON CONFLICT DO NOTHING",
            [new_space(), middle],
        )
    _vacuum()
    Rollout.objects.filter(pk=rollout.pk).update(cursor=middle)
    took["hand out chunks, in the middle"] = _timed(lambda: _hand_out(rollout))
    Rollout.objects.filter(pk=rollout.pk).update(cursor=None)
    took["find the first missing one again from the beginning, half done"] = _timed(lambda: _hand_out(rollout))
    Embedding.objects.filter(space=new_space()).delete()
    rollout.delete()
    for what, seconds in took.items():
        report.facts[f"{what}: s for {FACES:,} faces, and for {MANY:,} in proportion"] = [
            round(seconds, 4),
            round(seconds * MANY / FACES, 2),
        ]
    # keyset: it does not grow with the number of faces
    report.add(Check("a tick's hand-out in the middle", took["hand out chunks, in the middle"], _TICK_S, unit="s"))


def _hand_out(rollout: Rollout) -> None:
    with transaction.atomic():
        rollout.refresh_from_db()
        leasing.hand_out(rollout, rollouts.get_config(NEW))
        transaction.set_rollback(True)


def _timed(work: Callable[[], object]) -> float:
    """The best of three: the others are the machine's."""

    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(once() for _ in range(3))


def _vacuum() -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE ml_models_reference, ml_models_embedding")


def _bytes_a_row(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT pg_total_relation_size('ml_models_{table}') / greatest(count(*), 1) FROM ml_models_{table}"  # noqa: S608
        )
        row = cursor.fetchone()
        return int(row[0]) if row else 0
