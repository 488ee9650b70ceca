"""Somebody who has never seen the panel finds what needs them, by what the page calls it."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models.functions import Now
from playwright.sync_api import Page, expect
from rest_framework.test import APIClient

from ml_models.models import Subject
from tests.conftest import Portraits
from tests.support.panel import shoot
from tests.support.uploads import verify

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]


@pytest.fixture
def locked(people: list[str], service: APIClient, portraits: Portraits) -> None:
    assert verify(service, "child-1", portraits.grace_hopper, capture_point="front door").status_code == 200
    Subject.objects.filter(subject_id="child-1").update(locked_until=Now() + timedelta(hours=1), failures=10)


def test_a_locked_child_is_released_in_three_clicks(locked: None, panel: Page, pictures: Path) -> None:
    shoot(panel, pictures, "overview")
    clicks: list[None] = []
    panel.expose_function("clicked", lambda: clicks.append(None))
    panel.add_init_script("addEventListener('click', () => window.clicked(), true);")
    panel.reload()
    panel.get_by_role("link", name="child-1 is locked out until").click()
    expect(panel.get_by_role("link", name="no match, front door")).to_be_visible()
    shoot(panel, pictures, "subject")
    panel.get_by_role("link", name="Release").click()
    panel.get_by_role("button", name="Release").click()
    expect(panel.get_by_text("Released: the subject can be verified again.")).to_be_visible()
    assert len(clicks) == 3
    assert not Subject.objects.filter(locked_until__gt=Now()).exists()


def test_a_childs_last_refusal_is_found_by_the_hosts_id(locked: None, panel: Page, pictures: Path) -> None:
    panel.get_by_label("The host's whole subject id").fill("child-1")
    panel.get_by_role("button", name="Find").click()
    last = panel.get_by_role("listitem").filter(has_text="no match, front door")
    expect(last).to_contain_text("minute")
    panel.get_by_role("link", name="Enrol another picture").click()
    expect(panel.get_by_label("The host's subject id")).to_have_value("child-1")
    shoot(panel, pictures, "enrol")
    panel.get_by_role("link", name="Timeline").click()
    expect(panel.get_by_role("link", name="enroll").first).to_be_visible()
    shoot(panel, pictures, "timeline")
    panel.get_by_role("link", name="Live traffic").click()
    expect(panel.get_by_role("heading", name="Decisions by day")).to_be_visible()
