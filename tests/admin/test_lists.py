"""Lists of tables that may be of any size: what they count, offer and ask the database."""

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ml_models.admin import lists
from ml_models.admin.base import Panel
from ml_models.models import Reference, Subject, Verification
from tests.admin.test_hidden_fields import PANELS
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


def test_attempts_of_a_slowed_credential_are_found_by_their_code(staff: Any) -> None:
    operator = staff("view_verification", "view_identification")
    for model in ("verification", "identification"):
        assert "?code=throttled" in operator.get(page(model, "changelist")).content.decode()


def test_a_list_before_the_first_estimate_is_as_long_as_was_counted(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_ROWS", 2)
    monkeypatch.setattr(lists, "_estimate", lambda table: -1)
    Verification.objects.bulk_create(Verification(decision="match") for _ in range(5))
    assert shown(viewer).result_count == 3


def test_every_list_has_a_text_of_its_own_while_it_is_empty(client: Client, django_user_model: Any) -> None:
    # by a way that leaves no event
    root = django_user_model(username="root", is_staff=True, is_superuser=True)
    client.force_login(django_user_model.objects.bulk_create([root])[0])
    texts = []
    for model, panel in PANELS:
        empty = client.get(page(str(model._meta.model_name), "changelist"))
        assert panel.nothing in unescape(empty.text), model
        assert "Create a new item" not in empty.text
        texts.append(panel.nothing)
    assert len(set(texts)) == len(texts)
    narrowed = client.get(page("verification", "changelist"), {"decision": "match"}).text
    assert "Nothing matches." in narrowed


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pages of each."""
    monkeypatch.setattr(Panel, "list_per_page", 1)
    for name in ("child-1", "child-2"):
        subject = Subject.objects.create(subject_id=name)
        Reference.objects.create(subject=subject, chip=b"", quality={})
        Verification.objects.create(subject=subject, decision="match")


@pytest.mark.parametrize("model", LARGE)
def test_no_list_counts_or_groups_a_whole_table(few: None, viewer: Client, model: str) -> None:
    for query in ("", "?_facets=True", "?o=1", "?o=2"):
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(page(model, "changelist") + query).status_code == 200
        asked = [q["sql"] for q in queries if f'FROM "ml_models_{model}"' in q["sql"]]
        assert asked
        assert [sql for sql in asked if "LIMIT" not in sql or re.search("DISTINCT|JOIN .*GROUP BY", sql)] == [], query


def test_a_subject_is_shown_with_the_number_of_its_references(few: None, viewer: Client) -> None:
    Subject.objects.create(subject_id="nobody-yet")
    rows = [
        viewer.get(page("subject", "changelist") + f"?p={number}").context["cl"].result_list for number in (1, 2, 3)
    ]
    assert {row.subject_id: row.count for [row] in rows} == {"child-1": 1, "child-2": 1, "nobody-yet": None}
