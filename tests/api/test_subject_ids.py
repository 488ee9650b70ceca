"""One rule for ids at every door: bodies, addresses, services and, for what is older than it, the command."""

import html
import json
import re
from collections.abc import Callable
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from ml_models import services
from ml_models.exceptions import InvalidRequest
from ml_models.models import EnsembleConfig, Erasure, Group, Membership, Reference, Subject
from ml_models.services import groups, lockout
from tests.conftest import Portraits
from tests.support.panel import page, press, told
from tests.support.uploads import enroll, send

pytestmark = pytest.mark.django_db

BAD: dict[str, str] = {
    "sub\nject": "character 3 is U+000A",
    "tab\t": "blank",
    "nul\0l": "character 3 is U+0000",
    "\x7f": "U+007F",
    "next\x85line": "U+0085",
    "line\u2028line": "U+2028",
    " lead": "blank",
    "trail ": "blank",
    "trail\n": "blank",
    "\u00a0lead": "blank",
    "\ufefflead": "invisible",
    "trail\u200b": "invisible",
    "\u202elead": "invisible",
    "\u3164": "invisible",
    "\u2800lead": "invisible",
    "trail\uffa0": "invisible",
    "trail\ufff0": "invisible",
    "\U000e0fff": "invisible",
    "a\u202eb": "character 1 is U+202E",
    "a\u2066b": "character 1 is U+2066",
    "\ufdd0": "U+FDD0",
    "\u0301lead": "mark on the character before it, U+0301",
    "\ufe0f": "mark on the character before it, U+FE0F",
    "\U000e0100lead": "mark on the character before it, U+E0100",
    "a\U0010ffff": "U+10FFFF",
    "a\u200fb": "character 1 is U+200F",
    "a\u061cb": "character 1 is U+061C",
    "a\U00013441": "blank",
    "\U0001d159a": "blank",
    "Zo\ufffd": "U+FFFD",
    ".": "“.”",
    "..": "“..”",
    "a/../b": "“..”",
    "a/./b": "“.”",
    "/lead": "empty",
    "a//b": "empty",
    "x" * 201: "this one has 201",
}
GOOD = [
    "❤\ufe0f",
    "child-1",
    "7",
    "school/7",
    "Zoë Ž",
    "沙耶",
    "😀",
    "a.b",
    "...",
    "-",
    "a b",
    "x" * 200,
    "%2e%2e",
    "a\\b",
    'q"q',
    "👨\u200d👩",
    "می\u200cخواهم",
    "release",
    "a/release",
    "c\u0327a",
]
PICTURE = "bm8gcGljdHVyZQ=="


def body(client: APIClient, call: str, subject_id: str) -> Any:
    return client.post(f"/api/v1/face/{call}", {"subject_id": subject_id, "image": PICTURE}, format="json")


@pytest.mark.parametrize("subject_id", BAD, ids=ascii)
def test_an_id_that_breaks_the_rule_is_refused_at_every_door_with_its_reason(
    service: APIClient, subject_id: str
) -> None:
    reason = BAD[subject_id]
    for call in ("enroll", "verify"):
        answer = body(service, call, subject_id)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert reason in answer.json()["errors"]["subject_id"][0]
        form = service.post(f"/api/v1/face/{call}", {"subject_id": subject_id, "image": PICTURE}, format="multipart")
        assert reason in form.json()["errors"]["subject_id"][0]
    for method in ("GET", "DELETE"):
        answer = service.generic(method, f"/api/v1/face/subjects/{quote(subject_id, safe='')}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), method
        assert reason in answer.json()["errors"][0]
    calls: list[Callable[[], Any]] = [
        lambda: services.verify(services.NOBODY, subject_id, [b"picture"]),
        lambda: services.enroll(services.NOBODY, subject_id, b"picture"),
        lambda: services.erase_subject(services.NOBODY, subject_id),
        lambda: lockout.release(services.NOBODY, subject_id),
        lambda: groups.put(services.NOBODY, "bus", [subject_id]),
    ]
    for call_service in calls:
        with pytest.raises(InvalidRequest, match=re.escape(reason)):
            call_service()
    with pytest.raises(InvalidRequest, match=re.escape(reason.replace("subject", "group"))):
        groups.put(services.NOBODY, subject_id, [])
    with pytest.raises(CommandError, match="invalid_request"):
        call_command("release", "credential", subject_id)
    assert not Subject.objects.exists()
    assert not Group.objects.exists()


@pytest.mark.parametrize("subject_id", BAD, ids=ascii)
def test_the_panel_refuses_it_with_its_reason(
    admin_client: Client, portraits: Portraits, served: EnsembleConfig, subject_id: str
) -> None:
    if subject_id == subject_id.strip():  # what a search is pasted with is trimmed
        found = admin_client.post(page("subject", "find"), {"sought": subject_id})
        assert BAD[subject_id] in html.unescape(found.text)
    picture = SimpleUploadedFile("a.jpg", portraits.eileen_collins)
    enrolled = admin_client.post(page("subject", "enrol"), {"subject_id": subject_id, "image": picture})
    assert BAD[subject_id] in told(enrolled)
    assert not Subject.objects.exists()


def test_bytes_that_are_no_text_name_nobody(admin_client: Client, portraits: Portraits, served: EnsembleConfig) -> None:
    """Django reads each such byte as U+FFFD: people with different names became one subject."""
    for name in (b"Zo\xeb", b"Zo\xef"):
        body = b"--B\r\nContent-Disposition: form-data; name=subject_id\r\n\r\n" + name
        body += b"\r\n--B\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n" + portraits.eileen_collins
        form = "multipart/form-data; boundary=B"
        answer: Any = admin_client.generic("POST", page("subject", "enrol"), body + b"\r\n--B--\r\n", form)
        assert "U+FFFD" in told(answer)
    assert not Subject.objects.exists()


def test_half_a_character_is_no_id(service: APIClient) -> None:
    """Nothing could hash or store it."""
    data = b'{"subject_id": "\\ud800", "image": "AAAA"}'
    answer = send(service, "/api/v1/face/verify", data, "application/json")
    assert "U+D800" in answer.json()["errors"]["subject_id"][0]
    with pytest.raises(InvalidRequest):
        services.verify(services.NOBODY, "\ud800", [b"picture"])


def test_a_question_mark_that_is_not_escaped_erases_nobody_else(
    service: APIClient, older: dict[str, Subject], admin_user: Any
) -> None:
    for query in ("x", "b=c", "?"):
        answer = service.delete(f"/api/v1/face/subjects/child-1?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert "%3F" in answer.json()["detail"]
    assert Subject.objects.filter(subject_id="child-1").exists()
    administrator = APIClient()
    administrator.force_authenticate(admin_user)
    assert administrator.put("/api/v1/face/groups/bus?x", {"subject_ids": []}, format="json").status_code == 400


@pytest.mark.parametrize("point", ["a\nb", "a\u2028b", "\u202edoor", "a\u2066b", "\ufdd0", "\x85b"], ids=ascii)
def test_a_capture_point_has_no_control_characters_either(service: APIClient, point: str) -> None:
    body = {"subject_id": "child-1", "image": PICTURE, "capture_point": f"a{point}b"}
    answer = service.post("/api/v1/face/verify", body, format="json")
    assert answer.json()["errors"] == {"capture_point": ["No control characters."]}


@pytest.mark.parametrize("subject_id", GOOD, ids=ascii)
def test_an_id_that_is_taken_in_is_found_and_erased_under_the_same_address(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, subject_id: str
) -> None:
    assert enroll(service, subject_id, portraits.eileen_collins).json()["subject_id"] == subject_id
    address = f"/api/v1/face/subjects/{quote(subject_id, safe='')}"
    assert service.get(address).json()["subject_id"] == subject_id
    assert service.delete(address + "/").json()["references_erased"] == 1
    assert not Subject.objects.exists()


def command(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("odd_subjects", *arguments, "--json", stdout=out, stderr=StringIO())
    return dict(json.loads(out.getvalue()))


@pytest.fixture
def older_groups() -> dict[str, Group]:
    made = {name: Group.objects.create(group_id=name) for name in ("bus\u202e7", "bus-7 ", "bus-7")}
    for group in made.values():
        Membership.objects.create(group=group, subject_id="child-1")
    return made


@pytest.fixture
def older() -> dict[str, Subject]:
    """What a service call could store before there was the rule, and one that is as it should be."""
    subjects = {name: Subject.objects.create(subject_id=name) for name in ("sub\nject", " lead", "..", "child-1")}
    for subject in subjects.values():
        Reference.objects.create(subject=subject, chip=b"", quality={"score": 0.5})
    return subjects


def test_older_ids_that_break_the_rule_are_listed(older: dict[str, Subject]) -> None:
    listed = command("list")["subjects"]
    assert [row["row"] for row in listed] == [str(older[name].pk) for name in ("sub\nject", " lead", "..")]
    assert listed[0]["subject_id"] == r"'sub\nject'"
    assert listed[0]["references"] == 1
    assert "U+000A" in listed[0]["reason"]
    out = StringIO()
    call_command("odd_subjects", "list", stdout=out)
    assert len(out.getvalue().splitlines()) == 4  # an id does not break its line


def test_older_groups_are_listed_and_erased_without_their_members(
    older: dict[str, Subject], older_groups: dict[str, Group]
) -> None:
    listed = command("list")["groups"]
    assert [row["row"] for row in listed] == [str(older_groups[name].pk) for name in ("bus\u202e7", "bus-7 ")]
    assert (listed[0]["group_id"], listed[0]["members"]) == (r"'bus\u202e7'", 1)
    assert "U+202E" in listed[0]["reason"]
    with pytest.raises(CommandError, match="Nothing was erased"):
        command("erase", str(older_groups["bus-7"].pk))
    one = {"subjects_erased": 0, "references_erased": 0, "groups_erased": 1}
    assert command("erase", str(older_groups["bus-7 "].pk)) == one
    assert command("erase", "--all") == {"subjects_erased": 3, "references_erased": 3, "groups_erased": 1}
    assert Group.objects.get().group_id == "bus-7"
    assert Membership.objects.get().subject_id == "child-1"
    assert Subject.objects.get().subject_id == "child-1"


def test_older_ids_are_erased_with_a_tombstone_and_no_others(older: dict[str, Subject]) -> None:
    assert command("erase", str(older[".."].pk)) == {"subjects_erased": 1, "references_erased": 1, "groups_erased": 0}
    with pytest.raises(CommandError, match="Nothing was erased"):
        command("erase", str(older[" lead"].pk), str(older["child-1"].pk))
    with pytest.raises(CommandError, match="--all"):
        command("erase")
    assert command("erase", "--all") == {"subjects_erased": 2, "references_erased": 2, "groups_erased": 0}
    assert command("erase", "--all") == {"subjects_erased": 0, "references_erased": 0, "groups_erased": 0}
    assert list(Subject.objects.values_list("subject_id", flat=True)) == ["child-1"]
    assert Erasure.objects.count() == 3


def test_the_panel_erases_older_ids_too(older: dict[str, Subject], admin_client: Client) -> None:
    for name in ("sub\nject", "child-1"):
        assert "Erased with 1 references" in told(press(admin_client, "subject", "erase", older[name].pk))
    assert set(Subject.objects.values_list("subject_id", flat=True)) == {" lead", ".."}
