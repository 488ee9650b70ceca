"""A request that is sent again with its Idempotency-Key is answered as before, and counted once."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import F
from django.db.models.functions import Now
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from devstack.turned import shown
from ml_models import services
from ml_models.exceptions import NotReady
from ml_models.models import AuditEvent, Challenge, EnsembleConfig, KeptAnswer, Reference, Subject, Verification
from ml_models.services import challenges, idempotency, retention
from ml_models.services.liveness import Live
from tests.conftest import Portraits
from tests.support.challenges import TURNED, answer, ask
from tests.support.keys import keyset
from tests.support.pictures import another, encoded, opened
from tests.support.races import LONG_S, Parking
from tests.support.served import rewrite
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db


def keyed(key: str, account: str = "kiosk") -> APIClient:
    token = Token.objects.get(user__username=account).key
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}", HTTP_IDEMPOTENCY_KEY=key)
    return client


def same(response: Any, first: Any) -> None:
    """Answered as before, but for the order of fields, which the database forgets."""
    told = [(it.status_code, it["Content-Type"], it.json()) for it in (response, first)]
    assert told[0] == told[1]


def refused(response: Any, code: str, status: int = 422) -> None:
    assert (response.status_code, response.json().get("code")) == (status, code), response.json()


@pytest.fixture
def child(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> str:
    rewrite(liveness={"turned": TURNED})
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    return "child-1"


def test_an_enrolment_sent_again_is_the_same_enrolment(
    served: EnsembleConfig, service: APIClient, portraits: Portraits, settings: Any
) -> None:
    picture = portraits.eileen_collins
    first = enroll(keyed("k1"), "child-1", picture)
    assert first.status_code == 201
    same(enroll(keyed("k1"), "child-1", picture), first)
    as_json = {"subject_id": "child-1", "image": base64.b64encode(picture).decode()}
    same(keyed("k1").post("/api/v1/face/enroll", as_json, format="json"), first)
    assert AuditEvent.objects.filter(kind="enroll").count() == Reference.objects.count() == 1
    refused(enroll(service, "child-1", picture), "duplicate_reference", 409)

    kept = json.dumps(list(KeptAnswer.objects.values()), cls=DjangoJSONEncoder)
    assert "child-1" not in kept
    assert "k1" not in kept

    # a keyset whose primary key is a new one
    old = json.loads(settings.ML_MODELS["KEYSET"])["keys"]
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset("new", "new", **old)}
    same(enroll(keyed("k1"), "child-1", picture), first)
    refused(enroll(keyed("k1"), "child-2", picture), "idempotency_conflict")


def test_a_key_belongs_to_one_body_of_one_call_and_credential(
    child: str, portraits: Portraits, grant: Any, django_user_model: Any
) -> None:
    picture, other = portraits.eileen_collins, another(portraits.eileen_collins)
    assert verify(keyed("k1"), child, picture).status_code == 200
    for response in (
        verify(keyed("k1"), child, other),
        verify(keyed("k1"), child, picture, picture),
        verify(keyed("k1"), "child-2", picture),
        verify(keyed("k1"), child, picture, capture_point="front door"),
    ):
        refused(response, "idempotency_conflict")
        assert "Retry-After" not in response
    assert enroll(keyed("k1"), child, other).status_code == 201
    Token.objects.create(user=grant(django_user_model.objects.create_user("gate"), "verify_subject"))
    assert verify(keyed("k1", "gate"), child, other).status_code == 200
    for key in ("", "a b", "ü", "x" * 256):
        refused(verify(keyed(key), child, picture), "invalid_request", 400)
    assert verify(keyed("x" * 255), child, picture).status_code == 200


def test_what_the_pictures_have_earned_is_counted_once(child: str, portraits: Portraits, user: Any) -> None:
    dark = encoded(opened(portraits.eileen_collins).point(lambda v: v // 14))
    stranger = portraits.grace_hopper
    first = [
        verify(keyed("v"), child, stranger),
        enroll(keyed("e"), child, stranger),
        verify(keyed("d"), child, dark),
        enroll(keyed("d"), "nobody-yet", dark),
    ]
    assert [answered.status_code for answered in first] == [200, 409, 422, 422]
    events, rows = AuditEvent.objects.count(), Verification.objects.count()
    again = [
        verify(keyed("v"), child, stranger),
        enroll(keyed("e"), child, stranger),
        verify(keyed("d"), child, dark),
        enroll(keyed("d"), "nobody-yet", dark),
    ]
    for before, after in zip(first, again, strict=True):
        same(after, before)
    assert Subject.objects.get(subject_id=child).failures == 4
    assert (AuditEvent.objects.count(), Verification.objects.count()) == (events, rows)


def test_permissions_are_asked_again(child: str, portraits: Portraits, django_user_model: Any) -> None:
    first = verify(keyed("k1"), child, portraits.eileen_collins)
    assert first.json()["members"]
    again = verify(keyed("k1"), child, portraits.eileen_collins)
    assert again.json() == first.json()
    assert not {"score", "threshold", "members"} & (KeptAnswer.objects.get().answer or {}).keys()

    kiosk = django_user_model.objects.get(username="kiosk")
    kiosk.user_permissions.remove(Permission.objects.get(codename="view_scores"))
    unseen = verify(keyed("k1"), child, portraits.eileen_collins).json()
    assert unseen == {k: v for k, v in first.json().items() if k not in ("score", "threshold", "members")}
    kiosk.user_permissions.remove(Permission.objects.get(codename="verify_subject"))
    refused(verify(keyed("k1"), child, portraits.eileen_collins), "forbidden", 403)


def test_what_may_end_otherwise_is_not_kept(child: str, service: APIClient, portraits: Portraits) -> None:
    picture = another(portraits.eileen_collins)
    refused(verify(keyed("k1"), "child-2", portraits.grace_hopper), "not_enrolled", 404)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(django_settings.ML_MODELS, "MAX_REFERENCES", 1)
        refused(enroll(keyed("k1"), child, picture), "reference_limit", 409)
    assert not KeptAnswer.objects.exists()
    assert enroll(service, "child-2", portraits.grace_hopper).status_code == 201
    assert verify(keyed("k1"), "child-2", portraits.grace_hopper).json()["decision"] == "match"
    assert enroll(keyed("k1"), child, picture).status_code == 201


def test_a_repetition_finds_its_challenge_unused(
    child: str, service: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenges, "draw", lambda: ["front", "left", "right"])
    challenge, pictures = ask(service, child), shown(portraits.eileen_collins, ["front", "left", "right"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Live, "extract", lambda *_, **__: (_ for _ in ()).throw(NotReady("loading")))
        refused(answer(keyed("k1"), child, challenge, pictures), "not_ready", 503)
    # the challenge is used, for everybody but this very request
    refused(answer(service, child, challenge, pictures), "challenge_used", 409)
    refused(answer(keyed("k2"), child, challenge, pictures), "challenge_used", 409)
    refused(answer(keyed("k1"), child, challenge, pictures[::-1]), "challenge_used", 409)
    passed = answer(keyed("k1"), child, challenge, pictures)
    assert (passed.json()["decision"], passed.json()["live"]) == ("match", "yes")
    same(answer(keyed("k1"), child, challenge, pictures), passed)

    # with the answer goes the right to answer once more
    KeptAnswer.objects.all().delete()
    refused(answer(keyed("k1"), child, challenge, pictures), "challenge_used", 409)

    challenge = ask(service, child)
    failed = answer(keyed("k3"), child, challenge, [portraits.eileen_collins] * 3)
    refused(failed, "challenge_failed")
    same(answer(keyed("k3"), child, challenge, [portraits.eileen_collins] * 3), failed)

    challenge = ask(service, child)
    Challenge.objects.filter(pk=challenge["challenge_id"]).update(expires_at=Now())
    refused(answer(keyed("k4"), child, challenge, pictures), "challenge_expired", 409)


def test_an_erasure_takes_what_was_answered_with_it(child: str, service: APIClient, portraits: Portraits) -> None:
    picture, dark = (
        another(portraits.eileen_collins),
        encoded(opened(portraits.eileen_collins).point(lambda v: v // 14)),
    )
    reference = enroll(keyed("k1"), child, picture).json()["reference_id"]
    assert verify(keyed("k1"), child, picture).status_code == 200
    assert enroll(keyed("k2"), "nobody-yet", dark).status_code == 422
    assert service.delete(f"/api/v1/face/references/{reference}").status_code == 204
    assert KeptAnswer.objects.count() == 1
    assert enroll(keyed("k1"), child, picture).status_code == 201

    assert service.delete(f"/api/v1/face/subjects/{child}").status_code == 200
    assert service.delete("/api/v1/face/subjects/nobody-yet").status_code == 404
    assert not KeptAnswer.objects.exists()
    refused(enroll(keyed("k1"), child, picture), "reference_mismatch", 409)


def test_answers_are_kept_for_a_day_and_for_ten_minutes(child: str, portraits: Portraits) -> None:
    picture = another(portraits.eileen_collins)
    first = verify(keyed("v"), child, picture)
    assert enroll(keyed("e"), child, picture).status_code == 201
    for call, age, left in (("enroll", 86_400, {"enroll"}), ("verify", 600, {"enroll", "verify"})):
        kept = KeptAnswer.objects.filter(expires_at__gt=Now() + timedelta(seconds=age - 60))
        assert kept.filter(expires_at__lte=Now() + timedelta(seconds=age)).exists(), call
        assert kept.count() == len(left)
    assert retention.remove_expired() == 0

    KeptAnswer.objects.update(expires_at=F("expires_at") - timedelta(minutes=10))
    assert verify(keyed("v"), child, picture).json()["verification_id"] != first.json()["verification_id"]
    KeptAnswer.objects.update(expires_at=F("expires_at") - timedelta(minutes=10))
    assert (retention.remove_expired(), retention.remove_expired()) == (1, 0)
    assert KeptAnswer.objects.count() == 1


def test_a_claim_of_a_killed_process_lapses(child: str, portraits: Portraits, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idempotency, "keep", lambda *_: None)
        assert verify(keyed("k1"), child, portraits.eileen_collins).status_code == 200
    waiting = verify(keyed("k1"), child, portraits.eileen_collins)
    refused(waiting, "idempotency_in_progress", 409)
    assert int(waiting["Retry-After"]) >= 1
    assert KeptAnswer.objects.filter(expires_at__lte=Now() + idempotency.LEASE).update(expires_at=Now()) == 1
    assert verify(keyed("k1"), child, portraits.eileen_collins).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_works_and_an_erasure_meanwhile_leaves_nothing(
    child: str, service: APIClient, portraits: Portraits, background: Any
) -> None:
    picture = portraits.eileen_collins
    for erase in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            parking = Parking(patch, services, "verify", after=erase)
            first = background(verify, keyed(f"k{erase}"), child, picture)
            parking.arrive()
            refused(verify(keyed(f"k{erase}"), child, picture), "idempotency_in_progress", 409)
            refused(verify(keyed(f"k{erase}"), child, another(picture)), "idempotency_conflict")
            if erase:
                assert service.delete(f"/api/v1/face/subjects/{child}").status_code == 200
            parking.let_go()
            answered = first.result(LONG_S)
        assert answered.status_code == 200
        if not erase:
            same(verify(keyed(f"k{erase}"), child, picture), answered)
            assert Verification.objects.count() == 1
    assert not KeptAnswer.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_claim_made_during_an_erasure_keeps_nothing(child: str, service: APIClient, portraits: Portraits) -> None:
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        forget = idempotency.forget

        def claimed_right_after(subject_id: str) -> None:
            forget(subject_id)
            who = services.Caller(None, "another")
            idempotency.begin(who, "verify", "k1", subject_id, {"image": b""}, None)
            seen.append(KeptAnswer.objects.count())

        patch.setattr(idempotency, "forget", claimed_right_after)
        assert service.delete(f"/api/v1/face/subjects/{child}").status_code == 200
    assert seen == [1]
    assert not KeptAnswer.objects.exists()
