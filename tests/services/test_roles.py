"""What each ready-made group opens: calls over REST, and pages of the panel."""

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.test import Client

from ml_models.services import roles
from tests.api.test_access import ANYBODY, CALLS, OPEN
from tests.support.panel import page

pytestmark = pytest.mark.django_db

VERSIONS = ["artifact", "ensembleconfig", "evaluationreport", "rollout", "rolloutfailure", "studyjob"]
PEOPLE = ["erasure", "group", "reference", "subject"]
RUNNING = ["credentialcount", "identification", "servingprocess", "verification"]
PAGES = [*VERSIONS, *PEOPLE, *RUNNING, "auditevent"]
OWN_PAGES = [
    ("subject", "find"),
    ("subject", "enrol"),
    ("verification", "traffic"),
    ("auditevent", "timeline"),
    ("ensembleconfig", "load"),
]
# group → the calls it opens besides those for any account, the lists, and the pages that are no list
OPENS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "Kiosk": (["challenges", "verify"], [], []),
    "Door": (["identify"], [], []),
    "Enrolment desk": (
        ["challenges", "enroll", "group", "reference", "subject", "verify"],
        [*PEOPLE, "rolloutfailure"],
        ["subject_find", "subject_enrol"],
    ),
    "Operator": (
        ["abort", "configs", "go", "metrics", "pause", "release", "resume", "rollback", "rollout", "validate"],
        [*VERSIONS, *PEOPLE, *RUNNING],
        ["subject_find", "verification_traffic", "ensembleconfig_load"],
    ),
    "Approver": (
        ["abort", "activate", "configs", "go", "metrics", "pause", "resume", "rollback", "rollout"],
        [*VERSIONS, *RUNNING],
        ["verification_traffic"],
    ),
    "Auditor": (
        ["configs", "metrics", "rollout"],
        PAGES,
        ["subject_find", "verification_traffic", "auditevent_timeline"],
    ),
}


def ensured() -> list[str]:
    out = StringIO()
    call_command("ensure_roles", "--json", stdout=out)
    changed: list[str] = json.loads(out.getvalue())["changed"]
    return changed


@pytest.mark.parametrize("name", roles.ROLES)
def test_a_group_opens_what_its_work_takes_and_nothing_else(name: str, django_user_model: Any) -> None:
    ensured()
    account = django_user_model.objects.create_user("somebody", is_staff=True)
    account.groups.add(Group.objects.get(name=name))
    rights = {right.removeprefix("ml_models.") for right in account.get_all_permissions()}
    assert rights == set(roles.ROLES[name])
    calls = sorted({call for (call, _), needed in CALLS.items() if needed in rights})
    panel = Client()
    panel.force_login(account)
    lists = [model for model in PAGES if panel.get(page(model, "changelist")).status_code == 200]
    pages = [f"{model}_{which}" for model, which in OWN_PAGES if panel.get(page(model, which)).status_code == 200]
    assert (calls, sorted(lists), pages) == (OPENS[name][0], sorted(OPENS[name][1]), OPENS[name][2])


def test_every_call_for_somebody_is_opened_by_a_group() -> None:
    given = {right for rights in roles.ROLES.values() for right in rights}
    assert {needed for needed in CALLS.values() if needed not in (OPEN, ANYBODY)} <= given


def test_a_second_run_changes_nothing_and_what_was_taken_away_comes_back() -> None:
    assert sorted(ensured()) == sorted(roles.ROLES)
    assert ensured() == []
    kiosk = Group.objects.get(name="Kiosk")
    kiosk.permissions.set(Permission.objects.filter(codename="view_group"))
    assert ensured() == ["Kiosk"]
    assert set(kiosk.permissions.values_list("codename", flat=True)) == {"verify_subject", "view_group"}


def test_without_its_rights_no_group_is_made() -> None:
    Permission.objects.filter(codename="verify_subject").delete()
    with pytest.raises(CommandError, match="Kiosk needs verify_subject"):
        ensured()
    assert not Group.objects.exists()
