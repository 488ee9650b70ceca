"""Every page of the panel that a link leads to, found by following them."""

import re
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group as Role
from django.core.management import call_command
from django.db.models.functions import Now
from playwright.sync_api import Page
from rest_framework.test import APIClient

from backend_easy.api_keys.models import ApiKey
from ml_models import rollouts
from ml_models.models import CredentialCount, EnsembleConfig, Reference, RolloutFailure, ServingProcess, StudyJob
from ml_models.services import NOBODY, groups
from ml_models.versions import files
from tests.conftest import Portraits
from tests.support.panel import shoot
from tests.support.uploads import verify

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]

LONG = "3f1c9a52-77b1-4c1e-9f0a-8e2b6f6a1d90-of-another-system-with-long-names"
# a file, and the end of the session
ELSEWHERE = ("/export/", "/logout/")
LEAST = 60


@pytest.fixture
def filled(validated: EnsembleConfig, service: APIClient, portraits: Portraits) -> None:
    """A row of each kind, with names as long as they come."""
    verify(service, "child-1", portraits.grace_hopper, capture_point="Bus 7, front door")
    assert service.delete("/api/v1/face/subjects/child-2").status_code == 200
    groups.put(NOBODY, LONG, ["child-1", LONG])
    call_command("ensure_roles")
    get_user_model().objects.get(username="kiosk").groups.set(Role.objects.all())
    ApiKey.objects.issue(get_user_model().objects.get(username="kiosk"), "The front door of the northern entrance")
    rollout = rollouts.open_rollout(validated, hold_for_approval=True)
    RolloutFailure.objects.create(rollout=rollout, reference=Reference.objects.all()[0], code="unreadable_chip")
    files.clone(validated)
    StudyJob.objects.create(config=validated, kind="evaluate", state="running", progress="embedding 30 %")
    problems = {"arcface_int8": "artifact_corrupt"}
    ServingProcess.objects.create(host=LONG, pid=7, heartbeat_at=Now(), started_at=Now(), problems=problems)
    CredentialCount.objects.create(credential="key:1", failures=30, slowed_until=Now())


def kind(path: str) -> str:
    """An address without what tells one row from another."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=/)(\d+|[a-z]+(?::|_3A)[^/]+)(?=/)", "…", path)


def test_every_page_that_a_link_leads_to_fits(filled: None, panel: Page, pictures: Path) -> None:
    todo, seen = deque(["/admin/"]), {"/admin/"}
    while todo:
        address = todo.popleft()
        answer = panel.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        shoot(panel, pictures, "link" + kind(address).replace("/", "-").replace("…", "x"))
        for link in panel.eval_on_selector_all("a[href]", "links => links.map(link => link.href)"):
            path = urlsplit(link).path
            if path.startswith("/admin/") and not path.endswith(ELSEWHERE) and kind(path) not in seen:
                seen.add(kind(path))
                todo.append(path)
    assert len(seen) >= LEAST, sorted(seen)
