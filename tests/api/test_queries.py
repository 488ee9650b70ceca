"""What a call costs the database, counted at the service and explained at 100,000 embeddings."""

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from ml_models import services
from ml_models.models import Embedding, EnsembleConfig, Reference, Subject, Verification
from ml_models.services import rotation
from tests.conftest import Portraits
from tests.support.pictures import another
from tests.support.served import ROOT, activate
from tests.support.uploads import enroll

pytestmark = pytest.mark.django_db


@pytest.fixture
def enrolled(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> str:
    for picture in (portraits.eileen_collins, another(portraits.eileen_collins)):
        assert enroll(service, "child-1", picture).status_code == 201
    return "child-1"


@pytest.mark.parametrize(("decision", "most"), [("match", 4), ("no_match", 10)])
def test_a_verify_costs_so_many_queries_and_what_a_failure_changes(
    enrolled: str, portraits: Portraits, decision: str, most: int
) -> None:
    """The version, the template, whether there is something to count, the audit row; of a failure the counts and its
    event."""
    picture = portraits.eileen_collins if decision == "match" else portraits.grace_hopper
    assert services.verify(services.NOBODY, enrolled, [portraits.eileen_collins]).decision.decision == "match"
    with CaptureQueriesContext(connection) as captured:
        assert services.verify(services.NOBODY, enrolled, [picture, picture]).decision.decision == decision
    queries = [query["sql"][:120] for query in captured if "SAVEPOINT" not in query["sql"]]
    assert len(queries) <= most, queries


@pytest.mark.parametrize("decision", ["match", "no_match"])
def test_a_verify_reads_which_version_is_active_and_nothing_more_of_it(
    served: EnsembleConfig, service: APIClient, portraits: Portraits, tmp_path: Path, decision: str
) -> None:
    """The shipped version has rules for conditions, some 15 kB of numbers."""
    shipped = yaml.safe_load((ROOT / "config" / "ensembles" / "v4.yaml").read_text())
    config = activate(tmp_path, {**shipped, "version": 3})
    assert len(json.dumps([config.voter_sets, config.conditions])) > 10_000
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    picture = portraits.eileen_collins if decision == "match" else portraits.grace_hopper
    with CaptureQueriesContext(connection) as queries:
        assert services.verify(services.NOBODY, "child-1", [picture]).decision.decision == decision
    tables = "ml_models_ensemble", "ml_models_artifact"
    reads = [q["sql"] for q in queries if q["sql"].startswith("SELECT") and any(name in q["sql"] for name in tables)]
    assert reads
    with connection.cursor() as cursor:
        for sql in reads:
            cursor.execute(f"SELECT coalesce(sum(length(row_.*::text)), 0) FROM ({sql}) row_")  # noqa: S608
            assert cursor.fetchone()[0] < 4_000


def test_who_asks_costs_at_most_three_queries_more(enrolled: str, service: APIClient, portraits: Portraits) -> None:
    with CaptureQueriesContext(connection) as queries:
        service.get("/api/v1/face/subjects/nobody")
    # the token with its account, its own and its groups' permissions, and the subject
    assert len(queries) <= 4, [query["sql"][:120] for query in queries]


_ROWS = """
    WITH s AS (
        INSERT INTO ml_models_subject (id, subject_id, created_at, failures)
        SELECT gen_random_uuid(), 'bulk-' || i, now(), 0 FROM generate_series(1, 33333) i RETURNING id
    ), r AS (
        INSERT INTO ml_models_reference (id, subject_id, chip, quality, overridden, captured_at)
        SELECT gen_random_uuid(), id, '\\x01', '{"score": 1}', false, now() FROM s RETURNING id
    ), v AS (
        INSERT INTO ml_models_verification (id, at, subject_id, decision, code, voters, similarities, quality,
            "references", frames, frames_dropped, timings_ms)
        SELECT gen_random_uuid(), now(), id, 'match', '', '[]', '{}', '{}', 1, 1, '[]', '{}' FROM s
    ), e AS (
        INSERT INTO ml_models_erasure (subject_hash, "references", at)
        SELECT md5(id::text) || md5(id::text), 1, now() FROM s
    )
    INSERT INTO ml_models_embedding (id, reference_id, space, vector)
    SELECT gen_random_uuid(), r.id, space, %s FROM r, unnest(%s::text[]) AS space
"""


@pytest.fixture
def crowded(enrolled: str, served: EnsembleConfig) -> None:
    spaces = [member.space for member in served.members.all()]
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [bytes(600), spaces])
        cursor.execute("ANALYZE")
    assert Embedding.objects.count() > 99_999


def explained(act: Callable[[], Any]) -> list[str]:
    """The plans of every statement that an action sends, but for plain inserts."""
    with CaptureQueriesContext(connection) as queries:
        act()
    statements = [query["sql"] for query in queries if re.match("SELECT|UPDATE|DELETE", query["sql"].strip())]
    plans = []
    with connection.cursor() as cursor:
        for statement in statements:
            if "advisory" not in statement:
                cursor.execute("EXPLAIN " + statement.replace("%", "%%"), [])
                plans.append(statement[:200] + "\n" + "\n".join(row[0] for row in cursor.fetchall()))
    return plans


def test_every_lookup_of_a_call_has_an_index(
    crowded: None, enrolled: str, portraits: Portraits, service: APIClient
) -> None:
    reference = Reference.objects.filter(subject__subject_id=enrolled).first()
    assert reference is not None
    plans = [
        *explained(lambda: services.verify(services.NOBODY, enrolled, [portraits.eileen_collins])),
        *explained(lambda: services.enroll(services.NOBODY, enrolled, another(portraits.eileen_collins, 2))),
        *explained(lambda: service.get(f"/api/v1/face/subjects/{enrolled}")),
        *explained(lambda: services.erase_reference(services.NOBODY, reference.pk)),
        *explained(lambda: services.erase_subject(services.NOBODY, enrolled)),
        *explained(lambda: list(Verification.objects.order_by("-at")[:20])),
        *explained(lambda: list(rotation.in_batches(rotation.stale_references().filter(pk=reference.pk)))),
    ]
    assert len(plans) > 15
    scanned = [
        plan for plan in plans if re.search(r"Seq Scan on ml_models_(subject|reference|embedd|verif|erasure)", plan)
    ]
    assert scanned == []


def test_vectors_are_looked_up_by_key_whatever_the_database_believes_of_their_number(
    enrolled: str, portraits: Portraits
) -> None:
    with connection.cursor() as cursor:
        # as if it took everybody's for few enough to be joined
        cursor.execute("SET LOCAL enable_nestloop = off")
    plans = explained(lambda: services.verify(services.NOBODY, enrolled, [portraits.eileen_collins]))
    (template,) = [plan for plan in plans if "embedding.vector" in plan]
    assert not re.search(r"(Hash|Merge) Cond: \(.*embedding", template)


def test_the_database_itself_keeps_orphans_and_nonsense_out(enrolled: str) -> None:
    reference = Reference.objects.earliest("pk")
    subject = reference.subject
    wrong = [
        lambda: Embedding.objects.create(reference_id=uuid.uuid4(), space="s", vector=b""),
        lambda: Reference.objects.create(subject_id=uuid.uuid4(), chip=b"", quality={}),
        lambda: Embedding.objects.create(
            reference=reference, space=reference.embeddings.earliest("pk").space, vector=b""
        ),
        lambda: Subject.objects.create(subject_id=subject.subject_id),
        lambda: Subject.objects.create(subject_id=""),
        lambda: Verification.objects.create(decision="", code=""),
        lambda: Verification.objects.create(decision="match", code="low_quality"),
        lambda: Verification.objects.create(decision="perhaps"),
        # not through Django, which would take the rows below along
        lambda: raw("DELETE FROM ml_models_reference WHERE id = %s", reference.pk),
        lambda: raw("DELETE FROM ml_models_subject WHERE id = %s", subject.pk),
    ]
    for act in wrong:
        with pytest.raises(IntegrityError):
            now(act)


def now(act: Callable[[], Any]) -> None:
    """Do it, and check what would be checked at the commit."""
    with transaction.atomic():
        act()
        connection.check_constraints()


def raw(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
