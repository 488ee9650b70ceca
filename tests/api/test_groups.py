"""Rosters: written whole or by changes, the same when sent twice, and left by who is erased."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from ml_models import services
from ml_models.exceptions import NotFound
from ml_models.models import AuditEvent, EnsembleConfig, Erasure, Group, Membership, Reference, Subject
from ml_models.services import audit, erasure, groups
from tests.conftest import Portraits
from tests.support.races import LONG_S, Parking
from tests.support.uploads import enroll

pytestmark = pytest.mark.django_db

BUS = "/api/v1/face/groups/bus/7"
RIGHTS = ("read_group", "write_group", "erase_group")


@pytest.fixture
def host(django_user_model: Any, grant: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(grant(django_user_model.objects.create_user("host"), *RIGHTS))
    return client


def put(client: APIClient, *members: str, path: str = BUS) -> Any:
    return client.put(path, {"subject_ids": members}, format="json")


def patch(client: APIClient, **changes: list[str]) -> Any:
    return client.patch(BUS, changes, format="json")


@pytest.mark.parametrize(
    ("sent", "members"),
    [
        (["child-2", "child-1"], ["child-1", "child-2"]),
        ('["child-2", "child-1"]', ["child-1", "child-2"]),  # what JSON.stringify makes of a list
        ("[]", []),
        (["[7]", '["a"]'], ['["a"]', "[7]"]),
        ('["child-1"', ['["child-1"']),
        ("[7]", ["[7]"]),
        ("[" * 90 + "]" * 90, ["[" * 90 + "]" * 90]),
    ],
)
def test_in_a_form_a_roster_is_a_part_for_each_or_one_with_a_list(host: APIClient, sent: Any, members: Any) -> None:
    answer = host.put(BUS, {"subject_ids": sent}, format="multipart")
    assert (answer.status_code, answer.json()["subject_ids"]) == (201, members)


def events() -> list[tuple[str, str, dict[str, Any]]]:
    kinds = (AuditEvent.Kind.WRITE_GROUP, AuditEvent.Kind.ERASE_GROUP)
    rows = AuditEvent.objects.filter(kind__in=kinds).order_by("id")
    return [(row.kind, row.code, {k: v for k, v in row.facts.items() if k != "group"}) for row in rows]


def enrolled(subject_id: str) -> Subject:
    """With a reference; what is in it does not matter here."""
    subject = Subject.objects.create(subject_id=subject_id)
    Reference.objects.create(subject=subject, chip=b"", quality={"score": 0.5})
    return subject


def test_a_roster_is_kept_before_everybody_on_it_is_enrolled(host: APIClient) -> None:
    enrolled("child-1")
    Subject.objects.create(subject_id="child-2")  # its references were erased
    answer = put(host, "child-2", "child-1", "child-3", "child-1")
    roster = {
        "group_id": "bus/7",
        "size": 3,
        "subject_ids": ["child-1", "child-2", "child-3"],
        "not_enrolled": ["child-2", "child-3"],
    }
    assert (answer.status_code, answer.json()) == (201, roster)
    assert host.get(BUS).json() == roster
    enrolled("child-3")
    assert host.get(BUS).json()["not_enrolled"] == ["child-2"]


def test_a_put_makes_it_so_and_a_second_one_changes_nothing(host: APIClient) -> None:
    assert put(host, "child-1", "child-2").status_code == 201
    for _ in range(2):
        answer = put(host, "child-2", "child-3")
        assert (answer.status_code, answer.json()["subject_ids"]) == (200, ["child-2", "child-3"])
    assert put(host).json()["size"] == 0
    assert events() == [
        ("write_group", "", {"added": 2, "removed": 0}),
        ("write_group", "", {"added": 1, "removed": 1}),
        ("write_group", "", {"added": 0, "removed": 2}),
    ]


def test_a_patch_adds_and_removes_and_a_second_one_changes_nothing(host: APIClient) -> None:
    put(host, "child-1", "child-2")
    for _ in range(2):
        answer = patch(host, add=["child-3", "child-1"], remove=["child-2", "nobody"])
        assert (answer.status_code, answer.json()["subject_ids"]) == (200, ["child-1", "child-3"])
    assert patch(host, add=[], remove=[]).status_code == 200
    assert events()[1:] == [("write_group", "", {"added": 1, "removed": 1})]


def test_a_subject_may_be_in_many_groups_and_they_go_one_by_one(host: APIClient) -> None:
    put(host, "child-1")
    put(host, "child-1", path="/api/v1/face/groups/class")
    assert host.delete(BUS).status_code == 204
    assert [m.group.group_id for m in Membership.objects.filter(subject_id="child-1")] == ["class"]
    assert (host.delete(BUS).status_code, host.get(BUS).status_code, patch(host, add=[]).status_code) == (404,) * 3
    assert events()[2:] == [("erase_group", "", {"removed": 1})]


def test_what_is_refused_changes_nothing(host: APIClient) -> None:
    put(host, "child-1")
    full = [f"child-{number}" for number in range(groups.MAX_MEMBERS)]
    refused = [
        put(host, *full, "one-more"),
        put(host, "child-2", " child-3"),
        put(host, "child-2", "a\x00b"),
        patch(host, add=["child-2"], remove=["child-2"]),
        patch(host, add=[*full[2:], "more", "and-more"]),
        patch(host, add=[""]),
        patch(host),
        patch(host, subject_ids=["child-2"]),
        host.put(BUS, {"subject_ids": "child-2"}, format="json"),
        host.put("/api/v1/face/groups/..", {"subject_ids": []}, format="json"),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(400, "invalid_request")] * 10
    assert host.get(BUS).json()["subject_ids"] == ["child-1"]
    assert Group.objects.count() == 1
    assert put(host, *full).json()["size"] == groups.MAX_MEMBERS
    assert "child-0" not in put(host, *full, "one-more").content.decode()


@pytest.mark.parametrize("right", RIGHTS)
def test_each_right_opens_its_own_calls_and_a_refusal_leaves_an_event(right: str, user: Any, grant: Any) -> None:
    groups.put(services.NOBODY, "bus/7", ["child-1"])
    client = APIClient()
    client.force_authenticate(grant(user, right))
    needed: dict[str, list[Callable[[APIClient], Any]]] = {
        "read_group": [host_get],
        "write_group": [put, patch],
        "erase_group": [host_delete],
    }
    before = len(events())
    for permission, calls in needed.items():
        for call in calls:
            assert (call(client).status_code == 403) == (permission != right)
    refused = [event for event in events()[before:] if event[1] == "forbidden"]
    assert len(refused) == {"read_group": 3, "write_group": 1, "erase_group": 2}[right]


def host_get(client: APIClient) -> Any:
    return client.get(BUS)


def host_delete(client: APIClient) -> Any:
    return client.delete(BUS)


def own_bus(user: Any, action: str, group_id: str) -> bool:
    """A host's own policy."""
    return action == "read" and group_id == f"bus/{user.username}"


def test_the_host_can_bring_its_own_policy_for_groups(user: Any, settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "GROUP_POLICY": f"{__name__}.own_bus"}
    client = APIClient()
    client.force_authenticate(user)
    own = f"/api/v1/face/groups/bus/{user.username}"
    assert client.get(own).status_code == 404
    assert client.get(BUS).status_code == 403
    assert put(client, "child-1", path=own).status_code == 403


def test_erasure_leaves_every_group(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> None:
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    for bus in ("bus/7", "bus/8"):
        groups.put(services.NOBODY, bus, ["child-1", "child-2"])
    assert services.erase_subject(services.NOBODY, "child-1") == 1
    assert {m.subject_id for m in Membership.objects.all()} == {"child-2"}
    assert services.erase_subject(services.NOBODY, "child-2") == 0  # in a group, never enrolled
    erased = AuditEvent.objects.filter(kind=AuditEvent.Kind.ERASE_SUBJECT).order_by("id")
    assert [event.facts for event in erased] == [{"references": 1}, {"references": 0, "groups": 2}]
    assert Erasure.objects.count() == 1
    assert not Membership.objects.exists()
    assert Group.objects.count() == 2
    with pytest.raises(NotFound):
        services.erase_subject(services.NOBODY, "child-2")


def test_an_erasure_that_fails_leaves_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = enrolled("child-1")
    groups.put(services.NOBODY, "bus/7", ["child-1"])

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(audit, "record", fail)
    with pytest.raises(RuntimeError):
        services.erase_row(services.NOBODY, subject.pk)
    assert Membership.objects.count() == 1


def test_a_put_whose_group_is_made_and_deleted_beside_it_makes_it_all_the_same(host: APIClient) -> None:
    overtaken: list[str] = []

    def beside(execute: Any, sql: str, *of: Any) -> Any:
        if overtaken or not sql.startswith('INSERT INTO "ml_models_group"'):
            return execute(sql, *of)
        overtaken.append(sql)
        theirs = Group.objects.create(group_id="bus/7")
        try:
            return execute(sql, *of)
        finally:
            theirs.delete()

    with connection.execute_wrapper(beside):
        answer = put(host, "child-1")
    assert (len(overtaken), answer.status_code, answer.json()["subject_ids"]) == (1, 201, ["child-1"])


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_one_group_take_turns(monkeypatch: pytest.MonkeyPatch, background: Callable[..., Any]) -> None:
    groups.put(services.NOBODY, "bus/7", ["child-1"])
    parking = Parking(monkeypatch, groups, "_members", after=True)
    first = background(groups.change, services.NOBODY, "bus/7", ["child-2"], ["child-1"])
    parking.arrive()
    second = background(groups.put, services.NOBODY, "bus/7", ["child-1", "child-3"])
    parking.let_go()
    assert first.result(LONG_S).subject_ids == ("child-2",)
    assert second.result(LONG_S).subject_ids == ("child-1", "child-3")
    assert groups.get("bus/7").subject_ids == ("child-1", "child-3")


@pytest.mark.django_db(transaction=True)
def test_an_erasure_beside_a_put_ends_with_nobodys_name_but_the_hosts(
    monkeypatch: pytest.MonkeyPatch, background: Callable[..., Any]
) -> None:
    """The group may name the subject once more, as one that is not enrolled; its references are gone."""
    subject = enrolled("child-1")
    groups.put(services.NOBODY, "bus/7", ["child-1"])
    parking = Parking(monkeypatch, groups, "leave_all", after=True)
    erasing = background(erasure.erase_row, services.NOBODY, subject.pk)
    parking.arrive()
    putting = background(groups.put, services.NOBODY, "bus/7", ["child-1", "child-2"])
    parking.let_go()
    assert erasing.result(LONG_S) == 1
    assert putting.result(LONG_S).not_enrolled[-1] == "child-2"
    after = groups.get("bus/7")
    assert after.subject_ids == after.not_enrolled
    assert put_again() == ("child-1", "child-2")


def put_again() -> tuple[str, ...]:
    return groups.put(services.NOBODY, "bus/7", ["child-1", "child-2"]).not_enrolled
