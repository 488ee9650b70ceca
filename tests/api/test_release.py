"""A locked subject has a way back: over REST, by command, in the panel; for who may, and told of."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from ml_models.models import AuditEvent, CredentialCount, Subject
from ml_models.services import Caller, lockout
from tests.support.panel import press, told

pytestmark = pytest.mark.django_db


@pytest.fixture
def locked() -> Subject:
    """Child 1, whom strangers have locked."""
    return lock(Subject.objects.create(subject_id="child-1"))


def lock(subject: Subject) -> Subject:
    for number in range(5):
        lockout.settle(Caller(None, f"key:{number}"), subject.pk, subject.subject_id, "no_match")
    assert lockout.is_held(subject)
    return subject


@pytest.fixture
def supervisor(django_user_model: Any, grant: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(grant(django_user_model.objects.create_user("supervisor"), "release_subject"))
    return client


def release(client: APIClient, subject_id: str, end: str = "") -> tuple[int, Any]:
    answer = client.post(f"/api/v1/face/subjects/{subject_id}/release{end}")
    return answer.status_code, answer.json()


@pytest.mark.parametrize("end", ["", "/"])
def test_a_supervisor_releases_over_rest_once(
    supervisor: APIClient, locked: Subject, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert release(supervisor, "child-1", end) == (200, {"subject_id": "child-1", "released": True})
    assert not lockout.is_held(locked)
    assert f"released subject {locked.pk}: True" in caplog.text
    assert "child-1" not in caplog.text
    assert release(supervisor, "child-1", end) == (200, {"subject_id": "child-1", "released": False})
    event = AuditEvent.objects.get(kind="release")  # the second one lifted nothing
    assert (event.kind, event.code, bool(event.subject)) == ("release", "", True)
    assert event.credential_id == f"account:{event.caller}"


def test_who_is_not_there_or_has_no_id_is_not_released(supervisor: APIClient) -> None:
    answers = [release(supervisor, subject_id) for subject_id in ("nobody", "%00")]
    assert [(status, body["code"]) for status, body in answers] == [(404, "not_found"), (400, "invalid_request")]


def test_a_subject_whose_id_ends_in_release_is_a_subject_like_any_other(
    supervisor: APIClient, service: APIClient
) -> None:
    odd = lock(Subject.objects.create(subject_id="school/release"))
    assert release(supervisor, "school/release") == (200, {"subject_id": "school/release", "released": True})
    assert service.get("/api/v1/face/subjects/school/release").json()["subject_id"] == "school/release"
    assert service.delete("/api/v1/face/subjects/school/release").status_code == 200
    assert not Subject.objects.filter(pk=odd.pk).exists()


def test_the_permission_to_verify_enroll_read_and_erase_is_not_the_one_to_release(
    service: APIClient, locked: Subject
) -> None:
    status, body = release(service, "child-1")
    assert (status, body["code"]) == (403, "forbidden")
    assert lockout.is_held(locked)


def test_the_button_releases_and_says_so(admin_client: Client, locked: Subject) -> None:
    assert "can be verified again" in told(press(admin_client, "subject", "release", locked.pk))
    assert "no lock to lift" in told(press(admin_client, "subject", "release", locked.pk))


def run(*arguments: str) -> Any:
    out = StringIO()
    call_command("release", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_the_command_releases_a_subject_once(locked: Subject) -> None:
    assert [run("subject", "child-1"), run("subject", "child-1")] == [{"released": True}, {"released": False}]
    with pytest.raises(CommandError, match="not_found"):
        run("subject", "nobody")


def test_a_credential_is_released_by_command_and_button_once(admin_client: Client) -> None:
    def slowed() -> CredentialCount:
        until = timezone.now() + timedelta(hours=1)
        return CredentialCount.objects.create(credential="key:bus", visits=20, failures=20, slowed_until=until)

    slowed()
    assert [run("credential", "key:bus"), run("credential", "key:bus")] == [{"released": True}, {"released": False}]
    released = AuditEvent.objects.filter(kind="release")
    assert list(released.values_list("facts", flat=True)) == [{"credential": "key:bus"}]
    assert "begins anew" in told(press(admin_client, "credentialcount", "release", slowed().pk))
    child = Subject.objects.create(subject_id="child-1")
    lockout.settle(Caller(None, "key:bus"), child.pk, "child-1", "match")
