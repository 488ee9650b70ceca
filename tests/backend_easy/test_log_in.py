"""Log-ins into the admin are limited, and no stranger keeps the operator out."""

from __future__ import annotations

import runpy
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings

from backend_easy.clients import address
from devstack.state import ROOT

pytestmark = pytest.mark.django_db

STRANGER, OPERATOR = "198.51.100.7", "203.0.113.9"


@pytest.fixture(autouse=True)
def account(django_user_model: Any) -> Any:
    return django_user_model.objects.create_superuser("admin", password="right horse battery")


def log_in(password: str, source: str, **headers: str) -> int:
    """302 for the way in, 200 for the form again, 429 for not now."""
    sent = {"username": "admin", "password": password}
    return Client().post("/admin/login/?next=/admin/", sent, REMOTE_ADDR=source, headers=headers).status_code


def test_a_guesser_is_locked_the_operator_is_not_and_the_lock_ends(settings: Settings) -> None:
    answers = [log_in(f"guess {turn}", STRANGER) for turn in range(7)]
    assert answers == [200, 200, 200, 200, 429, 429, 429]
    assert log_in("right horse battery", STRANGER) == 429  # a hit would tell
    assert log_in("right horse battery", OPERATOR) == 302

    from axes.models import AccessAttempt

    AccessAttempt.objects.update(attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME - timedelta(seconds=1))
    assert log_in("right horse battery", STRANGER) == 302


def test_behind_a_proxy_the_guesser_is_locked_and_not_the_proxy(settings: Settings) -> None:
    settings.PROXIES = 1
    for turn in range(5):
        log_in(f"guess {turn}", "10.0.0.1", **{"x-forwarded-for": STRANGER})
    assert log_in("right horse battery", "10.0.0.1", **{"x-forwarded-for": STRANGER}) == 429
    assert log_in("right horse battery", "10.0.0.1", **{"x-forwarded-for": OPERATOR}) == 302


def test_typos_before_a_log_in_are_forgotten_and_no_log_of_it_is_kept() -> None:
    from axes.models import AccessLog

    for _ in range(2):
        for turn in range(4):
            log_in(f"typo {turn}", OPERATOR)
        assert log_in("right horse battery", OPERATOR) == 302
    assert not AccessLog.objects.exists()


def test_a_failure_while_locked_does_not_prolong_the_lock() -> None:
    from axes.models import AccessAttempt

    for turn in range(5):
        log_in(f"guess {turn}", STRANGER)
    began = AccessAttempt.objects.get().attempt_time
    log_in("guess again", STRANGER)
    assert AccessAttempt.objects.get().attempt_time == began


def test_an_operator_who_was_locked_is_let_in_by_a_command(capsys: Any) -> None:
    for turn in range(5):
        log_in(f"typo {turn}", OPERATOR)
    assert log_in("right horse battery", OPERATOR) == 429
    call_command("axes_reset_username", "admin")
    assert log_in("right horse battery", OPERATOR) == 302


def test_nothing_that_was_typed_is_kept() -> None:
    from axes.models import AccessAttempt

    log_in("my other password", STRANGER)
    row = AccessAttempt.objects.values().get()
    assert "my other password" not in str(row)


@pytest.mark.parametrize(("environment", "proxies"), [({}, 0), ({"BEHIND_TLS": "1"}, 1), ({"PROXIES": "2"}, 2)])
def test_who_ends_tls_is_a_proxy(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxies: int) -> None:
    for name in ("BEHIND_TLS", "PROXIES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert runpy.run_path(str(ROOT / "backend_easy" / "settings.py"))["PROXIES"] == proxies


@pytest.mark.parametrize(
    ("proxies", "forwarded", "peer", "taken"),
    [
        (0, "10.9.9.9", "198.51.100.7", "198.51.100.7"),  # nobody of ours wrote that
        (1, "", "198.51.100.7", "198.51.100.7"),
        (1, "203.0.113.9", "10.0.0.1", "203.0.113.9"),
        (1, "10.9.9.9, 203.0.113.9", "10.0.0.1", "203.0.113.9"),  # the client wrote the first
        (2, "10.9.9.9, 203.0.113.9, 10.0.0.2", "10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "10.0.0.1", "10.0.0.1"),
        (1, "nonsense", "10.0.0.1", "10.0.0.1"),
        (1, "2001:db8:1:2:3:4:5:6", "10.0.0.1", "2001:db8:1:2::"),
    ],
)
def test_the_address_is_the_one_that_our_outermost_proxy_saw(
    settings: Settings, proxies: int, forwarded: str, peer: str, taken: str
) -> None:
    settings.PROXIES = proxies
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    assert address(RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers)) == taken
