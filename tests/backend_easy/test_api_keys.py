"""Keys of kiosks: what is stored, what they open, how they end."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from backend_easy.api_keys.models import ApiKey

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


def test_authenticating_costs_one_query(kiosk: Any, django_assert_num_queries: Any) -> None:
    _, text = ApiKey.objects.issue(kiosk, "front door")
    with django_assert_num_queries(1):
        assert ApiKey.objects.find(text).user.username == "front-door"  # type: ignore[union-attr]


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
    page = admin_client.post("/admin/api_keys/apikey/add/", {"name": "gate", "user": kiosk.pk}, follow=True)
    key = ApiKey.objects.get()
    shown = page.content.decode().partition("shown this once: ")[2].split("<")[0].strip()
    assert shown.startswith(key.prefix + ".")
    assert ask(shown).status_code == 404
    assert key.digest not in admin_client.get("/admin/api_keys/apikey/").content.decode()

    admin_client.post("/admin/api_keys/apikey/", {"action": "revoke", "_selected_action": [key.pk]})
    assert ask(shown).status_code == 401
