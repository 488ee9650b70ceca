"""How often: per caller, per subject, and the lock after faces that are not the subject's."""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, connections
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from ml_models import signals
from ml_models.exceptions import LockedOut
from ml_models.models import EnsembleConfig, Reference, Subject, Verification
from ml_models.services import NOBODY, Caller, limits, lockout, monitoring
from tests.conftest import Portraits
from tests.support.clock import pass_
from tests.support.counted import counted
from tests.support.pictures import another
from tests.support.served import ROOT
from tests.support.uploads import enroll, verify


@pytest.fixture(autouse=True)
def fresh_counts() -> None:
    cache.clear()
    limits.own.clear()
    limits.breaker.worked()


@pytest.fixture
def configure(settings: Settings) -> Callable[..., None]:
    def change(**changes: Any) -> None:
        settings.ML_MODELS = {**settings.ML_MODELS, **changes}

    return change


def ask(client: APIClient, subject_id: str = "nobody") -> Any:
    return client.get(f"/api/v1/face/subjects/{subject_id}")


def refused(response: Any) -> bool:
    if response.status_code != 429:
        return False
    assert response.json()["code"] == "throttled"
    assert 1 <= int(response["Retry-After"]) <= 3600
    return True


@pytest.mark.django_db
def test_a_caller_is_throttled_over_all_calls_and_others_are_not(service: APIClient, user: Any, configure: Any) -> None:
    configure(LIMITS={"caller": (3, 3600), "subject": None})
    assert [refused(ask(service, f"subject-{i}")) for i in range(4)] == [False, False, False, True]
    assert refused(service.post("/api/v1/face/verify", {}, format="json"))
    other = APIClient()
    other.force_authenticate(user)
    assert not refused(ask(other))
    assert service.get("/healthz").status_code == 200


@pytest.mark.django_db
def test_a_subject_is_throttled_over_all_callers(service: APIClient, user: Any, grant: Any, configure: Any) -> None:
    configure(LIMITS={"caller": None, "subject": (3, 3600)})
    other = APIClient()
    other.force_authenticate(grant(user, "read_subject"))
    assert [refused(ask(client)) for client in (service, other, service, other)] == [False, False, False, True]
    assert not refused(ask(service, "somebody else"))


@pytest.mark.django_db
def test_a_throttled_call_leaves_no_trace(service: APIClient, configure: Any, portraits: Portraits) -> None:
    configure(LIMITS={"caller": (1, 3600), "subject": None})
    ask(service)
    assert refused(enroll(service, "child-1", portraits.eileen_collins))
    assert not Subject.objects.exists()


def test_the_limit_is_exact_under_a_race(configure: Any) -> None:
    configure(LIMITS={"caller": (20, 3600)})
    gate = threading.Barrier(8)

    def hammer(_: int) -> int:
        gate.wait()
        return sum(limits.spend("caller", "kiosk") is None for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hammer, range(8))) == 20


_ANOTHER_PROCESS = """
import django
django.setup()
from django.test.utils import override_settings
from ml_models.services import limits
with override_settings(ML_MODELS={"LIMITS": {"caller": (20, 3600)}}):
    print(sum(limits.spend("caller", "kiosk") is None for _ in range(15)))
"""


def test_the_limit_holds_across_processes(configure: Any) -> None:
    configure(LIMITS={"caller": (20, 3600)})
    command = [sys.executable, "-c", _ANOTHER_PROCESS]
    others = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    allowed = sum(limits.spend("caller", "kiosk") is None for _ in range(15))
    assert allowed + sum(int(other.communicate(timeout=60)[0]) for other in others) == 20


def test_a_host_that_sets_one_limit_keeps_the_others(configure: Any) -> None:
    configure(LIMITS={"caller": None})
    assert limits.spend("caller", "kiosk", 1_000_000) is None
    assert limits.spend("candidates", "kiosk", 1_000_000)


def test_a_caller_and_a_subject_of_one_name_are_counted_apart(configure: Any) -> None:
    configure(LIMITS={"caller": (1, 3600), "subject": (1, 3600)})
    assert [limits.spend(scope, "17") is None for scope in ("caller", "subject", "caller")] == [True, True, False]


def test_the_next_window_opens_by_itself_and_when_is_told(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(LIMITS={"caller": (1, 60)})
    now = [60_045.0]
    monkeypatch.setattr("ml_models.services.limits.time.time", lambda: now[0])
    assert [limits.spend("caller", "kiosk") for _ in range(3)] == [None, 15, 15]
    now[0] += 14
    assert limits.spend("caller", "kiosk") == 1
    now[0] += 1
    assert limits.spend("caller", "kiosk") is None


def test_the_cache_holds_no_id_in_the_clear(configure: Any) -> None:
    limits.spend("subject", "anna-lena-7")
    keys = cache._cache.get_client().keys("*")  # type: ignore[attr-defined]
    assert keys
    assert not any(b"anna" in key for key in keys)


def test_what_another_process_counts_first_in_a_window_is_kept(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(LIMITS={"caller": (3, 3600)})

    def count(key: str, uses: int) -> int:
        if cache.get(key) is None:
            cache.set(key, 3, timeout=60)  # the other, between the look and the first count
            raise ValueError(key)
        return cache.incr(key, uses)

    monkeypatch.setattr(limits, "cache", SimpleNamespace(incr=count, add=cache.add))
    assert limits.spend("caller", "kiosk") is not None


def test_without_the_cache_a_process_counts_alone(configure: Any, settings: Settings, caplog: Any) -> None:
    configure(LIMITS={"caller": (2, 3600)})
    backend = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "redis://127.0.0.1:1/0"}}
    failures = counted("ml_models_cache_failures_total", cache="default")
    assert [limits.spend("caller", "kiosk") is None for _ in range(3)] == [True, True, False]
    assert counted("ml_models_cache_failures_total", cache="default") == failures + 1
    assert counted("ml_models_cache_breaker_open", cache="default") == 1
    assert "the cache does not answer" in caplog.text
    assert "kiosk" not in caplog.text


def test_a_cache_that_keeps_nothing_does_not_open_the_door(configure: Any, settings: Settings) -> None:
    configure(LIMITS={"caller": (2, 3600)})
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert [limits.spend("caller", "kiosk") is None for _ in range(3)] == [True, True, False]


# --- the lock ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def enrolled(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> str:
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    return "child-1"


@pytest.mark.django_db
def test_faces_that_are_not_the_subjects_lock_it_for_a_while(
    service: APIClient,
    enrolled: str,
    portraits: Portraits,
    configure: Any,
    django_capture_on_commit_callbacks: Any,
) -> None:
    configure(LOCKOUT_AFTER=3, LOCKOUT_S=600)
    locked = counted("ml_models_lockouts_total", who="subject")
    heard: list[dict[str, Any]] = []
    signals.subject_locked_out.connect(lambda **facts: heard.append(facts), weak=False, dispatch_uid="test")
    with django_capture_on_commit_callbacks(execute=True):
        decisions = [verify(service, enrolled, portraits.grace_hopper).json().get("decision") for _ in range(3)]
    signals.subject_locked_out.disconnect(dispatch_uid="test")
    assert decisions == ["no_match"] * 3
    assert [(facts["subject_id"], facts["seconds"]) for facts in heard] == [(enrolled, 600)]
    assert counted("ml_models_lockouts_total", who="subject") == locked + 1
    (now,) = (gauge.values for gauge in monitoring.gauges() if gauge.name == "ml_models_subjects_locked")
    assert now == {(): 1}

    rows = Verification.objects.count()
    response = verify(service, enrolled, portraits.eileen_collins)
    assert (response.status_code, response.json()["code"]) == (429, "locked_out")
    assert 590 <= int(response["Retry-After"]) <= 600
    assert list(Verification.objects.order_by("at").values_list("code", "decision"))[rows:] == [("locked_out", "")]

    Subject.objects.update(locked_until=timezone.now() - timedelta(seconds=1))
    assert verify(service, enrolled, portraits.eileen_collins).json()["decision"] == "match"


@pytest.mark.django_db
def test_a_match_ends_the_row_of_failures_and_so_does_time(
    service: APIClient, enrolled: str, portraits: Portraits, configure: Any
) -> None:
    configure(LOCKOUT_AFTER=2, LOCKOUT_S=600)
    for picture in (portraits.grace_hopper, portraits.eileen_collins, portraits.grace_hopper):
        assert verify(service, enrolled, picture).status_code == 200
    pass_(days=1)
    for picture in (portraits.grace_hopper, portraits.eileen_collins):
        assert verify(service, enrolled, picture).status_code == 200


@pytest.mark.django_db
def test_a_picture_that_cannot_be_used_does_not_count(service: APIClient, enrolled: str, configure: Any) -> None:
    configure(LOCKOUT_AFTER=1)
    for _ in range(3):
        assert verify(service, enrolled, b"no picture").status_code == 422
    assert Subject.objects.get().failures == 0


@pytest.mark.django_db
def test_enrolling_is_no_way_around_the_lock(
    service: APIClient, enrolled: str, portraits: Portraits, configure: Any, grant: Any, django_user_model: Any
) -> None:
    configure(LOCKOUT_AFTER=2)
    codes = [enroll(service, enrolled, portraits.grace_hopper).json()["code"] for _ in range(3)]
    assert codes == ["reference_mismatch", "reference_mismatch", "locked_out"]
    further = another(portraits.eileen_collins)
    assert enroll(service, enrolled, further).json()["code"] == "locked_out"
    assert Reference.objects.count() == 1

    grant(django_user_model.objects.get(username="kiosk"), "override_reference")
    assert enroll(service, enrolled, further, override="true").status_code == 201


@pytest.mark.django_db
def test_a_person_on_the_spot_can_lift_the_lock(
    service: APIClient, enrolled: str, portraits: Portraits, configure: Any
) -> None:
    configure(LOCKOUT_AFTER=1)
    verify(service, enrolled, portraits.grace_hopper)
    assert verify(service, enrolled, portraits.eileen_collins).json()["code"] == "locked_out"
    assert lockout.release(NOBODY, enrolled)
    assert not lockout.release(NOBODY, enrolled)
    assert verify(service, enrolled, portraits.eileen_collins).json()["decision"] == "match"


def settle(subject: Subject, decision: str, credential: str = "key:a") -> bool:
    try:
        lockout.settle(Caller(None, credential), subject.pk, subject.subject_id, decision)
    except LockedOut:
        return False
    finally:
        connection.close()
    return True


@pytest.mark.django_db(transaction=True)
def test_attempts_side_by_side_learn_no_more_than_the_lock_allows(configure: Any) -> None:
    configure(LOCKOUT_AFTER=5, LOCKOUT_S=600)
    subject = Subject.objects.create(subject_id="child-1")
    gate = threading.Barrier(16)

    def attempt(number: int) -> bool:
        gate.wait()
        return settle(subject, "no_match", f"key:{number}")

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(16))) == 5
    # nor may one that began before the lock be told that it matched
    assert not settle(subject, "match")
    assert not settle(subject, "review")
    connections.close_all()
