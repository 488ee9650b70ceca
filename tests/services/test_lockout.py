"""The counts behind the lock-out, asked at `settle`, `release` and the signals; moments are moved, nobody waits."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.dispatch import Signal

from ml_models import checks, services, signals
from ml_models.exceptions import LockedOut, NotEnrolled, NotFound, Slowed
from ml_models.models import AuditEvent, CredentialCount, PairCount, Subject
from ml_models.services import NOBODY, Caller, lockout
from tests.support.clock import pass_

pytestmark = pytest.mark.django_db


@pytest.fixture
def child() -> Subject:
    return Subject.objects.create(subject_id="child-1")


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    def change(**changes: Any) -> None:
        settings.ML_MODELS = {**settings.ML_MODELS, **changes}

    return change


def attempt(subject: Subject, decision: str = "no_match", credential: str = "key:a") -> str:
    """What the attempt is told: its decision, or the code and seconds of its refusal."""
    try:
        lockout.settle(Caller(None, credential), subject.pk, subject.subject_id, decision)
    except LockedOut as error:
        return f"{error.code} {error.retry_after_s}"
    return decision


@pytest.fixture
def heard(django_capture_on_commit_callbacks: Any) -> Callable[[Signal, Callable[[], Any]], list[Any]]:
    """What a signal tells while something is done."""

    def listen(signal: Signal, act: Callable[[], Any]) -> list[dict[str, Any]]:
        facts: list[dict[str, Any]] = []
        signal.connect(lambda **more: facts.append(more), weak=False, dispatch_uid="test")
        try:
            with django_capture_on_commit_callbacks(execute=True):
                act()
        finally:
            signal.disconnect(dispatch_uid="test")
        return [{key: value for key, value in more.items() if key not in ("signal", "sender")} for more in facts]

    return listen


# --- one subject ------------------------------------------------------------------------------------------------------


def test_a_credential_is_slowed_for_a_subject_before_the_subject_is_locked_for_everybody(child: Subject) -> None:
    assert [attempt(child) for _ in range(4)] == ["no_match"] * 3 + ["throttled 300"]
    assert attempt(child, "match") == "throttled 300"  # nor is a match told
    other = Subject.objects.create(subject_id="child-2")
    assert attempt(other, "match") == "match"
    assert attempt(child, "match", "key:b") == "match"


def attempt_after_the_wait(subject: Subject) -> str:
    told = attempt(subject)
    if told != "no_match":
        pass_(seconds=int(told.split()[1]))
    return told


def test_one_credential_alone_never_locks_a_subject(child: Subject) -> None:
    told = [attempt_after_the_wait(child) for _ in range(20)]
    assert told.count("no_match") > 5
    child.refresh_from_db()
    assert child.locked_until is None
    assert attempt(child, "match", "key:b") == "match"


def test_faces_with_several_credentials_lock_the_subject_for_everybody(child: Subject, heard: Any) -> None:
    def guess() -> None:
        assert [attempt(child, credential=key) for key in ("key:a", "key:a", "key:a", "key:b", "key:b")] == [
            "no_match"
        ] * 5

    assert heard(signals.subject_locked_out, guess) == [{"subject_id": "child-1", "seconds": 300}]
    assert attempt(child, "match", "key:c") == "locked_out 300"


def test_each_lock_is_twice_as_long_up_to_a_day_and_a_day_forgets_half(child: Subject) -> None:
    def lock() -> int:
        number = 0
        while not (answer := attempt(child, credential=f"key:{number}")).startswith("locked_out"):
            number += 1
        return int(answer.split()[1])

    lengths = []
    for _ in range(11):
        lengths.append(lock())
        pass_(seconds=lengths[-1])
    assert lengths == [300 * 2**k for k in range(9)] + [86_400, 86_400]
    pass_(days=2)
    assert lock() == pytest.approx(2 * 86_400 / 4, abs=2)


def test_each_wait_of_a_credential_is_twice_as_long_after_one_more_failure(child: Subject) -> None:
    waits = []
    for _ in range(3):
        while (told := attempt_after_the_wait(child)) == "no_match":
            pass
        waits.append(told)
    assert waits == ["throttled 300", "throttled 600", "throttled 1200"]
    assert [attempt(child), attempt(child)] == ["no_match", "throttled 2400"]


def test_a_review_is_half_a_failure(child: Subject) -> None:
    assert [attempt(child, "review") for _ in range(7)] == ["review"] * 6 + ["throttled 300"]


def test_failures_are_forgotten_one_a_day_and_not_sooner(child: Subject) -> None:
    """Guessing slowly is no way around: four in five minutes, again and again, never locked a subject before."""
    told = [attempt(child, credential=f"key:{number}") for number in range(4)]
    pass_(seconds=301)
    assert [*told, attempt(child, credential="key:4")] == ["no_match"] * 5
    assert attempt(child, credential="key:5").startswith("locked_out")

    calm = Subject.objects.create(subject_id="child-2")
    for number in range(12):
        assert attempt(calm, credential=f"key:{number}") == "no_match"
        pass_(days=1)
    # each lock would be over by the next day: it takes more of them at once to see that nothing is left
    assert [attempt(calm, credential=f"key:1{number}") for number in range(4)] == ["no_match"] * 4

    other = Subject.objects.create(subject_id="child-3")
    for key in ("key:a", "key:b"):
        attempt(other, credential=key)
        pass_(hours=12)
    other.refresh_from_db()
    assert other.failures == 3  # in halves: two, less one for half a day, and two


def test_a_match_ends_the_counts_and_not_the_lengths(child: Subject) -> None:
    for _ in range(2):
        assert [attempt(child), attempt(child), attempt(child, "match")] == ["no_match", "no_match", "match"]
    assert [attempt(child) for _ in range(4)][-1] == "throttled 300"
    pass_(seconds=300)
    attempt(child, "match")
    assert [attempt(child) for _ in range(4)] == ["no_match"] * 3 + ["throttled 600"]


def test_the_genuine_person_elsewhere_gives_a_guesser_no_new_tries(child: Subject) -> None:
    for _ in range(3):
        attempt(child)
    assert attempt(child, "match", "key:home") == "match"
    assert attempt(child) == "throttled 300"


def test_no_lock_where_the_host_wants_none(child: Subject, configure: Any) -> None:
    configure(LOCKOUT_AFTER=0)
    assert {attempt(child) for _ in range(20)} == {"no_match"}


def test_an_erased_subject_is_told_nothing(child: Subject) -> None:
    attempt(child)
    services.erase_subject(NOBODY, "child-1")
    assert not PairCount.objects.exists()
    with pytest.raises(NotEnrolled):
        lockout.settle(Caller(None, "key:a"), child.pk, "child-1", "match")


def side_by_side(act: Callable[[int], str], count: int) -> list[str]:
    gate = threading.Barrier(count)

    def run(number: int) -> str:
        gate.wait()
        try:
            return act(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return [answer.split()[0] for answer in pool.map(run, range(count))]


@pytest.mark.django_db(transaction=True)
def test_side_by_side_one_credential_learns_no_more_than_its_tries(child: Subject) -> None:
    assert sorted(side_by_side(lambda _: attempt(child), 16)) == ["no_match"] * 3 + ["throttled"] * 13
    child.refresh_from_db()
    assert child.failures == PairCount.objects.get().failures == 6


@pytest.mark.django_db(transaction=True)
def test_a_match_with_nothing_to_count_waits_for_nobody(child: Subject, background: Any) -> None:
    assert attempt(child, "match") == "match"  # the day's visit is counted
    with transaction.atomic():
        Subject.objects.select_for_update().get(pk=child.pk)
        assert background(attempt, child, "match").result(timeout=10) == "match"


@pytest.mark.django_db(transaction=True)
def test_side_by_side_many_credentials_learn_no_more_than_the_lock_allows(child: Subject) -> None:
    answers = side_by_side(lambda number: attempt(child, credential=f"key:{number}"), 16)
    assert sorted(answers) == ["locked_out"] * 11 + ["no_match"] * 5


@pytest.mark.django_db(transaction=True)
def test_side_by_side_over_many_subjects_a_suspect_learns_no_more_than_one_by_one() -> None:
    people = Subject.objects.bulk_create(Subject(subject_id=f"child-{number}") for number in range(24))
    alone = [attempt(subject, credential="key:alone") for subject in people].count("no_match")
    Subject.objects.update(failures=0)
    CredentialCount.objects.update(credential="key:many", visits=0, failures=0, slowed_until=Now())
    answers = side_by_side(lambda number: attempt(people[number], credential="key:many"), 24)
    assert 10 < answers.count("no_match") == alone < 24
    # or it would be a way to have the next ones not counted as first failures
    assert PairCount.objects.filter(credential="key:many").count() == alone


# --- one credential over many subjects --------------------------------------------------------------------------------


def fleet(count: int, credential: str, decision: str, first: int = 0) -> list[str]:
    people = [Subject.objects.get_or_create(subject_id=f"child-{first + n}")[0] for n in range(count)]
    return [attempt(subject, decision, credential) for subject in people]


def test_a_credential_that_fails_far_more_people_than_honest_ones_do_is_slowed_and_told_of(heard: Any) -> None:
    fleet(100, "key:bus", "match")
    told = heard(signals.credential_suspected, lambda: fleet(60, "key:bus", "no_match", first=100))
    assert [(facts["credential_id"], facts["seconds"]) for facts in told] == [("key:bus", 300)]
    # 5 % of the visits, four standard deviations, and ten
    visits = told[0]["visits"]
    assert told[0]["failures"] == pytest.approx(visits - 100, abs=0.1)
    assert 0 < told[0]["failures"] - (0.05 * visits + 4 * (0.05 * visits) ** 0.5 + 10) < 1
    assert fleet(1, "key:bus", "match")[0].startswith("throttled")
    assert fleet(1, "key:other", "match") == ["match"]


def test_an_honest_fleet_is_never_suspected(heard: Any) -> None:
    """One in twenty fails at first, four days on end: a day forgets half, so that the mornings after are alike."""

    def serve() -> None:
        for _ in range(4):
            assert set(fleet(10, "key:bus", "no_match") + fleet(200, "key:bus", "match")) == {"match", "no_match"}
            pass_(days=1)

    assert heard(signals.credential_suspected, serve) == []


def test_one_person_again_and_again_does_not_hide_a_guesser(heard: Any) -> None:
    def pad() -> None:
        fleet(1, "key:bus", "match")
        for number in range(1, 40):
            fleet(1, "key:bus", "match")
            fleet(1, "key:bus", "no_match", first=number)

    [facts] = heard(signals.credential_suspected, pad)
    assert facts["visits"] < 20


def test_one_person_who_fails_again_and_again_is_one_failure() -> None:
    child = Subject.objects.create(subject_id="child-1")
    for _ in range(3):
        attempt(child)
    count = CredentialCount.objects.get()
    assert (count.visits, count.failures) == pytest.approx((1, 1), abs=0.01)


def test_a_suspects_wait_doubles_up_to_an_hour(heard: Any) -> None:
    waits: list[int] = []
    number = 0
    while len(waits) < 6:
        number += 1
        [answer] = fleet(1, "key:bus", "no_match", first=number)
        if answer != "no_match":
            waits.append(int(answer.split()[1]))
            pass_(seconds=waits[-1])
    assert waits == [300, 600, 1200, 2400, 3600, 3600]


def test_commands_are_nobody_and_are_not_suspected() -> None:
    assert set(fleet(40, "", "no_match")) == {"no_match"}


def test_a_host_may_have_no_count_by_credential(configure: Any) -> None:
    configure(HONEST_FAILURE_RATE=1)
    assert set(fleet(40, "key:bus", "no_match")) == {"no_match"}


# --- the way back -----------------------------------------------------------------------------------------------------


def test_a_released_subject_begins_anew_for_every_credential(child: Subject, heard: Any) -> None:
    for key in ("key:a", "key:a", "key:a", "key:b", "key:b"):
        attempt(child, credential=key)
    assert lockout.is_held(child)
    released = heard(signals.subject_released, lambda: lockout.release(NOBODY, "child-1"))
    assert released == [{"subject_id": "child-1"}]
    assert not lockout.is_held(child)
    assert heard(signals.subject_released, lambda: lockout.release(NOBODY, "child-1")) == []
    # the lengths were not forgotten
    assert [attempt(child) for _ in range(4)] == ["no_match"] * 3 + ["throttled 600"]
    assert [attempt(child, credential=f"key:{name}") for name in "cde"] == ["no_match"] * 2 + ["locked_out 600"]


def test_a_slowed_credential_is_released_with_the_subject_that_is_not_locked(child: Subject) -> None:
    for _ in range(3):
        attempt(child)
    assert [lockout.release_row(NOBODY, child.pk), lockout.release_row(NOBODY, child.pk)] == [True, False]
    assert attempt(child, "match") == "match"


def test_a_release_that_lifts_nothing_gives_a_guesser_no_new_tries(child: Subject) -> None:
    """It leaves no event, so whoever may release would guess for ever."""
    told = []
    for _ in range(4):
        told.append(attempt(child))
        lifted = lockout.release(NOBODY, "child-1")
        if lifted:
            break
    assert (told, lifted) == (["no_match"] * 3, True)
    assert AuditEvent.objects.get().kind == "release"


def test_who_is_not_there_is_not_released() -> None:
    with pytest.raises(NotFound):
        lockout.release(NOBODY, "nobody")


def test_a_released_credential_begins_anew() -> None:
    assert fleet(40, "key:bus", "no_match")[-1].startswith("throttled")
    assert [lockout.release_credential(NOBODY, "key:bus") for _ in range(2)] == [True, False]
    assert fleet(1, "key:bus", "match", first=50) == ["match"]


@pytest.mark.parametrize(
    ("name", "value", "ids"),
    [
        ("LOCKOUT_AFTER", 0, []),
        ("LOCKOUT_AFTER", "5", ["ml_models.E015"]),
        ("LOCKOUT_S", 0, ["ml_models.E015"]),
        ("LOCKOUT_MAX_S", -1, ["ml_models.E015"]),
        ("SLOW_AFTER", 0, ["ml_models.E015"]),
        ("HONEST_FAILURE_RATE", 5, ["ml_models.E015"]),
        ("REENROL_WINDOW_DAYS", None, ["ml_models.E015"]),
        ("LIMITS", {"subject": None}, []),
        ("LIMITS", {"subjects": (600, 60)}, ["ml_models.E016"]),
        ("LIMITS", {"subject": (600, 0)}, ["ml_models.E016"]),
        ("LIMITS", {"subject": 600}, ["ml_models.E016"]),
    ],
)
def test_a_setting_that_bounds_nothing_is_told(configure: Any, name: str, value: Any, ids: list[str]) -> None:
    configure(**{name: value})
    assert [message.id for message in checks.check_guessing() + checks.check_limits()] == ids


def test_a_refusal_says_what_ends_it() -> None:
    assert str(Slowed(90)) == "This device has shown too many faces that did not match. Try again in 90 s."
