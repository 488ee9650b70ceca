"""Who of a roster is it: the answer, and what is kept."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from ml_models import crypto, metrics, runtime, services, signals
from ml_models.engine.errors import InferenceFailed
from ml_models.models import Embedding, EnsembleConfig, Group, Identification, Reference, Subject
from ml_models.services import groups, identification, retention, rosters
from tests.api.identify.conftest import block, events, identify
from tests.conftest import Portraits
from tests.support.pictures import another
from tests.support.served import rewrite
from tests.support.uploads import enroll

pytestmark = pytest.mark.django_db


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
