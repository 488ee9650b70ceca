"""Who gives rights, to whom: an event each, in the panel, by a command and by the ORM."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory

from ml_models.api.fallback import ProblemMiddleware
from ml_models.models import AuditEvent
from ml_models.services import rights

pytestmark = pytest.mark.django_db


@pytest.fixture
def clerk(django_user_model: Any) -> User:
    user: User = django_user_model.objects.create_user("clerk", password="a long word", is_staff=True)
    user.user_permissions.add(right("view_subject"))
    return user


@pytest.fixture
def desk() -> Group:
    group = Group.objects.create(name="Desk")
    group.permissions.add(right("enroll_subject"))
    return group


def right(codename: str) -> Permission:
    return Permission.objects.get(codename=codename)


class Since:
    """The events that come after it was made."""

    def __init__(self) -> None:
        newest = AuditEvent.objects.order_by("-pk").first()
        self._pk = newest.pk if newest else 0

    def __iter__(self) -> Iterator[AuditEvent]:
        return iter(AuditEvent.objects.filter(pk__gt=self._pk).order_by("pk"))

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.kind, event.facts) for event in self]


def test_a_right_that_is_given_or_taken_is_an_event_from_either_end(clerk: User, desk: Group) -> None:
    since, of = Since(), {"account": str(clerk.pk)}
    clerk.user_permissions.add(right("erase_subject"), right("view_subject"))  # one of them is there
    clerk.groups.add(desk)
    desk.permissions.set([right("erase_subject")])
    desk.user_set.remove(clerk)
    clerk.groups.remove(desk)  # not there any more
    clerk.user_permissions.clear()
    right("erase_subject").group_set.clear()
    assert since.told() == [
        ("give_rights", {**of, "rights": ["ml_models.erase_subject"]}),
        ("give_rights", {**of, "roles": ["Desk"]}),
        ("take_rights", {"role": "Desk", "rights": ["ml_models.enroll_subject"]}),
        ("give_rights", {"role": "Desk", "rights": ["ml_models.erase_subject"]}),
        ("take_rights", {**of, "roles": ["Desk"]}),
        ("take_rights", {**of, "rights": ["ml_models.erase_subject", "ml_models.view_subject"]}),
        ("take_rights", {"role": "Desk", "rights": ["ml_models.erase_subject"]}),
    ]
    assert {(event.caller, event.credential_id) for event in since} == {("", "")}


def test_an_account_that_is_made_changed_or_deleted_is_an_event(clerk: User, django_user_model: Any) -> None:
    since, of = Since(), {"account": str(clerk.pk)}
    chief = django_user_model.objects.create_superuser("chief", email="chief@example.org", first_name="Chiara")
    made = {"account": str(chief.pk), "is_active": True, "is_staff": True, "is_superuser": True}
    clerk.is_superuser = True
    clerk.save()
    clerk.is_active, clerk.is_superuser = False, False
    clerk.save(update_fields=["is_active"])  # the other is not written, and so no event
    clerk.set_password("another long word")
    clerk.save()
    clerk.last_name = "Clarke"
    clerk.save()
    clerk.delete()
    assert since.told() == [
        ("make_account", made),
        ("change_account", {**of, "is_superuser": True}),
        ("change_account", {**of, "is_active": False}),
        ("change_account", {**of, "is_superuser": False, "password": "changed"}),
        ("delete_account", of),
    ]
    kept = str([vars(event) for event in since])
    assert not [word for word in ("chief", "Chiara", "Clarke", "clerk", "pbkdf2", "md5") if word in kept]


def test_an_account_without_rights_leaves_no_event(django_user_model: Any) -> None:
    since = Since()
    parent = django_user_model.objects.create_user("parent", password="a long word")
    parent.set_password("another long word")
    parent.save()
    parent.is_active = False
    parent.save()
    parent.delete()
    assert since.told() == []


def test_the_last_right_that_goes_is_an_event(django_user_model: Any) -> None:
    passing, since = django_user_model.objects.create_superuser("passing"), Since()
    passing.is_superuser, passing.is_staff = False, False
    passing.save()
    passing.is_active = False
    passing.save()
    of = {"account": str(passing.pk)}
    assert since.told() == [("change_account", {**of, "is_staff": False, "is_superuser": False})]


def test_a_log_in_leaves_no_event(clerk: User, client: Client, settings: Any) -> None:
    since = Since()
    before = clerk.password
    # Django hashes the password anew when its way to do it has changed
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", *settings.PASSWORD_HASHERS]
    client.post("/admin/login/", {"username": "clerk", "password": "a long word"})
    clerk.refresh_from_db()
    assert clerk.last_login is not None
    assert clerk.password != before
    assert since.told() == []


def test_a_role_that_is_renamed_or_deleted_is_an_event(clerk: User, desk: Group) -> None:
    clerk.groups.add(desk)
    since = Since()
    desk.name = "Counter"
    desk.save()
    desk.save()
    desk.delete()
    assert since.told() == [("rename_role", {"role": "Desk", "name": "Counter"}), ("delete_role", {"role": "Counter"})]


def test_the_timeline_reads_as_sentences(django_user_model: Any, admin_client: Client) -> None:
    desk = Group.objects.create(name="Desk")
    desk.permissions.set(Permission.objects.filter(content_type__app_label="ml_models", codename__startswith="view_"))
    temp = django_user_model.objects.create_user("temp", is_staff=True)
    temp.is_active = False
    temp.save()
    Group.objects.filter(pk=desk.pk).get().delete()
    pk = temp.pk
    temp.delete()
    deeds = admin_client.get("/admin/ml_models/auditevent/timeline/").context["deeds"]
    first = ", ".join(f"ml_models.view_{name}" for name in ("artifact", "auditcheckpoint", "auditevent", "auditkey"))
    more = desk_rights() - 4
    assert [deed.what for deed in deeds][:5] == [
        f"delete account {pk}",
        "delete role Desk",
        f"change account {pk}: not active",
        f"make account {pk}: active, staff, not superuser",
        f"give rights Desk: {first} and {more} more",
    ]


def desk_rights() -> int:
    return Permission.objects.filter(content_type__app_label="ml_models", codename__startswith="view_").count()


def test_the_panel_says_who_gave_himself_rights(clerk: User, desk: Group) -> None:
    clerk.user_permissions.add(right("change_user"), right("view_auditevent"))
    client, since = Client(), Since()
    client.force_login(clerk)
    flags = {"username": "clerk", "is_active": "on", "is_staff": "on", "date_joined_0": "2026-01-01"}
    form = {**flags, "date_joined_1": "00:00:00", "groups": [desk.pk]}
    kept = [permission.pk for permission in clerk.user_permissions.all()]
    more = {**form, "user_permissions": [*kept, right("override_reference").pk]}
    # only a superuser may make one, as Django has it
    answer = client.post(f"/admin/auth/user/{clerk.pk}/change/", more)
    assert answer.status_code == 302
    words = {"usable_password": "true", "password1": "a quite long word", "password2": "a quite long word"}
    assert client.post(f"/admin/auth/user/{clerk.pk}/password/", words).status_code == 302
    of = {"account": str(clerk.pk)}
    assert sorted(since.told(), key=str) == sorted(
        [
            ("give_rights", {**of, "roles": ["Desk"]}),
            ("give_rights", {**of, "rights": ["ml_models.override_reference"]}),
            ("change_account", {**of, "password": "changed"}),
        ],
        key=str,
    )
    assert {(event.caller, event.credential_id) for event in since} == {(str(clerk.pk), f"panel:{clerk.pk}")}
    clerk.refresh_from_db()
    client.force_login(clerk)
    deeds = client.get("/admin/ml_models/auditevent/timeline/").context["deeds"]
    told = [(deed.who, deed.what) for deed in deeds]
    who = f"clerk (panel:{clerk.pk})"
    assert (who, "give rights for clerk: ml_models.override_reference") in told
    assert (who, "give rights for clerk: Desk") in told
    assert (who, "change account clerk: password changed") in told


def test_an_endpoint_of_the_hosts_names_the_account_of_its_token(clerk: User, desk: Group, rf: RequestFactory) -> None:
    def endpoint(request: Any) -> HttpResponse:
        request.user, request.auth = clerk, "a token"  # as REST framework leaves them
        clerk.groups.add(desk)
        return HttpResponse()

    since = Since()
    ProblemMiddleware(endpoint)(rf.post("/accounts/"))
    assert [(event.caller, event.credential_id) for event in since] == [(str(clerk.pk), f"account:{clerk.pk}")]


def test_one_who_changes_the_own_password_is_named(clerk: User) -> None:
    client, since = Client(), Since()
    client.force_login(clerk)
    words = {"old_password": "a long word", "new_password1": "a quite long word", "new_password2": "a quite long word"}
    assert client.post("/admin/password_change/", words).status_code == 302
    assert [(event.kind, event.caller) for event in since] == [("change_account", str(clerk.pk))]


def test_the_ready_made_roles_are_events_of_a_command_once() -> None:
    since = Since()
    call_command("ensure_roles")
    first = since.told()
    assert {kind for kind, _ in first} == {"give_rights"}
    assert "Auditor" in {facts["role"] for _, facts in first}
    call_command("ensure_roles")
    assert since.told() == first


@pytest.mark.django_db(transaction=True)
def test_rights_and_their_event_come_together_or_not_at_all(
    clerk: User, desk: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**event: Any) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(AuditEvent.objects, "create", full)
    for deed in (
        lambda: clerk.groups.add(desk),
        lambda: clerk.user_permissions.clear(),
        lambda: clerk.delete(),
        lambda: desk.delete(),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            deed()
    clerk.is_superuser = True
    with pytest.raises(DatabaseError), transaction.atomic():
        clerk.save()
    clerk.refresh_from_db()
    assert not clerk.is_superuser
    assert not clerk.groups.exists()
    assert clerk.user_permissions.exists()
    assert Group.objects.filter(pk=desk.pk).exists()


def test_watching_twice_is_watching_once(clerk: User, desk: Group) -> None:
    rights.watch()
    since = Since()
    clerk.groups.add(desk)
    assert len(since.told()) == 1
