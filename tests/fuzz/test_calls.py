"""The short form of `make fuzz`'s third part."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from rest_framework.authtoken.models import Token
from rest_framework.response import Response

from backend_easy.wsgi import application
from ml_models.api.views import HealthView
from tests.conftest import Portraits
from tests.fuzz.calls import ADMINISTRATOR, Known, run

pytestmark = pytest.mark.django_db


@pytest.fixture
def known(people: list[str], portraits: Portraits, settings: Any) -> Iterator[Known]:
    settings.ML_MODELS = {**settings.ML_MODELS, "LIMITS": {"caller": None, "subject": None}, "REENROL_WINDOW_DAYS": 0}
    # the application closes its connection after an answer, and this test's transaction with it
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield Known(people, [portraits.eileen_collins, portraits.grace_hopper])
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def tokens(admin_user: Any) -> dict[str, str]:
    return {ADMINISTRATOR: Token.objects.create(user=admin_user).key}


def test_every_answer_is_one_that_the_document_promises(known: Known, tokens: dict[str, str]) -> None:
    report = run(application, known, tokens, calls=150, seed_=17, roles=[ADMINISTRATOR], in_a_row=6)
    assert report.calls >= 150
    assert report.findings == {}
    # otherwise this tests refusals only
    assert report.done["GET /api/v1/face/subjects/{subject_id}"] >= 1


def test_an_answer_that_it_does_not_promise_is_a_finding(
    known: Known, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr("ml_models.services.erase_subject", broken)
    monkeypatch.setattr(HealthView, "get", lambda *_: Response({"alive": True}))
    report = run(application, known, tokens, calls=50, seed_=17, roles=[ADMINISTRATOR], in_a_row=2)
    assert set(report.findings) == {
        f"{ADMINISTRATOR}, DELETE /api/v1/face/subjects/{{subject_id}}: internal_error",
        f"{ADMINISTRATOR}, GET /healthz: 200: Response violates schema",
    }
