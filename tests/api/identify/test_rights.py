"""Who may ask who of a roster it is, how often, and who is not named."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone
from rest_framework.test import APIClient

from ml_models import services
from ml_models.models import Identification, Subject
from ml_models.services import groups, limits
from tests.api.identify.conftest import events, identify
from tests.conftest import Portraits

pytestmark = pytest.mark.django_db


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
    # the next one costs no look at its picture, and neither leaves a row
    assert identify(door, b"no picture", group=roster).json()["code"] == "throttled"
    assert Identification.objects.count() == 2
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
    for picture in (portraits.grace_hopper, portraits.eileen_collins, b"no picture"):
        answer = identify(door, picture, subject_id="child-1")
        assert (answer.status_code, answer.json()["code"]) == (429, "throttled")
    assert Identification.objects.count() == 3  # of those that were looked at
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
