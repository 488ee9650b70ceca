"""A roster, and whoever may search it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from ml_models import runtime, services
from ml_models.models import AuditEvent
from ml_models.services import groups, identification
from tests.support.served import rewrite

RIGHTS = ("identify_group", "identify_subject", "view_candidates", "view_scores")


def block(match: float = 1.0, review: float = 0.0) -> dict[str, Any]:
    """Offsets to verify's thresholds that do not rise: what the size changes is asked in tests/engine."""
    offsets = [{"candidates": count, "match": match, "review": review} for count in (1, 2000)]
    return {"target_fpir": 0.001, "offsets": offsets}


@pytest.fixture
def roster(people: list[str]) -> str:
    """A group of both, and of one who is not enrolled, under a version that can identify."""
    rewrite(identification=block())
    runtime.refresh()
    groups.put(services.NOBODY, "bus/7", [*people, "child-3"])
    return "bus/7"


@pytest.fixture
def shortlist(roster: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The roster is a large one: only the nearest candidate is compared by every member."""
    monkeypatch.setattr(identification, "LARGE_ROSTER", 2)
    monkeypatch.setattr(identification, "SHORTLIST", 1)
    return roster


@pytest.fixture
def door(django_user_model: Any, grant: Callable[..., Any]) -> APIClient:
    client = APIClient()
    client.force_authenticate(grant(django_user_model.objects.create_user("door"), *RIGHTS))
    return client


def identify(client: APIClient, *images: bytes, **body: Any) -> Any:
    files = [SimpleUploadedFile(f"frame{i}.jpg", data, "image/jpeg") for i, data in enumerate(images)]
    return client.post("/api/v1/face/identify", {"image": files, **body}, format="multipart")


def events() -> list[tuple[str, bool]]:
    rows = AuditEvent.objects.filter(kind=AuditEvent.Kind.IDENTIFY).order_by("id")
    return [(row.code, bool(row.subject)) for row in rows]
