"""What may be looked at, without a change and without a ciphertext."""

import re
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ml_models import rollouts
from ml_models.models import (
    Artifact,
    CredentialCount,
    EnsembleConfig,
    Erasure,
    EvaluationReport,
    Group,
    Identification,
    Reference,
    RolloutFailure,
    ServingProcess,
    Subject,
    Verification,
)
from ml_models.versions import files
from tests.support.panel import page
from tests.support.uploads import verify

pytestmark = pytest.mark.django_db

MODELS = (
    "artifact",
    "credentialcount",
    "ensembleconfig",
    "erasure",
    "evaluationreport",
    "group",
    "identification",
    "reference",
    "rollout",
    "rolloutfailure",
    "servingprocess",
    "subject",
    "verification",
)
SECRETS = re.compile(r'"ml_models_(reference"\."chip|embedding"\."vector)')
GOLDEN = re.compile(r'"ml_models_artifact"\."golden"|T\d+"?\."golden"')


@pytest.fixture
def rows(validated: EnsembleConfig, people: list[str], service: Any, portraits: Any) -> dict[str, Any]:
    """One row of everything."""
    rollout = rollouts.open_rollout(validated)
    reference = Reference.objects.all()[0]
    verify(service, "child-1", portraits.eileen_collins)
    return {
        "artifact": Artifact.objects.all()[0],
        "credentialcount": CredentialCount.objects.get(),
        "ensembleconfig": validated,
        "erasure": Erasure.objects.create(subject_hash="0" * 64, references=1),
        "evaluationreport": EvaluationReport.objects.create(config=validated, digest="0" * 64, data={}),
        "group": Group.objects.create(group_id="bus/7"),
        "identification": Identification.objects.create(roster_size=1, candidates=1, decision="no_match"),
        "reference": reference,
        "rollout": rollout,
        "rolloutfailure": RolloutFailure.objects.create(rollout=rollout, reference=reference, code="low_quality"),
        "servingprocess": ServingProcess.objects.create(host="web-1", pid=1, heartbeat_at=Now(), started_at=Now()),
        "subject": Subject.objects.get(subject_id="child-1"),
        "verification": Verification.objects.all()[0],
    }


def test_no_page_reads_a_ciphertext(operator: Client, rows: dict[str, Any]) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        for model in MODELS:
            assert operator.get(page(model, "changelist")).status_code == 200
            assert operator.get(page(model, "change", rows[model].pk)).status_code == 200
        operator.get(page("rollout", "progress", rows["rollout"].pk))
        operator.get(page("subject", "erase", rows["subject"].pk))
        operator.get(page("reference", "erase", rows["reference"].pk))
        operator.get(page("ensembleconfig", "activate", rows["ensembleconfig"].pk))
    statements = [query["sql"] for query in queries]
    assert any('"ml_models_reference"' in sql for sql in statements)
    assert [sql for sql in statements if SECRETS.search(sql)] == []


@pytest.mark.parametrize("model", ["artifact", "ensembleconfig"])
def test_no_list_reads_golden_vectors(operator: Client, rows: dict[str, Any], model: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        operator.get(page(model, "changelist"))
        operator.get(page(model, "change", rows[model].pk))
    assert [query["sql"] for query in queries if GOLDEN.search(query["sql"])] == []


def test_nothing_is_added_changed_or_deleted_even_by_a_superuser(
    client: Client, rows: dict[str, Any], django_user_model: Any
) -> None:
    client.force_login(django_user_model.objects.create_superuser("root"))
    for model in MODELS:
        url = page(model, "change", rows[model].pk)
        assert client.get(url).status_code == 200
        assert client.post(url, {"name": "changed"}).status_code == 403
        assert client.post(page(model, "delete", rows[model].pk), {"post": "yes"}).status_code == 403
        assert client.get(page(model, "add")).status_code == 403
        client.post(page(model, "changelist"), {"action": "delete_selected", "_selected_action": [str(rows[model].pk)]})
        assert type(rows[model]).objects.filter(pk=rows[model].pk).exists()


def test_lists_take_the_same_number_of_queries_however_long(operator: Client, rows: dict[str, Any]) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            operator.get(page("ensembleconfig", "changelist"))
        return len(queries)

    before = count()
    for _ in range(3):
        files.clone(rows["ensembleconfig"])
    assert count() == before


def test_verifications_are_filtered_by_decision_code_version_and_date(operator: Client, rows: dict[str, Any]) -> None:
    Verification.objects.create(config=rows["ensembleconfig"], code="no_face_found")
    url = page("verification", "changelist")

    def listed(**filters: Any) -> list[str]:
        answer = operator.get(url, filters)
        assert answer.status_code == 200
        return sorted(row.code for row in answer.context["cl"].result_list)

    assert listed() == ["", "no_face_found"]
    assert listed(decision="match") == [""]
    assert listed(code="no_face_found") == ["no_face_found"]
    assert listed(config__id__exact=rows["ensembleconfig"].pk) == ["no_face_found"]
    assert listed(at__gte="2000-01-01 00:00:00+00:00") == ["", "no_face_found"]
    assert listed(at__gte="2000-01-01 00:00:00+00:00", at__lt="2000-01-02 00:00:00+00:00") == []
