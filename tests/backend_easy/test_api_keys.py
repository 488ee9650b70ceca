"""Keys of kiosks: what is stored, what they open, how they end."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from backend_easy.api_keys.models import ApiKey
from ml_models.models import AuditEvent

pytestmark = pytest.mark.django_db


def ask(text: str) -> Any:
    """A call that any authenticated caller may make; 404 means that the door was open."""
    return APIClient(HTTP_AUTHORIZATION=f"Api-Key {text}").get("/api/v1/face/subjects/nobody")


@pytest.fixture
def kiosk(django_user_model: Any, grant: Any) -> Any:
    return grant(django_user_model.objects.create_user("front-door"), "read_subject")


def test_a_key_acts_for_its_account(kiosk: Any) -> None:
    _, text = ApiKey.objects.issue(kiosk, "front door")
    assert ask(text).status_code == 404
    kiosk.user_permissions.clear()
    assert ask(text).status_code == 403


def test_the_database_holds_no_key(kiosk: Any) -> None:
    key, text = ApiKey.objects.issue(kiosk, "front door")
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(k)::text FROM api_keys_apikey k")
        row = cursor.fetchone()[0]
    assert key.prefix in row
    assert text.partition(".")[2] not in row


@pytest.mark.parametrize(
    "change", ["", ".", "x", "{prefix}", "{prefix}.", "{prefix}.wrong", "{text}x", "{text} x", "ÿ"]
)
def test_what_is_not_a_key_is_refused(kiosk: Any, change: str) -> None:
    key, text = ApiKey.objects.issue(kiosk, "front door")
    response = ask(change.format(prefix=key.prefix, text=text))
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_a_key_ends_when_it_is_revoked_or_expires_or_its_account_is_closed(kiosk: Any) -> None:
    keys = [ApiKey.objects.issue(kiosk, "front door") for _ in range(3)]
    assert ApiKey.objects.revoke(keys[0][0].prefix)
    assert not ApiKey.objects.revoke(keys[0][0].prefix)
    ApiKey.objects.filter(pk=keys[1][0].pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert [ask(text).status_code for _, text in keys] == [401, 401, 404]
    kiosk.is_active = False
    kiosk.save()
    assert ask(keys[2][1]).status_code == 401


def test_one_query_tells_whose_key_it_is_and_what_that_account_may_do(
    kiosk: Any, django_user_model: Any, django_assert_num_queries: Any
) -> None:
    group = Group.objects.create(name="kiosks")
    group.permissions.add(Permission.objects.get(codename="verify_subject"))
    kiosk.groups.add(group)
    django_user_model.objects.create_superuser("stranger")
    made, text = ApiKey.objects.issue(kiosk, "front door")
    with django_assert_num_queries(1):
        key: Any = ApiKey.objects.find(text)
        permissions = key.user.get_all_permissions()
    assert permissions == {"ml_models.read_subject", "ml_models.verify_subject"}
    for found, row in ((key, made), (key.user, kiosk)):
        row.refresh_from_db()
        names = [field.attname for field in row._meta.fields]
        assert [getattr(found, name) for name in names] == [getattr(row, name) for name in names]


def test_a_key_of_a_superuser_may_everything(admin_user: Any) -> None:
    _, text = ApiKey.objects.issue(admin_user, "front door")
    key: Any = ApiKey.objects.find(text)
    assert len(key.user.get_all_permissions()) == Permission.objects.count()
    assert ask(text).status_code == 404


def run(*args: str) -> dict[str, Any]:
    out = StringIO()
    call_command("api_key", *args, "--json", stdout=out)
    return dict(json.loads(out.getvalue()))


def test_the_command_makes_lists_and_revokes(kiosk: Any) -> None:
    made = run("create", "--user", "front-door", "--name", "front door", "--days", "30")
    assert ask(made["key"]).status_code == 404
    assert [key["prefix"] for key in run("list")["keys"]] == [made["prefix"]]
    assert made["key"] not in json.dumps(run("list"))
    run("revoke", made["prefix"])
    assert ask(made["key"]).status_code == 401
    with pytest.raises(CommandError, match="no usable key"):
        run("revoke", made["prefix"])
    with pytest.raises(CommandError, match="no account"):
        run("create", "--user", "nobody", "--name", "x")


def test_the_admin_shows_a_new_key_once_and_revokes_it(kiosk: Any, admin_client: Client) -> None:
    add = "/admin/api_keys/apikey/add/"
    # who leaves the field as it is gets a key that ends
    ends = admin_client.get(add).context["adminform"].form.initial["expires_at"]
    assert timedelta(days=364) < ends - timezone.now() < timedelta(days=366)
    page = admin_client.post(add, {"name": "gate", "user": kiosk.username}, follow=True)
    key = ApiKey.objects.get()
    shown = page.content.decode().partition("shown this once: ")[2].split("<")[0].strip()
    assert shown.startswith(key.prefix + ".")
    assert ask(shown).status_code == 404
    assert key.digest not in admin_client.get("/admin/api_keys/apikey/").content.decode()

    admin_client.post("/admin/api_keys/apikey/", {"action": "revoke", "_selected_action": [key.pk]})
    assert ask(shown).status_code == 401


def test_a_key_is_revoked_on_its_own_page_after_a_question(
    kiosk: Any, admin_client: Client, admin_user: Any, django_user_model: Any
) -> None:
    key, text = ApiKey.objects.issue(kiosk, "front door")
    page = f"/admin/api_keys/apikey/{key.pk}/change/"
    revoke = f"/admin/api_keys/apikey/{key.pk}/revoke/"
    assert f'href="{revoke}"' in admin_client.get(page).text
    assert "Revoke “front door”" in admin_client.get(revoke).text
    assert ask(text).status_code == 404  # the question alone ends nothing

    looker = Client()
    looker.force_login(rights(django_user_model.objects.create_user("looker", is_staff=True), "view_apikey"))
    assert f'href="{revoke}"' not in looker.get(page).text
    assert [looker.get(revoke).status_code, looker.post(revoke).status_code] == [403, 403]
    assert ask(text).status_code == 404

    for _ in range(2):
        answer = admin_client.post(revoke, follow=True)
    assert ask(text).status_code == 401
    assert f'href="{revoke}"' not in answer.text
    assert events()[1:] == [("revoke_key", "", f"panel:{admin_user.pk}", key.prefix, str(kiosk.pk))]
    assert admin_client.get(revoke).status_code == 302  # there is nothing to ask any more
    assert admin_client.get("/admin/api_keys/apikey/0/revoke/").status_code == 404


def events() -> list[tuple[str, str, str, str, str]]:
    rows = AuditEvent.objects.filter(kind__endswith="_key").order_by("pk")
    return [(e.kind, e.code, e.credential_id, e.facts.get("key", ""), e.facts["account"]) for e in rows]


def timeline(client: Client) -> list[tuple[str, str]]:
    deeds = client.get("/admin/ml_models/auditevent/timeline/").context["deeds"]
    return [(deed.who, deed.what) for deed in deeds if " key " in deed.what]


def test_what_the_command_does_to_a_key_is_an_event(kiosk: Any, admin_client: Client) -> None:
    prefix = run("create", "--user", "front-door", "--name", "front door")["prefix"]
    run("revoke", prefix)
    with pytest.raises(CommandError):
        run("revoke", prefix)
    account = str(kiosk.pk)
    assert events() == [("make_key", "", "", prefix, account), ("revoke_key", "", "", prefix, account)]
    assert timeline(admin_client) == [
        ("a command", f"revoke key {prefix} for front-door"),
        ("a command", f"make key {prefix} for front-door"),
    ]


@pytest.mark.parametrize("with_the_account", ["no", "one", "several"])
def test_what_the_panel_does_to_a_key_is_an_event(
    kiosk: Any, admin_client: Client, admin_user: Any, with_the_account: str
) -> None:
    answer = admin_client.post("/admin/api_keys/apikey/add/", {"name": "gate", "user": kiosk.username}, follow=True)
    key, account = ApiKey.objects.get(), str(kiosk.pk)
    text = answer.content.decode().partition("shown this once: ")[2].split("<")[0].strip()
    for _ in range(2):  # revoked again, nothing happens
        admin_client.post("/admin/api_keys/apikey/", {"action": "revoke", "_selected_action": [key.pk]})
    if with_the_account == "no":
        admin_client.post(f"/admin/api_keys/apikey/{key.pk}/delete/", {"post": "yes"})
    elif with_the_account == "one":
        admin_client.post(f"/admin/auth/user/{kiosk.pk}/delete/", {"post": "yes"})
    else:
        several = {"action": "delete_selected", "_selected_action": [kiosk.pk], "post": "yes"}
        admin_client.post("/admin/auth/user/", several)
    assert not ApiKey.objects.exists()
    operator = f"panel:{admin_user.pk}"
    assert events() == [(kind, "", operator, key.prefix, account) for kind in ("make_key", "revoke_key", "delete_key")]
    assert {event.caller for event in AuditEvent.objects.filter(kind__endswith="_key")} == {str(admin_user.pk)}
    owner = "front-door" if with_the_account == "no" else f"account {account}"
    assert timeline(admin_client)[0] == (f"admin ({operator})", f"delete key {key.prefix} for {owner}")
    secret = text.partition(".")[2]
    assert secret
    assert not [event for event in AuditEvent.objects.all() if secret in str(vars(event))]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fails", ["before the event", "after it"])
@pytest.mark.parametrize("deed", ["make", "revoke", "delete"])
def test_a_key_and_its_event_come_together_or_not_at_all(
    kiosk: Any, admin_client: Client, monkeypatch: pytest.MonkeyPatch, deed: str, fails: str
) -> None:
    prefix = run("create", "--user", "front-door", "--name", "front door")["prefix"]
    key = ApiKey.objects.get()
    before = list(ApiKey.objects.values()), events()
    create = AuditEvent.objects.create

    def full(**event: Any) -> None:
        if fails == "after it":
            create(**event)
        raise DatabaseError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(AuditEvent.objects, "create", full)
        if deed == "delete":
            admin_client.raise_request_exception = False
            selected = {"action": "delete_selected", "_selected_action": [key.pk], "post": "yes"}
            assert admin_client.post("/admin/api_keys/apikey/", selected).status_code >= 500
        else:
            args = {"make": ("create", "--user", "front-door", "--name", "gate"), "revoke": ("revoke", prefix)}[deed]
            with pytest.raises(DatabaseError):
                run(*args)
    assert (list(ApiKey.objects.values()), events()) == before


@pytest.fixture
def maker(django_user_model: Any) -> Any:
    """Staff who may add keys for whomever they see, and verify."""
    account = django_user_model.objects.create_user("maker", is_staff=True)
    return rights(account, "add_apikey", "view_apikey", "view_user", "verify_subject")


def rights(account: Any, *codenames: str) -> Any:
    account.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    return type(account).objects.get(pk=account.pk)


def make_key(maker: Any, account: Any) -> Any:
    client = Client()
    client.force_login(maker)
    return client.post("/admin/api_keys/apikey/add/", {"name": "gate", "user": account.username}, follow=True)


def test_a_key_is_made_for_an_account_with_no_more_rights_than_its_makers(maker: Any, django_user_model: Any) -> None:
    kiosk = rights(django_user_model.objects.create_user("kiosk"), "verify_subject")
    assert "shown this once" in make_key(maker, kiosk).text
    assert "shown this once" in make_key(maker, maker).text
    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize("more", ["a right", "a group's right", "every right", "no right more", "closed for now"])
def test_no_key_is_made_for_an_account_with_more_rights(maker: Any, django_user_model: Any, more: str) -> None:
    account = rights(django_user_model.objects.create_user("other"), "verify_subject")
    if more == "a right":
        rights(account, "erase_subject")
    elif more == "a group's right":
        group = Group.objects.create(name="clerks")
        group.permissions.add(Permission.objects.get(codename="override_reference"))
        account.groups.add(group)
    elif more == "every right":
        account.is_superuser = True
    elif more == "no right more":  # of those that are there today; a superuser has tomorrow's, too
        account.is_superuser = True
        maker.user_permissions.set(Permission.objects.all())
    else:
        rights(account, "erase_subject")
        account.is_active = False
    account.save()
    answer = make_key(maker, account).text
    assert "rights that you do not have" in answer or "account is closed" in answer
    assert not ApiKey.objects.exists()
    assert events() == [("make_key", "forbidden", f"panel:{maker.pk}", "", str(account.pk))]


def test_a_superuser_makes_a_key_for_every_open_account(admin_client: Client, maker: Any, admin_user: Any) -> None:
    assert "shown this once" in make_key(admin_user, maker).text
    assert "shown this once" in make_key(admin_user, admin_user).text


def test_no_token_is_made_or_shown_in_the_panel(admin_client: Client) -> None:
    assert admin_client.get("/admin/authtoken/tokenproxy/").status_code == 404
    assert admin_client.get("/admin/authtoken/tokenproxy/add/").status_code == 404


def test_a_keys_digest_is_not_asked_for_in_the_address(admin_client: Client, kiosk: Any) -> None:
    ApiKey.objects.issue(kiosk, "front door")
    for lookup in ("digest__startswith", "digest", "user__password__startswith"):
        assert admin_client.get("/admin/api_keys/apikey/", {lookup: "a"}).status_code == 400


def test_accounts_and_roles_are_made_and_changed_in_the_themes_fields(admin_client: Client, kiosk: Any) -> None:
    kiosk.groups.add(Group.objects.create(name="Kiosk"))
    listed = admin_client.get("/admin/auth/user/").text
    assert "/admin/auth/user/add/" in listed
    assert "Kiosk" in listed
    for where in ("auth/user/add", f"auth/user/{kiosk.pk}/change", "auth/group/add"):
        form = admin_client.get(f"/admin/{where}/").text
        field = form.partition('<input type="text"')[2].partition(">")[0]
        assert "border" in field, where


def test_a_deletion_lists_what_goes_and_no_row_for_each_right(admin_client: Client, kiosk: Any) -> None:
    group = Group.objects.create(name="Kiosk")
    group.permissions.set(Permission.objects.filter(content_type__app_label="ml_models"))
    kiosk.groups.add(group)
    key, _ = ApiKey.objects.issue(kiosk, "front door")
    assert "object (" not in admin_client.get(f"/admin/auth/group/{group.pk}/delete/").text
    asked = admin_client.get(f"/admin/auth/user/{kiosk.pk}/delete/").text
    assert "object (" not in asked
    assert str(key) in asked


def test_a_keys_page_says_which_it_is_and_how_long_it_holds(admin_client: Client, kiosk: Any) -> None:
    key, _ = ApiKey.objects.issue(kiosk, "front door")
    ApiKey.objects.revoke(key.prefix)
    fields = admin_client.get(f"/admin/api_keys/apikey/{key.pk}/change/").context["adminform"].readonly_fields
    assert {"prefix", "created_at", "expires_at", "revoked_at"} <= set(fields)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("page", "right"),
    [
        ("auth/user/", "auth.view_user"),
        ("auth/user/add/", "auth.add_user"),
        ("auth/user/{pk}/change/", "auth.view_user"),
        ("auth/user/{pk}/password/", "auth.change_user"),
        ("auth/user/{pk}/delete/", "auth.delete_user"),
        ("auth/group/", "auth.view_group"),
        ("auth/group/add/", "auth.add_group"),
        ("api_keys/apikey/", "api_keys.view_apikey"),
        ("api_keys/apikey/add/", "api_keys.add_apikey"),
    ],
)
def test_a_refusal_names_the_right_on_pages_of_accounts_too(django_user_model: Any, page: str, right: str) -> None:
    account = django_user_model.objects.create_user("looker", is_staff=True)
    client = Client()
    client.force_login(account)
    refused = client.get(f"/admin/{page.format(pk=account.pk)}")
    assert refused.status_code == 403
    assert f"({right})" in refused.text
