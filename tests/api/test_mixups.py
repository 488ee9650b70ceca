"""One face under two names of a group: refused with the group named, overridden by whoever may, found afterwards."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from ml_models import runtime, services
from ml_models.exceptions import DuplicateFace, NotFound, Slowed
from ml_models.models import AuditEvent, Embedding, Reference, Subject
from ml_models.services import admission, enrolment, groups, lockout, mixups, repeated_pictures, rosters
from tests.api.identify.conftest import block
from tests.conftest import Portraits
from tests.support.pictures import another
from tests.support.races import LONG_S, Parking
from tests.support.served import rewrite
from tests.support.uploads import enroll, upload

pytestmark = pytest.mark.django_db

BUS = "bus/7"


@pytest.fixture
def roster(people: list[str]) -> str:
    """Two enrolled members, and one who is not enrolled yet, under a version that can identify."""
    rewrite(identification=block())
    runtime.refresh()
    groups.put(services.NOBODY, BUS, [*people, "child-3"])
    return BUS


@pytest.fixture
def desk(roster: str, service: APIClient, grant: Any, django_user_model: Any) -> APIClient:
    """Who may enroll and name groups, and neither identify nor see candidates."""
    grant(django_user_model.objects.get(username="kiosk"), "enroll_group")
    return service


@pytest.fixture
def allow(grant: Any, django_user_model: Any) -> Callable[..., Any]:
    return lambda *rights: grant(django_user_model.objects.get(username="kiosk"), *rights)


def events() -> list[tuple[str, str, dict[str, Any]]]:
    rows = AuditEvent.objects.order_by("id")
    return [(row.kind, row.code, row.facts) for row in rows if row.facts.get("group") and row.kind != "write_group"]


def refused(answer: Any) -> None:
    assert (answer.status_code, answer.json()["code"]) == (409, "duplicate_face"), answer.content


def test_another_members_face_is_refused_and_nothing_is_stored(
    desk: APIClient, portraits: Portraits, allow: Callable[..., Any], settings: Any
) -> None:
    for _ in range(2):
        answer = enroll(desk, "child-3", another(portraits.eileen_collins), group=BUS)
        refused(answer)
        assert "subject_id" not in answer.json()
        assert "child-1" not in answer.content.decode()
    assert not Subject.objects.filter(subject_id="child-3").exists()
    assert Reference.objects.count() == 2
    facts = events()[0][2]
    assert events() == [("enroll", "duplicate_face", facts)] * 2
    assert facts.keys() == {"group", "other"}
    assert "child-1" not in json.dumps(facts)
    # its id goes to callers with view_candidates, if the host's policy lets them read that subject
    allow("view_candidates")
    assert enroll(desk, "child-3", another(portraits.eileen_collins), group=BUS).json()["subject_id"] == "child-1"
    settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_POLICY": f"{__name__}.reads_nobody"}
    assert "subject_id" not in enroll(desk, "child-3", another(portraits.eileen_collins), group=BUS).json()


def reads_nobody(user: Any, action: str, subject_id: str) -> bool:
    return action == "enroll"


def test_whose_face_is_nobody_elses_is_enrolled_and_its_own_references_do_not_count(
    desk: APIClient, portraits: Portraits
) -> None:
    answer = enroll(desk, "child-1", another(portraits.eileen_collins), group=BUS)
    assert (answer.status_code, answer.json()["warnings"]) == (201, [repeated_pictures.WARNING])
    # the first two members' faces are in no other group, and without a group nobody looks
    groups.put(services.NOBODY, "bus/8", ["child-2"])
    assert enroll(desk, "child-3", portraits.eileen_collins, group="bus/8").status_code == 201
    groups.put(services.NOBODY, "empty", ["child-4"])
    assert enroll(desk, "child-4", portraits.eileen_collins, group="empty").status_code == 201
    assert enroll(desk, "child-5", portraits.eileen_collins).status_code == 201
    # nor is a face that identify would not name the other's
    rewrite(identification=block(match=100.0))
    runtime.refresh()
    assert enroll(desk, "child-3", another(portraits.eileen_collins), group=BUS).status_code == 201
    assert [(kind, code, set(facts)) for kind, code, facts in events()] == [("enroll", "", {"reference", "group"})] * 4


def test_an_override_is_audited_as_one_and_can_be_told_from_a_mismatch(
    desk: APIClient, portraits: Portraits, allow: Callable[..., Any]
) -> None:
    assert enroll(desk, "child-3", portraits.eileen_collins, group=BUS, override="true").status_code == 403
    allow("override_reference")
    answer = enroll(desk, "child-3", portraits.eileen_collins, group=BUS, override="true")
    assert (answer.status_code, len(answer.json()["warnings"])) == (201, 1)
    assert "another member" in answer.json()["warnings"][0]
    assert Reference.objects.get(subject__subject_id="child-3").overridden
    # neither its own references nor the others' speak for it
    both = enroll(desk, "child-2", another(portraits.eileen_collins), group=BUS, override="true")
    assert (both.status_code, len(both.json()["warnings"])) == (201, 2)
    overrides = [(kind, facts["reason"]) for kind, _, facts in events()]
    assert overrides == [("override", "duplicate_face"), ("override", "mismatch+duplicate_face")]
    # the same picture sent again is there already, and with nothing to override it is no override
    again = enroll(desk, "child-3", portraits.eileen_collins, group=BUS)
    assert again.json()["code"] == "duplicate_reference"


def test_the_policy_is_asked_for_the_group_before_anything_is_read(
    roster: str, service: APIClient, portraits: Portraits
) -> None:
    for group in (BUS, "nobodys"):
        answer = enroll(service, "child-3", another(portraits.eileen_collins), group=group)
        assert (answer.status_code, answer.json()["right"]) == (403, "ml_models.enroll_group")
    assert AuditEvent.objects.filter(kind="enroll", code="forbidden").count() == 2


def test_who_may_name_a_group_at_an_enrolment_identifies_nobody_on_it(desk: APIClient, portraits: Portraits) -> None:
    body = {"group": BUS, "image": upload("", portraits.eileen_collins)["image"]}
    answer = desk.post("/api/v1/face/identify", body, format="multipart")
    assert (answer.status_code, answer.json()["right"]) == (403, "ml_models.identify_group")


def test_what_cannot_be_searched_is_refused(desk: APIClient, portraits: Portraits, settings: Any) -> None:
    picture = portraits.grace_hopper
    asked = {"nobodys": (404, "not_found"), " ": (400, "invalid_request"), "a\x00": (400, "invalid_request")}
    for group, expected in asked.items():
        answer = enroll(desk, "child-3", picture, group=group)
        assert (answer.status_code, answer.json()["code"]) == expected
    limits = {**settings.ML_MODELS.get("LIMITS", {}), "caller": None, "subject": None, "candidates": (3, 600)}
    settings.ML_MODELS = {**settings.ML_MODELS, "LIMITS": limits}
    codes = [enroll(desk, "child-3", another(portraits.eileen_collins), group=BUS).json()["code"] for _ in range(2)]
    assert codes == ["duplicate_face", "throttled"]
    # as identify counts them: among two, each is 25
    settings.ML_MODELS = {**settings.ML_MODELS, "LIMITS": {**limits, "candidates": None, "searches": (50, 3600)}}
    codes = [enroll(desk, "child-3", another(portraits.eileen_collins), group=BUS).json()["code"] for _ in range(3)]
    assert codes == ["duplicate_face", "duplicate_face", "throttled"]
    assert enroll(desk, "child-3", b"no picture", group=BUS).json()["code"] == "throttled"
    rewrite(identification={})
    runtime.refresh()
    answer = enroll(desk, "child-3", picture, group=BUS)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert not Subject.objects.filter(subject_id="child-3").exists()


def test_a_credential_that_is_slowed_searches_no_group(
    desk: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowed(caller: Any) -> None:
        raise Slowed(60.0)

    monkeypatch.setattr(lockout, "require_not_slowed", slowed)
    assert enroll(desk, "child-3", portraits.grace_hopper, group=BUS).status_code == 429
    assert enroll(desk, "child-3", portraits.grace_hopper).status_code == 201


def test_who_could_not_be_compared_is_told(desk: APIClient, portraits: Portraits) -> None:
    Embedding.objects.filter(reference__subject__subject_id="child-1").first().delete()  # type: ignore[union-attr]
    answer = enroll(desk, "child-3", portraits.eileen_collins, group=BUS)
    assert answer.status_code == 201
    assert answer.json()["warnings"] == ["Of the group's members 1 could not be compared with this face yet."]


def find(group: str = BUS) -> tuple[Any, str]:
    out, errors = StringIO(), StringIO()
    call_command("find_duplicates", group, "--json", stdout=out, stderr=errors)
    return json.loads(out.getvalue()), errors.getvalue()


def test_the_command_lists_who_may_be_there_twice(desk: APIClient, portraits: Portraits) -> None:
    nobody, progress = find()
    counts = {"not_enrolled": 1, "not_embedded": 0, "unusable": 0}
    assert nobody == {"group": BUS, "pairs": [], "found": 0, "compared": 2, **counts}
    assert "100 %" in progress
    assert enroll(desk, "child-3", another(portraits.eileen_collins)).status_code == 201
    pair = {"subject_ids": ["child-1", "child-3"], "decision": "match"}
    found = {"group": BUS, "pairs": [pair], "found": 1, "compared": 3, **counts, "not_enrolled": 0}
    before = AuditEvent.objects.count()
    assert [find()[0] for _ in range(2)] == [found] * 2
    assert AuditEvent.objects.count() == before
    rewrite(identification=block(match=100.0, review=0.0))
    assert find()[0]["pairs"] == [{**pair, "decision": "review"}]
    out = StringIO()
    call_command("find_duplicates", BUS, stdout=out, stderr=StringIO())
    assert out.getvalue().splitlines()[0] == "review  'child-1'  'child-3'"
    with pytest.raises(CommandError, match="not_found"):
        find("nobodys")
    groups.put(services.NOBODY, "empty", [])
    assert find("empty")[0]["pairs"] == []


def test_of_many_pairs_the_likeliest_are_listed_and_all_are_counted(
    desk: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixups, "MOST_PAIRS", 1)
    rewrite(identification=block(match=1.0, review=-1000.0))  # any two are in doubt
    assert enroll(desk, "child-3", another(portraits.eileen_collins)).status_code == 201
    found, _ = find()
    assert (found["found"], found["pairs"]) == (3, [{"subject_ids": ["child-1", "child-3"], "decision": "match"}])
    out = StringIO()
    call_command("find_duplicates", BUS, stdout=out, stderr=StringIO())
    assert out.getvalue().splitlines()[1].startswith("3 pairs (the likeliest 1 are listed) among 3 members")


def test_while_a_group_is_searched_verifies_go_first(desk: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted, asked = admission.admitted, []

    def asking(kind: admission.Kind) -> Any:
        asked.append(kind)
        return admitted(kind)

    monkeypatch.setattr(admission, "admitted", asking)
    find()
    assert asked == [admission.EMBED] * 2  # for each member anew


@pytest.mark.parametrize("change", ["erased", "taken off"])
def test_who_left_while_the_group_is_searched_is_in_no_pair(
    desk: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    assert enroll(desk, "child-3", another(portraits.eileen_collins)).status_code == 201
    read = rosters.read

    def late(*of: Any) -> Any:
        roster = read(*of)
        if change == "erased":
            services.erase_subject(services.NOBODY, "child-3")
        else:
            groups.change(services.NOBODY, BUS, [], ["child-3"])
        return roster

    monkeypatch.setattr(rosters, "read", late)
    found, _ = find()
    assert (found["pairs"], found["compared"]) == ([], 2)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    @pytest.fixture
    def enrolling(
        self, roster: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch, background: Callable[..., Any]
    ) -> tuple[Parking, Any]:
        """An enrolment that found nobody with its face, and has not written it yet."""
        Subject.objects.get(subject_id="child-1").delete()
        parking = Parking(monkeypatch, enrolment, "_check", after=True)
        picture = portraits.eileen_collins
        found = background(lambda: services.enroll(services.NOBODY, "child-1", picture, group_id=BUS))
        parking.arrive()
        return parking, found

    def test_of_two_with_one_face_the_second_is_refused(
        self, enrolling: tuple[Parking, Any], portraits: Portraits
    ) -> None:
        parking, found = enrolling
        services.enroll(services.NOBODY, "child-3", another(portraits.eileen_collins), group_id=BUS)
        parking.let_go()
        with pytest.raises(DuplicateFace) as refusal:
            found.result(LONG_S)
        assert refusal.value.subject_id == "child-3"
        assert not Subject.objects.filter(subject_id="child-1").exists()

    def test_a_group_that_is_deleted_meanwhile_ends_it(self, enrolling: tuple[Parking, Any]) -> None:
        parking, found = enrolling
        groups.erase(services.NOBODY, BUS)
        parking.let_go()
        with pytest.raises(NotFound):
            found.result(LONG_S)
        assert not Subject.objects.filter(subject_id="child-1").exists()

    def test_two_that_write_at_once_take_turns(
        self, roster: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch, background: Callable[..., Any]
    ) -> None:
        """The first one holds the group and is not committed; the second one has searched before it wrote."""
        Subject.objects.get(subject_id="child-1").delete()
        parking = Parking(monkeypatch, mixups.Others, "hold", after=True)
        picture = portraits.eileen_collins
        first = background(lambda: services.enroll(services.NOBODY, "child-1", picture, group_id=BUS))
        parking.arrive()
        searched = Parking(monkeypatch, enrolment, "_check", after=True)
        second = background(lambda: services.enroll(services.NOBODY, "child-3", another(picture), group_id=BUS))
        searched.arrive()
        searched.let_go()
        with pytest.raises(TimeoutError):  # it waits for the first one's group
            second.result(2)
        parking.let_go()
        assert first.result(LONG_S).reference.subject.subject_id == "child-1"
        with pytest.raises(DuplicateFace):
            second.result(LONG_S)
