"""The short form of `make fuzz`'s second half."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.authtoken.models import Token

from tests.fuzz.bodies import body
from tests.fuzz.doors import Report, one, run

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(admin_user: Any, settings: Any) -> Client:
    settings.ML_MODELS = {**settings.ML_MODELS, "LIMITS": {"caller": None, "subject": None}}
    token = Token.objects.create(user=admin_user)
    return Client(raise_request_exception=False, headers={"Authorization": f"Token {token.key}"})


def test_whatever_a_body_holds_it_is_answered_at_the_cost_of_its_length(client: Client) -> None:
    report = run(client, 0, 400, seed=2026)
    assert report.runs == 400
    assert report.findings == []
    # otherwise this tests little but the parsers' first lines: these were understood, and wait for a version
    assert report.codes["not_ready"] >= 20


def test_a_run_can_be_repeated() -> None:
    assert body(7, 1) == body(7, 1)
    assert body(7, 1) != body(7, 2)


def test_an_unforeseen_exception_is_a_finding(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr("ml_models.services.verify", broken)
    monkeypatch.setattr("ml_models.services.enroll", broken)
    report = Report()
    for index in range(100):
        one(client, index, 1, report)
    assert any("internal_error" in finding for finding in report.findings)
