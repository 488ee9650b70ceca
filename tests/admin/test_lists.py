"""Lists of tables that may be of any size: what they count, offer and ask the database."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ml_models.admin import lists
from ml_models.models import Subject, Verification
from tests.support.panel import page

pytestmark = pytest.mark.django_db

LARGE = ("verification", "subject", "reference")


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than are counted, by PostgreSQL's own account."""
    monkeypatch.setattr(lists, "MOST_ROWS", 100)
    Verification.objects.bulk_create(Verification(decision="match") for _ in range(230))
    Verification.objects.bulk_create(Verification(code="low_quality") for _ in range(3))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ml_models_verification")


def shown(client: Client, query: str = "") -> Any:
    return client.get(page("verification", "changelist") + query).context["cl"]


def test_a_long_list_is_estimated_and_its_first_pages_are_offered(many: None, viewer: Client) -> None:
    whole = shown(viewer)
    assert (whole.result_count, whole.paginator.num_pages) == (233, 2)
    assert len(shown(viewer, "?p=2").result_list) == 50
    filtered = shown(viewer, "?decision=match")
    assert (filtered.result_count, filtered.paginator.num_pages) == (101, 2)
    assert shown(viewer, "?code=low_quality").result_count == 3
    assert shown(viewer, "?decision=no_match").result_count == 0


def test_a_list_before_the_first_estimate_is_as_long_as_was_counted(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_ROWS", 2)
    monkeypatch.setattr(lists, "_estimate", lambda table: -1)
    Verification.objects.bulk_create(Verification(decision="match") for _ in range(5))
    assert shown(viewer).result_count == 3


@pytest.mark.parametrize("model", LARGE)
@pytest.mark.parametrize("query", ["", "?_facets=True", "?o=1", "?o=2"])
def test_no_list_counts_sorts_or_groups_a_whole_table(
    people: list[str], viewer: Client, model: str, query: str
) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert viewer.get(page(model, "changelist") + query).status_code in (200, 302)
    asked = [q["sql"] for q in queries if re.search(rf'FROM "ml_models_{model}"', q["sql"])]
    assert asked
    assert [sql for sql in asked if "LIMIT" not in sql or "DISTINCT" in sql or re.search(r"GROUP BY.*LIMIT", sql)] == []


def test_a_subject_is_shown_with_the_number_of_its_references(people: list[str], viewer: Client) -> None:
    Subject.objects.create(subject_id="nobody-yet")
    rows = viewer.get(page("subject", "changelist")).context["cl"].result_list
    assert {row.subject_id: row.count for row in rows} == {"child-1": 1, "child-2": 1, "nobody-yet": None}
