"""The chain: made in batches by one job, and whatever is done to it behind the app's back is found."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from ml_models import signals, tasks
from ml_models.models import AuditCheckpoint, AuditEvent, AuditKey
from ml_models.services import NOBODY, Caller, audit, chain, rotation, trail
from tests.support.keys import keyset
from tests.support.races import LONG_S, Parking

pytestmark = pytest.mark.django_db


def write(count: int = 10) -> None:
    for number in range(count):
        audit.record(audit.Kind.RELEASE, Caller(None, f"key:{number}", "front door"), number=number)


@pytest.fixture
def empty(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE ml_models_auditevent")


@pytest.fixture
def written(empty: None) -> None:
    write()


@pytest.fixture
def chained(written: None) -> None:
    assert chain.chain(limit=4) == 4
    assert chain.chain_all() == 6


def places() -> list[tuple[int | None, str]]:
    return list(AuditEvent.objects.order_by("sequence").values_list("sequence", "digest"))


def ages(**span: int) -> None:
    """Let the events' days pass: the database's clock cannot be turned, so what was written is older."""
    behind_its_back("UPDATE ml_models_auditevent SET at = at - %s", timedelta(**span))


def behind_its_back(statement: str, *parameters: Any) -> None:
    """As the owner of the tables, who can take the triggers away."""
    tables = ("ml_models_auditevent", "ml_models_auditcheckpoint")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(statement, parameters)
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def test_a_batch_after_the_other_gives_one_chain_and_a_second_run_does_nothing(chained: None) -> None:
    before = places()
    assert [sequence for sequence, _ in before] == list(range(1, 11))
    assert len({digest for _, digest in before}) == 10
    tasks.audit()
    assert chain.chain() == 0
    assert places() == before
    assert trail.verify().problems == []


def test_the_head_is_told_to_the_host(written: None, django_capture_on_commit_callbacks: Any) -> None:
    heads: list[Any] = []

    def keep(sequence: int, digest: str, **_: Any) -> None:
        heads.append((sequence, digest))

    signals.audit_chained.connect(keep)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            chain.chain_all()
    finally:
        signals.audit_chained.disconnect(keep)
    assert heads == [chain.end()]


@pytest.mark.django_db(transaction=True)
def test_two_jobs_at_once_do_not_fork_the_chain(
    monkeypatch: pytest.MonkeyPatch, background: Callable[..., Any]
) -> None:
    write()
    parking = Parking(monkeypatch, chain, "end", after=True)
    first = background(chain.chain)
    parking.arrive()
    assert chain.chain() == 0  # somebody is at it
    parking.let_go()
    assert first.result(LONG_S) == 10
    assert trail.verify().problems == []


@pytest.mark.django_db(transaction=True)
def test_an_event_that_is_committed_late_is_chained_late_and_holds_up_nobody(background: Callable[..., Any]) -> None:
    begun, go = threading.Event(), threading.Event()

    def slowly() -> None:
        with transaction.atomic():
            audit.record(audit.Kind.RELEASE, NOBODY, number="late")
            begun.set()
            assert go.wait(LONG_S)

    slow = background(slowly)
    assert begun.wait(LONG_S)
    write(3)
    assert chain.chain() == 3
    go.set()
    slow.result(LONG_S)
    assert chain.chain() == 1
    late = AuditEvent.objects.get(facts__number="late")
    assert late.sequence == 4
    assert late.pk == AuditEvent.objects.earliest("pk").pk
    assert trail.verify().problems == []


def verified(head: Path | None = None) -> dict[str, Any]:
    out = StringIO()
    call_command("audit", "verify", "--json", *(["--head", str(head)] if head else []), stdout=out)
    return dict(json.loads(out.getvalue()))


@pytest.fixture
def kept(chained: None, tmp_path: Path) -> Path:
    """The head, in a file elsewhere."""
    path, out = tmp_path / "head.json", StringIO()
    call_command("audit", "head", stdout=out)
    path.write_text(out.getvalue())
    return path


_INSERTED = """
    INSERT INTO ml_models_auditevent
        (at, kind, code, caller, credential_id, capture_point, subject, facts, sequence, digest, key_id)
    SELECT at, kind, code, caller, credential_id, capture_point, subject, facts, {}, md5('') || md5(''), key_id
    FROM ml_models_auditevent WHERE sequence = 5
"""
# what is done, and what `verify` says of it
TAMPERINGS: dict[str, tuple[list[str], str]] = {
    "facts altered": (["SET facts = '{}' WHERE sequence = 5"], "Event 5 was altered"),
    "caller altered": (["SET caller = '1' WHERE sequence = 5"], "Event 5 was altered"),
    "credential altered": (["SET credential_id = 'x' WHERE sequence = 5"], "Event 5 was altered"),
    "capture point altered": (["SET capture_point = 'x' WHERE sequence = 5"], "Event 5 was altered"),
    "time altered": (["SET at = at - interval '1 day' WHERE sequence = 5"], "Event 5 was altered"),
    "subject altered": (["SET subject = 'x' WHERE sequence = 5"], "Event 5 was altered"),
    "kind altered": (["SET kind = 'enroll' WHERE sequence = 5"], "Event 5 was altered"),
    "code altered": (["SET code = 'x' WHERE sequence = 5"], "Event 5 was altered"),
    "id altered": (["SET id = id + 1000 WHERE sequence = 5"], "Event 5 was altered"),
    "digest altered": (["SET digest = 'x' WHERE sequence = 5"], "Event 5 was altered"),
    "one removed": (["DELETE sequence = 5"], "Events 5 to 5 were removed"),
    "the first removed": (["DELETE sequence = 1"], "Events 1 to 1 were removed"),
    "one removed and the gap closed": (
        ["DELETE sequence = 5", "SET sequence = sequence - 1 WHERE sequence > 5"],
        "Event 5 was altered",
    ),
    "order swapped": (
        [
            "SET sequence = 100 WHERE sequence = 5",
            "SET sequence = 5 WHERE sequence = 6",
            "SET sequence = 6 WHERE sequence = 100",
        ],
        "Event 5 was altered, moved or forged.\n- Event 6 was altered",
    ),
    "one forged at the end": ([_INSERTED.format(11)], "Event 11 was altered, moved or forged"),
    "one forged in the middle": (
        [
            "SET sequence = -sequence - 1 WHERE sequence > 5",
            "SET sequence = -sequence WHERE sequence < 0",
            _INSERTED.format(6),
        ],
        "Event 6 was altered",
    ),
    "the tail removed": (["DELETE sequence > 7"], "cut off: the trail ends at 7, the head kept is 10"),
    "all removed": (["DELETE true"], "cut off: the trail ends at 0, the head kept is 10"),
}


def tamper(steps: list[str]) -> None:
    for step in steps:
        if step.startswith("SET"):
            step = f"UPDATE ml_models_auditevent {step}"
        elif step.startswith("DELETE"):
            step = step.replace("DELETE", "DELETE FROM ml_models_auditevent WHERE")
        behind_its_back(step)


@pytest.mark.parametrize("what", TAMPERINGS)
def test_whatever_is_done_to_the_chain_is_found(kept: Path, what: str) -> None:
    assert verified(kept)["events"] == 10
    steps, said = TAMPERINGS[what]
    tamper(steps)
    with pytest.raises(CommandError, match=said):
        verified(kept)


def test_a_tail_removed_and_written_anew_is_found_by_the_head_alone(kept: Path) -> None:
    """As by somebody who has the keyset, too."""
    tamper(["DELETE sequence > 7"])
    write(5)
    chain.chain_all()
    assert verified()["problems"] == []
    with pytest.raises(CommandError, match="Event 10 is not the one of the head kept"):
        verified(kept)


def test_a_chain_written_anew_without_its_key_is_found(chained: None) -> None:
    """As by somebody who may write to the database and has no keyset."""
    behind_its_back("UPDATE ml_models_auditevent SET facts = '{}' WHERE sequence = 5")
    digest = AuditEvent.objects.get(sequence=4).digest
    for event in AuditEvent.objects.filter(sequence__gt=4).order_by("sequence"):
        assert event.key_id
        digest = chain.link(b"", event.key_id, digest, {"sequence": event.sequence, **chain.content(event)})
        behind_its_back("UPDATE ml_models_auditevent SET digest = %s WHERE id = %s", digest, event.pk)
    with pytest.raises(CommandError, match="Event 5 was altered"):
        verified()


def test_events_of_two_chains_are_no_chain_though_each_has_its_place_and_its_hash(kept: Path) -> None:
    """As by somebody who let the job write a tail anew, and put the old end back so that the head kept is there."""
    old = list(AuditEvent.objects.filter(sequence__gt=8))
    tamper(["DELETE sequence > 7"])
    write(3)
    chain.chain_all()
    tamper(["DELETE sequence > 8"])
    AuditEvent.objects.bulk_create(old)
    assert [sequence for sequence, _ in places()] == list(range(1, 11))
    with pytest.raises(CommandError, match="Event 9 "):
        verified(kept)


def test_a_head_that_is_none_is_refused(chained: None, tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    for text in ("", "no head", "[]", '{"sequence": 3}'):
        path.write_text(text)
        with pytest.raises(CommandError, match="is no head"):
            verified(path)
    with pytest.raises(CommandError, match="is no head"):
        verified(tmp_path / "nowhere")


@pytest.fixture
def pruned(empty: None, settings: Settings) -> None:
    """Six events past their time, deleted in two batches; four that stay."""
    settings.ML_MODELS = {**settings.ML_MODELS, "AUDIT_DAYS": 30}
    write(6)
    ages(days=31)
    write(4)
    chain.chain_all()
    assert chain.prune() == 6
    assert chain.prune() == 0


def test_retention_leaves_a_checkpoint_and_a_whole_trail(pruned: None, tmp_path: Path) -> None:
    found = verified()
    assert (found["events"], found["deleted_by_retention"], found["sequence"]) == (4, 6, 10)
    path, out = tmp_path / "head.json", StringIO()
    call_command("audit", "head", stdout=out)
    path.write_text(out.getvalue())
    ages(days=31)  # their digests are wrong now, but they go
    assert chain.prune(batch=3) == 3
    assert chain.prune(batch=3) == 1
    assert chain.prune(batch=3) == 0
    assert verified(path)["deleted_by_retention"] == 10
    write(2)
    assert chain.chain_all() == 2
    assert chain.end()[0] == 12
    assert verified(path)["problems"] == []
    ages(days=31)
    assert chain.prune() == 2
    with pytest.raises(CommandError, match="The head kept, 10, is older than what retention has left"):
        verified(path)


def test_what_was_chained_late_waits_for_those_before_it(chained: None, settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "AUDIT_DAYS": 30}
    behind_its_back("UPDATE ml_models_auditevent SET at = at - %s WHERE sequence = 5", timedelta(days=31))
    assert chain.prune() == 0
    assert AuditEvent.objects.count() == 10


@pytest.mark.django_db(transaction=True)
def test_the_chain_is_still_while_it_is_verified(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, background: Callable[..., Any]
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "AUDIT_DAYS": 30}
    write(3)
    ages(days=31)
    chain.chain_all()
    write(1)
    parking = Parking(monkeypatch, trail, "_verify_checkpoints", after=True)
    verifying = background(trail.verify)
    parking.arrive()
    assert (chain.prune(), chain.chain()) == (0, 0)
    parking.let_go()
    found = verifying.result(LONG_S)
    assert (found.problems, found.events, found.unchained) == ([], 3, 1)
    assert (chain.chain(), chain.prune()) == (1, 3)


@pytest.mark.parametrize("forever", [0, None, -1])
def test_nothing_is_pruned_before_its_time_or_where_events_are_kept_for_ever(
    chained: None, settings: Settings, forever: int | None
) -> None:
    assert chain.prune() == 0
    ages(days=4000)
    settings.ML_MODELS = {**settings.ML_MODELS, "AUDIT_DAYS": forever}
    assert chain.prune() == 0
    assert AuditEvent.objects.count() == 10


CHECKPOINTS = {
    "sequence moved": ("UPDATE ml_models_auditcheckpoint SET sequence = 5", "Checkpoint 5 was altered or forged"),
    "digest altered": ("UPDATE ml_models_auditcheckpoint SET digest = 'x'", "Checkpoint 6 was altered or forged"),
    "count altered": ("UPDATE ml_models_auditcheckpoint SET count = 5", "Checkpoint 6 was altered or forged"),
    "time altered": (
        "UPDATE ml_models_auditcheckpoint SET at = at - interval '1 day'",
        "Checkpoint 6 was altered or forged",
    ),
    "removed": ("DELETE FROM ml_models_auditcheckpoint", "Events 1 to 6 were removed"),
    "forged": (
        "INSERT INTO ml_models_auditcheckpoint (sequence, digest, count, at, key_id, signature) "
        "SELECT 8, digest, 2, at, key_id, digest FROM ml_models_auditevent WHERE sequence = 8",
        "Checkpoint 8 was altered or forged",
    ),
    "an event put back": (_INSERTED.replace("= 5", "= 8").format(3), "Event 3 is from before the last checkpoint"),
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_whatever_is_done_to_a_checkpoint_is_found(pruned: None, what: str) -> None:
    statement, said = CHECKPOINTS[what]
    behind_its_back(statement)
    with pytest.raises(CommandError, match=said):
        verified()


def test_a_checkpoint_between_two_others_is_missed(pruned: None, settings: Settings) -> None:
    ages(days=31)
    assert [chain.prune(batch=2), chain.prune(batch=2)] == [2, 2]
    behind_its_back("DELETE FROM ml_models_auditcheckpoint WHERE sequence = 8")
    with pytest.raises(CommandError, match="A checkpoint between 6 and 10 is missing"):
        verified()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ml_models_auditcheckpoint SET count = 0",
        "DELETE FROM ml_models_auditcheckpoint",
        "DELETE FROM ml_models_auditevent WHERE sequence = 7",  # which no checkpoint covers
    ],
)
def test_the_database_refuses_to_change_what_retention_has_left(pruned: None, change: str) -> None:
    with pytest.raises(Exception, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)
    assert AuditCheckpoint.objects.get().count == 6


def test_the_chain_outlives_the_keyset_it_began_under(chained: None, settings: Settings) -> None:
    old = json.loads(settings.ML_MODELS["KEYSET"])["keys"]
    both = keyset("k9", "k9", **old)
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": both}
    rotation.rotate(lambda done, total: None)
    assert rotation.left() == 0
    only_new = keyset("k9", k9=json.loads(both)["keys"]["k9"])
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": only_new}
    assert chain.chain_all() == 1  # the rotation's own event
    assert AuditKey.objects.count() == 2  # what comes after the rotation is chained under a key of its own
    assert verified()["events"] == 11


def test_a_chain_whose_key_is_gone_is_not_called_whole(chained: None, settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset("k9", "k9")}
    with pytest.raises(CommandError, match="does not open"):
        verified()


def test_the_export_streams_lines_and_ends_with_the_head(pruned: None, tmp_path: Path) -> None:
    write(1)
    out = StringIO()
    call_command("audit", "export", stdout=out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["type"] for line in lines] == ["checkpoint", *["event"] * 5, "head"]
    assert [line["sequence"] for line in lines] == [6, 7, 8, 9, 10, 11, 11]
    assert lines[1]["credential_id"] == "key:0"
    path = tmp_path / "export.jsonl"
    path.write_text(out.getvalue())
    assert verified(path)["events"] == 5  # its last line is a head

    out = StringIO()
    tomorrow = (timezone.now() + timedelta(days=1)).date()
    call_command("audit", "export", "--since", str(tomorrow), stdout=out)
    assert [json.loads(line)["type"] for line in out.getvalue().splitlines()] == ["checkpoint", "head"]
