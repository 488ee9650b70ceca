"""Every deed and every refusal leaves an event, which names who, with what key and where, and the subject to nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from backend_easy.api_keys.models import ApiKey
from ml_models import rollouts, runtime, services
from ml_models.engine.pipeline import Pipeline
from ml_models.exceptions import InvalidRequest
from ml_models.models import AuditEvent, EnsembleConfig, Reference, Subject, Verification
from ml_models.services import chain, trail
from tests.conftest import Portraits
from tests.support.keys import keyset
from tests.support.pictures import another, encoded, faceless
from tests.support.uploads import enroll, verify
from tests.support.work import work_off

pytestmark = pytest.mark.django_db

SUBJECTS = "/api/v1/face/subjects"
REFERENCES = "/api/v1/face/references"


@pytest.fixture
def kiosk(grant: Callable[..., Any], django_user_model: Any) -> APIClient:
    """A client with a key of its own, and every right over subjects."""
    account = grant(
        django_user_model.objects.create_user("bus"),
        *("enroll_subject", "verify_subject", "erase_subject", "override_reference"),
    )
    key, text = ApiKey.objects.issue(account, "front door")
    client = APIClient(HTTP_AUTHORIZATION=f"Api-Key {text}")
    client.name = f"key:{key.prefix}"  # type: ignore[attr-defined]
    return client


def trace() -> list[tuple[str, str]]:
    return list(AuditEvent.objects.order_by("pk").values_list("kind", "code"))


def last() -> AuditEvent:
    return AuditEvent.objects.latest("pk")


def test_the_insider_leaves_a_trail_that_survives(
    served: EnsembleConfig, kiosk: Any, portraits: Portraits, service: APIClient
) -> None:
    """Overrides in the own face, verifies as the child, and deletes the reference."""
    enroll(service, "child-1", portraits.eileen_collins)
    own = portraits.grace_hopper
    reference = enroll(kiosk, "child-1", own, override="true", capture_point="office").json()["reference_id"]
    decision = verify(kiosk, "child-1", own, capture_point="front door").json()["decision"]
    assert kiosk.delete(f"{REFERENCES}/{reference}").status_code == 204
    verify(service, "child-1", portraits.eileen_collins)  # nothing to see any more

    assert decision == "match"
    events = AuditEvent.objects.filter(credential_id=kiosk.name).order_by("pk")
    assert [(e.kind, e.code, e.capture_point, e.facts.get("reference")) for e in events] == [
        ("override", "", "office", reference),
        ("verify", "match", "front door", None),
        ("erase_reference", "", "", reference),
    ]
    assert len({e.subject for e in AuditEvent.objects.all()} - {""}) == 1  # all of one subject, the first one too
    row = Verification.objects.get(pk=events[1].facts["verification"])
    assert (row.credential_id, row.capture_point) == (kiosk.name, "front door")
    assert trail.verify(trail.head()).problems == []


def test_what_matches_without_an_override_is_a_row_and_no_event(
    people: list[str], kiosk: Any, portraits: Portraits
) -> None:
    before = AuditEvent.objects.count()
    assert verify(kiosk, "child-1", portraits.eileen_collins, capture_point="bus").json()["decision"] == "match"
    assert AuditEvent.objects.count() == before
    row = Verification.objects.get()
    assert (row.credential_id, row.capture_point) == (kiosk.name, "bus")


def _corrupt(settings: Settings) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ml_models_embedding SET vector = '\\x0100'")


def _no_version(settings: Settings) -> None:
    EnsembleConfig.objects.update(state="retired")


FAILURES: dict[str, Any] = {
    "no_match": lambda portraits: portraits.grace_hopper,
    "no_face_found": lambda portraits: encoded(faceless()),
    "undecodable_image": lambda portraits: b"no picture",
    "decryption_failed": _corrupt,
    "not_ready": _no_version,
    "not_enrolled": lambda portraits: portraits.eileen_collins,
    "internal_error": lambda portraits: portraits.eileen_collins,
}


@pytest.mark.parametrize("code", FAILURES)
def test_every_verify_that_fails_is_an_event(
    people: list[str],
    kiosk: Any,
    portraits: Portraits,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    subject_id = {"not_enrolled": "nobody"}.get(code, "child-1")
    picture = portraits.eileen_collins
    if code in ("decryption_failed", "not_ready"):
        FAILURES[code](settings)
    else:
        picture = FAILURES[code](portraits)
    if code == "internal_error":
        kiosk.raise_request_exception = False
        monkeypatch.setattr(Pipeline, "extract", lambda *args, **more: [][0])
    pseudonym = AuditEvent.objects.filter(kind="enroll").earliest("pk").subject
    before = AuditEvent.objects.count()
    verify(kiosk, subject_id, picture, capture_point="front door")
    event = last()
    assert AuditEvent.objects.count() == before + 1
    assert (event.kind, event.code, event.capture_point) == ("verify", code, "front door")
    assert event.credential_id == kiosk.name
    assert event.subject == ("" if code == "not_enrolled" else pseudonym)


@pytest.mark.parametrize("subject_id", ["a\x00b", "", "x" * 201, " child-1"])
def test_an_id_that_is_none_is_refused_as_before_and_in_no_event(served: EnsembleConfig, subject_id: str) -> None:
    with pytest.raises(InvalidRequest):
        services.verify(services.NOBODY, subject_id, [b""])
    with pytest.raises(InvalidRequest):
        services.enroll(services.NOBODY, subject_id, b"")
    assert trace()[-2:] == [("verify", "invalid_request"), ("enroll", "invalid_request")]
    assert {event.subject for event in AuditEvent.objects.all()} == {""}


def test_a_slowed_credential_leaves_an_event_of_every_attempt(
    people: list[str], kiosk: Any, portraits: Portraits
) -> None:
    start = AuditEvent.objects.count()
    for _ in range(6):
        verify(kiosk, "child-1", portraits.grace_hopper)
    assert trace()[start:] == [("verify", "no_match")] * 3 + [("verify", "throttled")] * 3


def test_an_enrolment_that_is_refused_is_an_event(
    people: list[str], kiosk: Any, portraits: Portraits, settings: Settings
) -> None:
    start = AuditEvent.objects.count()
    for name, picture, more in (
        ("child-1", portraits.grace_hopper, {}),
        ("child-9", b"no picture", {}),
        ("child-1", b"no picture", {"override": "true"}),
    ):
        enroll(kiosk, name, picture, capture_point="office", **more)
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_REFERENCES": 1}
    enroll(kiosk, "child-1", another(portraits.eileen_collins))
    assert trace()[start:] == [
        ("enroll", "reference_mismatch"),
        ("enroll", "undecodable_image"),
        ("override", "undecodable_image"),
        ("enroll", "reference_limit"),
    ]
    assert not Subject.objects.filter(subject_id="child-9").exists()  # an event makes nobody exist


def test_a_refusal_in_a_transaction_of_the_request_is_kept(
    people: list[str], kiosk: Any, portraits: Portraits, settings: Settings
) -> None:
    """Under ATOMIC_REQUESTS a refusal is an answer, so its request commits."""
    start = AuditEvent.objects.count()
    with transaction.atomic():
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            assert enroll(kiosk, "child-1", portraits.grace_hopper).status_code == 409
            assert verify(kiosk, "child-1", b"no picture").status_code == 422
            _corrupt(settings)
            assert verify(kiosk, "child-1", portraits.eileen_collins).status_code == 500
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert [code for _, code in trace()[start:]] == ["reference_mismatch", "undecodable_image", "decryption_failed"]


def test_a_deed_and_its_event_are_written_together_or_not_at_all(
    people: list[str], portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(AuditEvent.objects, "create", full)
    reference = Reference.objects.earliest("captured_at").pk
    deeds: list[Callable[[], Any]] = [
        lambda: services.enroll(services.NOBODY, "child-3", portraits.eileen_collins),
        lambda: services.erase_reference(services.NOBODY, reference),
        lambda: services.erase_subject(services.NOBODY, "child-1"),
    ]
    for deed in deeds:
        with pytest.raises(OperationalError):
            deed()
    assert sorted(Subject.objects.values_list("subject_id", flat=True)) == ["child-1", "child-2"]
    assert Reference.objects.count() == 2


def test_erasure_takes_the_key_and_leaves_events_that_name_nobody(
    people: list[str], kiosk: Any, portraits: Portraits, settings: Settings
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "REENROL_WINDOW_DAYS": 0}
    verify(kiosk, "child-1", portraits.grace_hopper)
    pseudonym = last().subject
    assert kiosk.delete(f"{SUBJECTS}/child-1").status_code == 200
    erased = last()
    assert (erased.kind, erased.credential_id, erased.facts) == ("erase_subject", kiosk.name, {"references": 1})
    assert erased.subject == ""  # or the tombstone would lead to the rest
    # enrolled anew, the same child is somebody else
    enroll(kiosk, "child-1", portraits.eileen_collins)
    assert last().subject not in ("", pseudonym)
    assert AuditEvent.objects.filter(subject=pseudonym).count() == 2
    assert "child-1" not in json.dumps(list(trail.export()))


def test_people_who_act_on_themselves_are_not_named_by_their_account(
    served: EnsembleConfig, user: Any, portraits: Portraits
) -> None:
    me = services.Caller(user, f"account:{user.pk}")
    services.enroll(me, str(user.pk), portraits.eileen_collins)
    services.verify(me, str(user.pk), [portraits.eileen_collins])
    with pytest.raises(Exception, match="could not be read"):
        services.verify(me, str(user.pk), [b"no picture"])
    services.erase_subject(me, str(user.pk))
    assert {event.caller for event in AuditEvent.objects.all()} == {"self"}
    names = [*AuditEvent.objects.values_list("credential_id", flat=True)]
    names += [*Verification.objects.values_list("credential_id", flat=True)]
    assert all(name == "" or name.startswith("self:") for name in names)
    assert len({name for name in names if name}) == 1  # one key, still told from another


def test_a_subject_of_before_gets_its_key_with_its_first_event(
    people: list[str], kiosk: Any, portraits: Portraits
) -> None:
    Subject.objects.update(audit_key=None)
    for _ in range(2):
        verify(kiosk, "child-1", portraits.grace_hopper)
    first, second = AuditEvent.objects.order_by("-pk")[:2]
    assert first.subject == second.subject != ""


def test_a_version_that_goes_live_is_an_event_with_its_operator(
    people: list[str], mirrored: EnsembleConfig, operator: APIClient, user: Any
) -> None:
    start = AuditEvent.objects.count()
    rollouts.open_rollout(mirrored, services.Caller(user, "key:1"))
    runtime.refresh()
    work_off()
    assert operator.post("/api/v1/face/configs/3/rollback").status_code == 200
    assert trace()[start:] == [("open_rollout", ""), ("activate", ""), ("activate", "")]
    opened, live, back = AuditEvent.objects.order_by("pk")[start:]
    assert (opened.caller, opened.credential_id) == (str(user.pk), "key:1")
    assert live.caller == str(user.pk)  # the tick did it, on this account's behalf
    assert back.credential_id == f"account:{back.caller}"
    assert [event.facts["version"] for event in (opened, live, back)] == [3, 3, 2]


def test_an_activation_over_rest_names_the_credential_and_one_by_command_nobody(
    people: list[str], mirrored: EnsembleConfig, operator: APIClient
) -> None:
    assert operator.post("/api/v1/face/configs/3/activate").status_code == 202
    assert (last().kind, last().credential_id) == ("open_rollout", f"account:{last().caller}")
    rollouts.abort(rollouts.get_rollout())
    rollouts.open_rollout(rollouts.get_config(3))
    assert (last().kind, last().caller, last().credential_id) == ("open_rollout", "", "")


def test_a_rotation_is_an_event_and_a_second_one_that_does_nothing_is_none(
    people: list[str], settings: Settings
) -> None:
    old = json.loads(settings.ML_MODELS["KEYSET"])["keys"]
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset("k9", "k9", **old)}
    start = AuditEvent.objects.count()
    for _ in range(2):
        call_command("rotate_keys", stdout=StringIO(), stderr=StringIO())
    [event] = AuditEvent.objects.order_by("pk")[start:]
    assert (event.kind, event.facts) == ("rotate_keys", {"primary": "k9", "rotated": 8, "unreadable": 0})


CHANGES = {
    "facts": "UPDATE ml_models_auditevent SET facts = '{}'",
    "caller": "UPDATE ml_models_auditevent SET caller = 'somebody else'",
    "all": "DELETE FROM ml_models_auditevent",
    "facts with the place": "UPDATE ml_models_auditevent SET sequence = id, digest = 'x', facts = '{}'",
    "no place": "UPDATE ml_models_auditevent SET sequence = NULL, digest = '', key_id = NULL",
    "another place": "UPDATE ml_models_auditevent SET sequence = sequence + 1000",
}


def test_the_database_refuses_to_change_an_event(people: list[str]) -> None:
    def refuses(*changes: str) -> None:
        for change in changes:
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                connection.cursor().execute(CHANGES[change])

    refuses("facts", "caller", "facts with the place", "all")
    chain.chain_all()
    refuses(*CHANGES)


def test_a_caller_without_the_right_leaves_an_event(people: list[str], user: Any, portraits: Portraits) -> None:
    stranger = APIClient()
    stranger.force_authenticate(user)
    start = AuditEvent.objects.count()
    reference = Reference.objects.earliest("captured_at").pk
    answers = [
        enroll(stranger, "child-1", portraits.eileen_collins),
        enroll(stranger, "nobody", portraits.eileen_collins, override="true"),
        verify(stranger, "child-1", portraits.eileen_collins),
        stranger.delete(f"{SUBJECTS}/child-1"),
        stranger.delete(f"{REFERENCES}/{reference}"),
        stranger.post(f"{SUBJECTS}/child-1/release"),
    ]
    assert {answer.status_code for answer in answers} == {403}
    kinds = ["enroll", "override", "verify", "erase_subject", "erase_reference", "release"]
    assert trace()[start:] == [(kind, "forbidden") for kind in kinds]
    assert last().caller == str(user.pk)


def test_the_timeline_is_for_its_readers_and_shows_no_score(
    people: list[str], kiosk: Any, portraits: Portraits, grant: Any, django_user_model: Any
) -> None:
    verify(kiosk, "child-2", portraits.eileen_collins, capture_point="front door")
    score = f"{Verification.objects.get().score}"[:6]

    def panel(*rights: str) -> Client:
        client = Client()
        name = f"staff{django_user_model.objects.count()}"
        client.force_login(grant(django_user_model.objects.create_user(name, is_staff=True), *rights))
        return client

    pages = ["/admin/ml_models/auditevent/", f"/admin/ml_models/auditevent/{last().pk}/change/"]
    assert [panel("view_verification").get(page).status_code for page in pages] == [403, 403]
    reader = panel("view_auditevent", "view_subject")
    for page in pages:
        text = reader.get(page).text
        assert "front door" in text
        assert score not in text
    assert reader.post(pages[1], {"code": "match"}).status_code == 403
    answer = reader.post("/admin/ml_models/auditevent/find/", {"sought": "child-2"}, follow=True)
    found = answer.context["cl"].result_list
    assert [event.kind for event in found] == ["verify", "enroll"]
