"""A backup brings back who was erased; a replay erases them again, and nobody else."""

import base64
import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from ml_models import services
from ml_models.exceptions import NotFound
from ml_models.models import Embedding, Erasure, Identification, KeptAnswer, Reference, Subject, Verification
from tests.conftest import Portraits
from tests.support.pictures import another
from tests.support.uploads import enroll, upload, verify

pytestmark = pytest.mark.django_db

TABLES: tuple[Any, ...] = (Subject, Reference, Embedding, Verification, Identification, Erasure)


@pytest.fixture
def backup() -> Callable[[], Callable[[], None]]:
    """Make a backup of who is enrolled; what it gives restores it."""

    def make() -> Callable[[], None]:
        rows = {table: list(table._default_manager.values()) for table in TABLES}

        def restore() -> None:
            for table in reversed(TABLES):
                table._default_manager.all().delete()
            for table in TABLES:
                table._default_manager.bulk_create(table(**row) for row in rows[table])
            for row in rows[Verification]:  # which Django has dated anew
                Verification.objects.filter(pk=row["id"]).update(at=row["at"])

        return restore

    return make


@pytest.fixture
def export(tmp_path: Path) -> Callable[[], Path]:
    def exported() -> Path:
        out = StringIO()
        call_command("erasures", "export", stdout=out)
        (tmp_path / "erasures.jsonl").write_text(out.getvalue())
        return tmp_path / "erasures.jsonl"

    return exported


def replay(file: Path) -> tuple[int, int, int]:
    out = StringIO()
    call_command("erasures", "replay", str(file), "--json", stdout=out)
    counts = json.loads(out.getvalue())
    return counts["subjects_erased"], counts["references_erased"], counts["tombstones_added"]


def enrolled() -> dict[str, int]:
    return {subject.subject_id: subject.references.count() for subject in Subject.objects.all()}


def test_what_a_backup_brought_back_is_erased_again_once(
    people: list[str], service: APIClient, portraits: Portraits, backup: Any, export: Any
) -> None:
    second = enroll(service, "child-2", another(portraits.grace_hopper)).json()["reference_id"]
    verify(service, "child-1", portraits.eileen_collins)
    restore = backup()
    services.erase_subject(services.NOBODY, "child-1")
    services.erase_reference(services.NOBODY, Reference.objects.get(pk=second).pk)
    file, erased = export(), enrolled()
    restore()
    assert (enrolled(), Erasure.objects.count()) == ({"child-1": 1, "child-2": 2}, 0)
    assert replay(file) == (1, 2, 2)
    assert enrolled() == erased == {"child-2": 1}
    assert not Reference.objects.filter(pk=second).exists()
    assert Verification.objects.get().subject is None
    assert replay(file) == (0, 0, 0)
    assert (enrolled(), Erasure.objects.count()) == (erased, 2)


def test_a_person_enrolled_anew_stays(
    people: list[str], service: APIClient, portraits: Portraits, backup: Any, export: Any, settings: Settings
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "REENROL_WINDOW_DAYS": 0}
    services.erase_subject(services.NOBODY, "child-1")
    enroll(service, "child-1", portraits.eileen_collins)
    restore = backup()
    file = export()
    restore()
    assert replay(file) == (0, 0, 0)
    assert enrolled() == {"child-1": 1, "child-2": 1}
    # without a reference, too: or anybody could be enrolled there
    services.erase_reference(services.NOBODY, Reference.objects.get(subject__subject_id="child-1").pk)
    assert replay(export()) == (0, 0, 0)
    assert enrolled() == {"child-1": 0, "child-2": 1}
    # of two erasures the later one counts
    services.erase_subject(services.NOBODY, "child-1")
    file = export()
    restore()
    assert replay(file) == (1, 1, 2)
    assert enrolled() == {"child-2": 1}


def parent(subject_id: str) -> Any:
    """The account of child 1, who acts on itself."""
    return get_user_model().objects.get(username="parent").pk if subject_id == "child-1" else None


def test_who_was_enrolled_anew_into_a_row_that_came_back_keeps_the_new_reference_alone(
    people: list[str],
    service: APIClient,
    portraits: Portraits,
    backup: Any,
    export: Any,
    user: Any,
    settings: Settings,
) -> None:
    def asked() -> None:
        picture = upload("child-1", portraits.eileen_collins)
        service.post("/api/v1/face/verify", picture, format="multipart", headers={"idempotency-key": "one"})
        named = Subject.objects.get(subject_id="child-1")
        Identification.objects.create(subject=named, caller=user, roster_size=1, candidates=1, decision="match")

    settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_ACCOUNT": f"{__name__}.parent"}

    def row() -> tuple[Any, bytes]:
        subject = Subject.objects.get(subject_id="child-1")
        return subject.created_at, bytes(subject.audit_key or b"")

    asked()
    _, key = row()
    restore = backup()
    services.erase_subject(services.NOBODY, "child-1")
    file = export()
    restore()
    new = enroll(service, "child-1", another(portraits.eileen_collins)).json()["reference_id"]
    asked()
    assert replay(file) == (0, 1, 1)
    assert str(Reference.objects.get(subject__subject_id="child-1").pk) == new
    for table in (Verification, Identification):  # what was asked since is still the new one's
        named = table._default_manager.order_by("at").values_list("subject__subject_id", flat=True)
        assert list(named) == [None, "child-1"]
    assert list(Identification.objects.order_by("at").values_list("caller", flat=True)) == [None, user.pk]
    # or the events of who was erased would name somebody again
    began, renewed = row()
    assert began == Reference.objects.get(pk=new).captured_at
    assert renewed not in (key, b"")
    assert not KeptAnswer.objects.exists()
    assert replay(file) == (0, 0, 0)
    assert row() == (began, renewed)


def test_an_export_names_nobody_and_may_begin_later(people: list[str], user: Any, export: Any) -> None:
    rows = [str(pk) for table in (Subject, Reference) for pk in table._default_manager.values_list("pk", flat=True)]
    services.erase_subject(services.Caller(user), "child-1")
    services.erase_reference(services.Caller(user), Reference.objects.get().pk)
    head, *lines = export().read_text().splitlines()
    assert [json.loads(line).keys() for line in lines] == [
        {"subject", "references", "at"},
        {"reference", "references", "at"},
    ]
    text = head + "".join(lines)
    assert not [name for name in ("child-", user.username, *rows) if name in text]
    out = StringIO()
    call_command("erasures", "export", "--since", json.loads(lines[1])["at"], stdout=out)
    assert out.getvalue().splitlines() == [head, lines[1]]


def keyset(primary: str, **keys: bytes) -> str:
    return json.dumps({"primary": primary, "keys": {k: base64.b64encode(v).decode() for k, v in keys.items()}})


def test_a_replay_finds_hashes_of_an_earlier_key_and_refuses_where_their_key_is_gone(
    people: list[str], backup: Any, export: Any, settings: Settings
) -> None:
    present = json.loads(settings.ML_MODELS["KEYSET"])
    first = base64.b64decode(present["keys"][present["primary"]])
    restore = backup()
    services.erase_subject(services.NOBODY, "child-1")
    services.erase_reference(services.NOBODY, Reference.objects.get().pk)
    file = export()
    restore()
    strange = keyset(present["primary"], **{present["primary"]: os.urandom(32)})
    for other in (keyset("new", new=os.urandom(32)), strange):
        settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": other}
        with pytest.raises(CommandError, match="does not hold"):
            replay(file)
        assert enrolled() == {"child-1": 1, "child-2": 1}
    both = keyset("new", new=os.urandom(32), **{present["primary"]: first})
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": both}
    assert replay(file) == (1, 2, 2)
    assert enrolled() == {"child-2": 0}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda head, line: [line],
        lambda head, line: [],
        lambda head, line: [head, line, "{}"],
        lambda head, line: [head, line, line[:-20]],
        lambda head, line: [head, line, '{"subject": "child-1", "references": 1, "at": "2026-11-25T00:00:00+00:00"}'],
        lambda head, line: [head, line, line.replace("+00:00", "")],
        lambda head, line: [head, line, line.replace('"references"', f'"reference": "{"0" * 64}", "references"')],
    ],
)
def test_a_damaged_export_erases_nothing(people: list[str], backup: Any, export: Any, spoil: Any) -> None:
    restore = backup()
    services.erase_subject(services.NOBODY, "child-1")
    file = export()
    file.write_text("\n".join(spoil(*file.read_text().splitlines())))
    restore()
    with pytest.raises(CommandError, match="Nothing was erased"):
        replay(file)
    assert (enrolled(), Erasure.objects.count()) == ({"child-1": 1, "child-2": 1}, 0)


def test_a_reference_leaves_one_tombstone_however_often_it_is_erased(people: list[str], user: Any) -> None:
    reference = Reference.objects.all()[0].pk
    services.erase_reference(services.Caller(user), reference)
    with pytest.raises(NotFound):
        services.erase_reference(services.Caller(user), reference)
    [tombstone] = Erasure.objects.all()
    assert (tombstone.subject_hash, len(tombstone.reference_hash), tombstone.by) == ("", 64, user)
