"""Who of a roster is it: the answer, who may ask, what is kept, and every race lost on purpose."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from ml_models import crypto, metrics, runtime, services, signals
from ml_models.engine import identify as engine
from ml_models.engine.errors import InferenceFailed
from ml_models.exceptions import ConfigChanged, LockedOut, NotReady, Slowed
from ml_models.models import (
    AuditEvent,
    Embedding,
    EnsembleConfig,
    Group,
    Identification,
    PairCount,
    Reference,
    Subject,
)
from ml_models.services import erasure, groups, identification, limits, liveness, retention, rosters, rotation
from tests.conftest import Portraits
from tests.support.keys import keyset
from tests.support.pictures import another
from tests.support.races import LONG_S, Parking, wait_for_a_lock
from tests.support.served import rewrite
from tests.support.uploads import enroll

pytestmark = pytest.mark.django_db

RIGHTS = ("identify_group", "identify_subject", "view_candidates", "view_scores")


def block(match: float = 1.0, review: float = 0.0) -> dict[str, Any]:
    """Offsets to verify's thresholds that do not rise: what the size changes is asked in tests/engine."""
    offsets = [{"candidates": count, "match": match, "review": review} for count in (1, 2000)]
    return {"target_fpir": 0.001, "offsets": offsets}


@pytest.fixture
def roster(people: list[str]) -> str:
    """A group of both, and of one who is not enrolled, under a version that can identify."""
    rewrite(identification=block())
    runtime.refresh()
    groups.put(services.NOBODY, "bus/7", [*people, "child-3"])
    return "bus/7"


@pytest.fixture
def door(django_user_model: Any, grant: Callable[..., Any]) -> APIClient:
    client = APIClient()
    client.force_authenticate(grant(django_user_model.objects.create_user("door"), *RIGHTS))
    return client


def identify(client: APIClient, *images: bytes, **body: Any) -> Any:
    files = [SimpleUploadedFile(f"frame{i}.jpg", data, "image/jpeg") for i, data in enumerate(images)]
    return client.post("/api/v1/face/identify", {"image": files, **body}, format="multipart")


def events() -> list[tuple[str, bool]]:
    rows = AuditEvent.objects.filter(kind=AuditEvent.Kind.IDENTIFY).order_by("id")
    return [(row.code, bool(row.subject)) for row in rows]


def test_the_face_of_a_member_is_named(
    door: APIClient, roster: str, portraits: Portraits, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[Any] = []
    signals.identification_decided.connect(lambda **facts: heard.append(facts), weak=False, dispatch_uid="test")
    with django_capture_on_commit_callbacks(execute=True):
        body = identify(door, portraits.eileen_collins, another(portraits.eileen_collins), group=roster).json()
    signals.identification_decided.disconnect(dispatch_uid="test")
    assert (body["decision"], body["subject_id"], body["config_version"]) == ("match", "child-1", 2)
    assert (body["roster_size"], body["searched"], body["not_enrolled"], body["not_embedded"]) == (3, 2, 1, 0)
    assert body["score"] > body["threshold"] == pytest.approx(3.0)  # verify's 2, and the offset
    assert body["margin"] > 5
    assert len(body["members"]) == 3
    assert "candidates" not in body
    row = Identification.objects.get()
    assert str(row.pk) == body["identification_id"]
    assert (row.subject, row.group) == (Subject.objects.get(subject_id="child-1"), Group.objects.get().pk)
    assert (row.roster_size, row.candidates, row.frames) == (3, 2, 2)
    assert row.roster_digest == crypto.roster_digest(["child-3", "child-2", "child-1"])
    assert {"roster", "search", "total", "detect"} <= row.timings_ms.keys()
    assert events() == []
    assert [(fact["decision"], fact["subject_id"]) for fact in heard] == [("match", "child-1")]


@pytest.fixture
def shortlist(roster: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The roster is a large one: only the nearest candidate is compared by every member."""
    monkeypatch.setattr(identification, "SHORTLIST", 1)
    return roster


def test_of_a_large_roster_only_the_nearest_are_opened_whole(
    door: APIClient, shortlist: str, portraits: Portraits, served: EnsembleConfig
) -> None:
    foremost = runtime.active().rule.foremost.name
    others = [member.space for member in served.members.all() if member.artifact.name != foremost]
    unread = Embedding.objects.filter(reference__subject__subject_id="child-2", space__in=others)
    assert unread.update(vector=b"would not open") == 2
    body = identify(door, portraits.eileen_collins, group=shortlist).json()
    assert (body["decision"], body["subject_id"], body["searched"]) == ("match", "child-1", 2)
    assert len(body["members"]) == 3
    assert body["score"] == pytest.approx(
        services.verify(services.NOBODY, "child-1", [portraits.eileen_collins]).decision.score, abs=1e-4
    )
    assert Identification.objects.get().candidates == 2
    response = identify(door, portraits.grace_hopper, group=shortlist)
    assert (response.status_code, response.json()["code"]) == (500, "inference_failed")
    unread.delete()
    body = identify(door, portraits.eileen_collins, group=shortlist).json()
    assert (body["searched"], body["not_embedded"]) == (1, 1)


def test_a_large_roster_that_is_erased_before_its_nearest_are_read_names_nobody(
    door: APIClient, shortlist: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = engine.nearest

    def late(*of: Any) -> Any:
        erasure.erase_subject(services.NOBODY, "child-1")
        return nearest(*of)

    monkeypatch.setattr(engine, "nearest", late)
    response = identify(door, portraits.eileen_collins, group=shortlist)
    assert (response.status_code, response.json()["code"]) == (409, "config_changed")
    assert not Identification.objects.filter(decision="match").exists()


def test_a_stranger_is_not_named_and_leaves_an_event(door: APIClient, roster: str, portraits: Portraits) -> None:
    groups.put(services.NOBODY, roster, ["child-2"])
    body = identify(door, portraits.eileen_collins, group=roster).json()
    assert body["decision"] == "no_match"
    assert not {"subject_id", "candidates"} & body.keys()
    assert "margin" not in body  # there is no other
    assert Identification.objects.get().subject is None
    assert events() == [("no_match", False)]


def test_a_list_of_subjects_is_searched_as_a_group_is(door: APIClient, roster: str, portraits: Portraits) -> None:
    body = identify(door, portraits.grace_hopper, subject_id=["child-1", "child-2", "child-2"]).json()
    assert (body["decision"], body["subject_id"], body["roster_size"]) == ("match", "child-2", 2)
    row = Identification.objects.get()
    assert (row.group, row.roster_digest) == (None, crypto.roster_digest(["child-1", "child-2"]))
    assert identify(door, portraits.grace_hopper, subject_id="child-2").json()["subject_id"] == "child-2"


def test_who_could_both_be_named_are_for_a_person_to_decide(
    door: APIClient, roster: str, service: APIClient, portraits: Portraits, user: Any, grant: Any
) -> None:
    assert enroll(service, "child-3", another(portraits.eileen_collins)).status_code == 201
    body = identify(door, portraits.eileen_collins, group=roster).json()
    assert (body["decision"], "subject_id" in body) == ("review", False)
    assert {one["subject_id"] for one in body["candidates"]} == {"child-1", "child-3"}
    assert body["candidates"][0]["score"] >= body["candidates"][1]["score"]
    assert Identification.objects.get().subject is None
    assert events() == [("review", False)]
    blind = APIClient()
    blind.force_authenticate(grant(user, "identify_group"))
    hidden = identify(blind, portraits.eileen_collins, group=roster).json()
    assert hidden["decision"] == "review"
    assert not {"candidates", "score", "threshold", "margin", "members"} & hidden.keys()


def test_between_the_thresholds_is_a_review(door: APIClient, roster: str, portraits: Portraits) -> None:
    rewrite(identification=block(match=100.0, review=0.0))
    runtime.refresh()
    body = identify(door, portraits.eileen_collins, group=roster).json()
    assert (body["decision"], [one["subject_id"] for one in body["candidates"]]) == ("review", ["child-1"])


def test_what_the_database_refuses_is_an_error_of_djangos(roster: str, served: EnsembleConfig) -> None:
    """The templates are read with a cursor that is not Django's."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ml_models_embedding RENAME TO another")
    with pytest.raises(DatabaseError):
        rosters.read(["child-1"], served)


def test_a_vector_of_another_networks_length_is_refused(roster: str, served: EnsembleConfig) -> None:
    row = Embedding.objects.filter(reference__subject__subject_id="child-1").select_related("reference__subject")[0]
    owner = crypto.Owner(row.reference.subject.pk, "child-1")
    row.vector = crypto.seal_vector(row.pk, row.reference.pk, row.space, owner, bytes(40))
    row.save()
    with pytest.raises(InferenceFailed, match="numbers"):
        rosters.read(["child-1"], served)


def test_the_score_is_verifys(door: APIClient, roster: str, service: APIClient, portraits: Portraits) -> None:
    named = identify(door, portraits.eileen_collins, group=roster).json()
    verified = services.verify(services.NOBODY, "child-1", [portraits.eileen_collins]).decision
    assert named["score"] == pytest.approx(verified.score, abs=1e-4)


def test_a_version_without_thresholds_for_it_identifies_nobody(
    door: APIClient, roster: str, portraits: Portraits
) -> None:
    rewrite(identification={})
    runtime.refresh()
    answer = identify(door, portraits.eileen_collins, group=roster)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "calibrate" in answer.json()["detail"]
    assert not Identification.objects.exists()
    assert events() == [("not_ready", False)]


def test_what_is_asked_wrongly_is_refused(door: APIClient, roster: str, portraits: Portraits) -> None:
    picture = portraits.eileen_collins
    groups.put(services.NOBODY, "empty", [])
    groups.put(services.NOBODY, "new", ["child-8", "child-9"])
    many = [f"child-{number}" for number in range(identification.MAX_SUBJECTS + 1)]
    asked: list[tuple[dict[str, Any], int, str]] = [
        ({}, 400, "invalid_request"),
        ({"group": roster, "subject_id": ["child-1"]}, 400, "invalid_request"),
        ({"subject_id": many}, 400, "invalid_request"),
        ({"subject_id": ["child-1", " "]}, 400, "invalid_request"),
        ({"group": "nobodys"}, 404, "not_found"),
        ({"group": "empty"}, 404, "not_enrolled"),
        ({"group": "new"}, 404, "not_enrolled"),
        ({"subject_id": many[10:-1]}, 404, "not_enrolled"),
    ]
    for body, status, code in asked:
        answer = identify(door, picture, **body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
    assert identify(door, b"no picture", group="new").json()["code"] == "not_enrolled"  # it comes first
    answer = identify(door, b"no picture", group=roster)
    assert (answer.status_code, answer.json()["code"]) == (422, "undecodable_image")
    assert [(row.code, row.candidates) for row in Identification.objects.all()] == [("undecodable_image", 2)]


def only_child_1(user: Any, action: str, subject_id: str) -> bool:
    return (action, subject_id) == ("identify", "child-1")


def test_one_refusal_is_one_for_all(roster: str, portraits: Portraits, user: Any, settings: Any, grant: Any) -> None:
    client = APIClient()
    client.force_authenticate(grant(user, "identify_subject"))
    assert identify(client, portraits.eileen_collins, group=roster).status_code == 403
    settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_POLICY": f"{__name__}.only_child_1"}
    assert identify(client, portraits.eileen_collins, subject_id=["child-1"]).status_code == 200
    known, unknown = (
        identify(client, portraits.eileen_collins, subject_id=["child-1", other]) for other in ("child-2", "nobody")
    )
    assert (known.status_code, known.json()) == (403, unknown.json())
    assert events() == [("forbidden", False)] * 3


def test_candidates_are_guesses(door: APIClient, roster: str, portraits: Portraits, settings: Any) -> None:
    """Counted for the credential, by the roster's size, whatever the decision."""
    limits = {**settings.ML_MODELS.get("LIMITS", {}), "caller": None, "candidates": (7, 600)}
    settings.ML_MODELS = {**settings.ML_MODELS, "LIMITS": limits}
    answers = [identify(door, portraits.eileen_collins, group=roster) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["code"] == "throttled"
    assert 1 <= int(answers[2]["Retry-After"]) <= 600
    assert Identification.objects.count() == 2


def test_a_search_among_few_is_a_better_guess_at_each_and_counts_for_more(
    door: APIClient, roster: str, portraits: Portraits, settings: Any
) -> None:
    limits = {**settings.ML_MODELS.get("LIMITS", {}), "caller": None, "searches": (50, 600)}
    settings.ML_MODELS = {**settings.ML_MODELS, "LIMITS": limits}
    among_two = [identify(door, portraits.eileen_collins, group=roster).status_code for _ in range(3)]
    assert among_two == [200, 200, 429]
    cache.clear()
    # names that nobody has make a list no longer
    padded = ["child-1", *(f"nobody-{i}" for i in range(60))]
    among_one = [identify(door, portraits.eileen_collins, subject_id=padded) for _ in range(2)]
    assert [answer.status_code for answer in among_one] == [200, 429]
    assert among_one[1].json()["code"] == "throttled"


def test_a_child_boards_every_three_seconds_where_one_is_enrolled_and_a_guesser_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [6_000_000.0]
    monkeypatch.setattr("ml_models.services.limits.time.time", lambda: now[0])

    def search() -> int | None:
        return limits.spend("searches", "door", 50)

    for _ in range(100):  # five minutes
        assert search() is None
        now[0] += 3
    told = 100
    while search() is None:
        told += 1
    assert (told, search()) == (120, 300)


def test_a_search_for_one_alone_is_counted_as_a_verify(door: APIClient, roster: str, portraits: Portraits) -> None:
    """Or it would be the way around the lock-out."""
    asked = [identify(door, portraits.grace_hopper, subject_id="child-1").json() for _ in range(3)]
    assert [body["decision"] for body in asked] == ["no_match"] * 3
    for picture in (portraits.grace_hopper, portraits.eileen_collins):
        answer = identify(door, picture, subject_id="child-1")
        assert (answer.status_code, answer.json()["code"]) == (429, "throttled")
    assert Subject.objects.get(subject_id="child-1").failures == 6
    # nor is it the way around the wait to name a second one
    for more in ({"subject_id": ["child-1", "child-2"]}, {"group": roster}):
        answer = identify(door, portraits.eileen_collins, **more)
        assert (answer.status_code, answer.json()["code"]) == (429, "throttled")
    assert services.identify(services.NOBODY, [portraits.eileen_collins], group_id=roster).subject_id == "child-1"
    # among several nobody knows who it should have been
    groups.put(services.NOBODY, roster, ["child-1", "child-3"])
    assert identify(door, portraits.grace_hopper, group=roster).json()["decision"] == "no_match"
    assert Subject.objects.get(subject_id="child-1").failures == 6
    Subject.objects.filter(subject_id="child-2").update(failures=2)
    assert identify(door, portraits.grace_hopper, subject_id="child-2").json()["decision"] == "match"
    assert Subject.objects.get(subject_id="child-2").failures == 0


def test_a_locked_member_is_searched_and_not_named(door: APIClient, roster: str, portraits: Portraits) -> None:
    until = timezone.now() + timedelta(minutes=5)
    Subject.objects.filter(subject_id="child-1").update(locked_until=until)
    answer = identify(door, portraits.eileen_collins, group=roster)
    assert (answer.status_code, answer.json()["code"]) == (429, "locked_out")
    assert "child-1" not in answer.content.decode()
    assert (Identification.objects.get().code, Identification.objects.get().subject) == ("locked_out", None)
    assert events() == [("locked_out", True)]
    assert identify(door, portraits.grace_hopper, group=roster).json()["subject_id"] == "child-2"


def test_who_is_not_embedded_yet_is_told_and_not_mixed_in(door: APIClient, roster: str, portraits: Portraits) -> None:
    Embedding.objects.filter(reference__subject__subject_id="child-1").first().delete()  # type: ignore[union-attr]
    body = identify(door, portraits.eileen_collins, group=roster).json()
    assert (body["decision"], body["searched"], body["not_embedded"]) == ("no_match", 1, 1)
    groups.put(services.NOBODY, roster, ["child-1"])
    answer = identify(door, portraits.eileen_collins, group=roster)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


def test_a_vector_that_was_moved_is_refused_for_everybody(door: APIClient, roster: str, portraits: Portraits) -> None:
    mine, theirs = (Reference.objects.get(subject__subject_id=name).pk for name in ("child-1", "child-2"))
    Embedding.objects.filter(reference=theirs).delete()
    Embedding.objects.filter(reference=mine).update(reference=theirs)
    door.raise_request_exception = False
    answer = identify(door, portraits.eileen_collins, group=roster)
    assert (answer.status_code, answer.json()["code"]) == (500, "inference_failed")
    assert events() == [("decryption_failed", False)]


def test_erasure_takes_the_name_off_rows_and_age_the_rows(
    door: APIClient, roster: str, portraits: Portraits, settings: Any
) -> None:
    identify(door, portraits.eileen_collins, group=roster)
    services.erase_subject(services.NOBODY, "child-1")
    assert Identification.objects.get().subject is None
    assert retention.remove_expired() == 0
    Identification.objects.update(at=timezone.now() - timedelta(days=366))
    assert (retention.remove_expired(), retention.remove_expired()) == (1, 0)


def test_the_roster_is_read_in_one_query_whatever_its_size(roster: str, portraits: Portraits) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            services.identify(services.NOBODY, [portraits.eileen_collins], group_id=roster)
        return len([query for query in captured if "SAVEPOINT" not in query["sql"]])

    queries()
    small = queries()
    groups.put(services.NOBODY, roster, [f"child-{number}" for number in range(500)])
    assert queries() == small <= 10


def test_searches_are_counted(door: APIClient, roster: str, portraits: Portraits) -> None:
    identify(door, portraits.eileen_collins, group=roster)
    text = metrics.exposition([]).decode()
    assert 'ml_models_identifications_total{outcome="match"}' in text
    assert 'ml_models_search_seconds_count{step="roster"}' in text


@pytest.mark.django_db(transaction=True)
class TestRaces:
    """A search is stopped once its pictures are read, and something else happens meanwhile."""

    @pytest.fixture
    def stopped(
        self, roster: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch, background: Callable[..., Any]
    ) -> Callable[..., tuple[Parking, Any]]:
        def search(*where: Any, **how: Any) -> tuple[Parking, Any]:
            parking, images = Parking(monkeypatch, *where, **how), [portraits.eileen_collins]
            found = background(lambda: services.identify(services.NOBODY, images, group_id=roster))
            parking.arrive()
            return parking, found

        return search

    @pytest.fixture
    def searching(self, stopped: Callable[..., tuple[Parking, Any]]) -> tuple[Parking, Any]:
        return stopped(liveness, "take", after=True)

    @pytest.fixture
    def about_to_read(self, stopped: Callable[..., tuple[Parking, Any]]) -> tuple[Parking, Any]:
        return stopped(rosters, "reader")

    def test_who_was_erased_meanwhile_is_not_named(self, searching: tuple[Parking, Any]) -> None:
        parking, found = searching
        erasure.erase_subject(services.NOBODY, "child-1")
        parking.let_go()
        with pytest.raises(ConfigChanged):
            found.result(LONG_S)
        assert not Identification.objects.exists()
        assert events() == [("config_changed", False)]

    def test_who_of_a_list_was_erased_meanwhile_is_not_named(
        self, roster: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch, background: Callable[..., Any]
    ) -> None:
        parking = Parking(monkeypatch, liveness, "take", after=True)
        images, among = [portraits.eileen_collins], ["child-1", "child-2"]
        found = background(lambda: services.identify(services.NOBODY, images, among=among))
        parking.arrive()
        erasure.erase_subject(services.NOBODY, "child-1")
        parking.let_go()
        with pytest.raises(ConfigChanged):
            found.result(LONG_S)
        assert not Identification.objects.exists()

    @pytest.mark.parametrize("change", ["taken off", "group deleted"])
    def test_who_left_the_roster_meanwhile_is_not_named(self, searching: tuple[Parking, Any], change: str) -> None:
        parking, found = searching
        if change == "taken off":
            groups.change(services.NOBODY, "bus/7", [], ["child-1"])
        else:
            groups.erase(services.NOBODY, "bus/7")
        parking.let_go()
        with pytest.raises(ConfigChanged):
            found.result(LONG_S)

    def test_who_was_locked_meanwhile_is_not_named(self, searching: tuple[Parking, Any]) -> None:
        parking, found = searching
        until = timezone.now() + timedelta(minutes=5)
        Subject.objects.filter(subject_id="child-1").update(locked_until=until)
        parking.let_go()
        with pytest.raises(LockedOut):
            found.result(LONG_S)

    @pytest.mark.parametrize(("change", "refusal"), [("waits", Slowed), ("taken off", ConfigChanged)])
    def test_what_came_while_a_search_waited_for_the_row_counts(
        self, searching: tuple[Parking, Any], change: str, refusal: type[Exception]
    ) -> None:
        parking, found = searching
        with transaction.atomic():
            child = Subject.objects.select_for_update().get(subject_id="child-1")
            parking.let_go()
            wait_for_a_lock()
            if change == "waits":
                until = timezone.now() + timedelta(minutes=5)
                PairCount.objects.create(subject=child, credential="", slowed_until=until)
            else:
                groups.change(services.NOBODY, "bus/7", [], ["child-1"])
        with pytest.raises(refusal):
            found.result(LONG_S)

    def test_an_attempt_ends_under_the_version_it_began_with(self, searching: tuple[Parking, Any]) -> None:
        parking, found = searching
        EnsembleConfig.objects.update(state=EnsembleConfig.State.RETIRED)
        parking.let_go()
        done = found.result(LONG_S)
        assert (done.subject_id, done.config.version) == ("child-1", 2)
        with pytest.raises(NotReady):
            services.identify(services.NOBODY, [b""], group_id="bus/7")

    def test_keys_rotated_between_reading_and_opening_change_nothing(
        self, roster: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch, background: Any, settings: Any
    ) -> None:
        parking = Parking(monkeypatch, crypto.VectorOpener, "open")
        found = background(lambda: services.identify(services.NOBODY, [portraits.eileen_collins], group_id=roster))
        parking.arrive()
        old = json.loads(settings.ML_MODELS["KEYSET"])["keys"]
        settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset("k2", "k2", **old)}
        rotated, unreadable = rotation.rotate(lambda done, total: None)
        assert (rotated > 0, unreadable, rotation.left()) == (True, [], 0)
        parking.let_go()
        assert found.result(LONG_S).subject_id == "child-1"
        # and what the new key sealed is read by the next one
        assert services.identify(services.NOBODY, [portraits.grace_hopper], group_id=roster).subject_id == "child-2"

    def test_a_version_that_went_with_its_vectors_before_they_were_read_names_nobody(
        self, about_to_read: tuple[Parking, Any]
    ) -> None:
        parking, found = about_to_read
        EnsembleConfig.objects.update(state=EnsembleConfig.State.RETIRED)
        Embedding.objects.all().delete()
        parking.let_go()
        with pytest.raises(NotReady):
            found.result(LONG_S)
        assert not Identification.objects.exists()

    def test_who_was_erased_before_the_roster_was_read_is_not_searched(
        self, about_to_read: tuple[Parking, Any]
    ) -> None:
        parking, found = about_to_read
        erasure.erase_subject(services.NOBODY, "child-1")
        parking.let_go()
        done = found.result(LONG_S)
        assert (done.decision.decision, done.subject_id, done.roster.not_enrolled) == ("no_match", None, 2)

    def test_another_members_change_does_not_matter(self, searching: tuple[Parking, Any]) -> None:
        parking, found = searching
        erasure.erase_subject(services.NOBODY, "child-2")
        groups.change(services.NOBODY, "bus/7", ["child-9"], ["child-3"])
        parking.let_go()
        assert found.result(LONG_S).subject_id == "child-1"
