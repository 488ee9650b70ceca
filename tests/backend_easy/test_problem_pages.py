"""What the panel says when a page is refused, is not there or fails: in words, with what to do next."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from ml_models.admin import overview

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:ml_models_overview")


@pytest.fixture
def operator(django_user_model: Any) -> Any:
    return django_user_model.objects.create_superuser("operator", password="right horse battery")


@pytest.fixture
def panel(operator: Any) -> Client:
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    client.force_login(operator)
    return client


def says(answer: Any, status: int, heading: str) -> bool:
    text = answer.content.decode()
    assert answer.status_code == status, text
    return f"<h1>{heading}</h1>" in text and f'<a href="{PAGE}">' in text


def test_each_problem_has_a_page_that_leads_on(panel: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert says(panel.get("/admin/nowhere/"), 404, "There is no such page")
    assert says(panel.get(reverse("admin:ml_models_subject_changelist"), {"q": "\0"}), 400, "This could not be read")
    assert says(panel.post(reverse("admin:ml_models_subject_find"), {"sought": "x"}), 403, "The form was too old")

    def refused(**_: Any) -> None:
        raise PermissionDenied

    monkeypatch.setattr(overview, "notices", refused)
    assert says(panel.get(PAGE), 403, "You may not do this")

    def broken(**_: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(overview, "notices", broken)
    answer = panel.get(PAGE)
    assert says(answer, 500, "Something failed here")
    assert b"a fault of ours" not in answer.content


def test_a_name_that_is_locked_is_told_how_long(operator: Any, settings: Any) -> None:
    client = Client()
    for turn in range(settings.AXES_FAILURE_LIMIT):
        answer = client.post("/admin/login/", {"username": "operator", "password": f"guess {turn}"})
    assert says(answer, 429, "Too many wrong passwords")
    assert f"{settings.AXES_COOLOFF_TIME.total_seconds() / 60:.0f} minutes" in answer.content.decode()


def test_logging_out_leads_to_the_log_in(operator: Any) -> None:
    client = Client()
    client.force_login(operator)
    answer = client.post("/admin/logout/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/")
    assert client.get(PAGE).status_code == 302
