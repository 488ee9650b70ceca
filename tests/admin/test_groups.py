"""A group's page: who may be in it twice, for a person to look at."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from django.test import Client
from rest_framework.test import APIClient

from ml_models import runtime, services, tasks
from ml_models.exceptions import NotFound
from ml_models.models import DuplicatePair, DuplicateSearch, Embedding, Group, Identification, Subject
from ml_models.services import duplicate_searches, groups, mixups, overview
from tests.api.identify.conftest import block
from tests.conftest import Portraits
from tests.support.panel import page, press, told
from tests.support.pictures import another
from tests.support.races import LONG_S, wait_for_a_lock
from tests.support.served import rewrite
from tests.support.uploads import enroll

pytestmark = pytest.mark.django_db

LOOKS = ("view_group", "view_subject", "view_candidates", "find_duplicates")


@pytest.fixture
def bus(people: list[str], service: APIClient, portraits: Portraits) -> Group:
    """Of two children, and the first one again under a third name."""
    rewrite(identification=block())
    runtime.refresh()
    assert enroll(service, "child-3", another(portraits.eileen_collins)).status_code == 201
    groups.put(services.NOBODY, "bus/7", [*people, "child-3", "child-4"])
    return Group.objects.get()


def shown(client: Client, bus: Group) -> str:
    return client.get(page("group", "change", bus.pk)).content.decode()


def test_pairs_are_searched_by_a_worker_and_shown_to_who_may_see_them(bus: Group, staff: Any) -> None:
    operator, reader = staff(*LOOKS), staff("view_group")
    assert "two names" not in shown(operator, bus)
    press(operator, "group", "duplicates", bus.pk)
    waiting = shown(operator, bus)
    assert "No worker has begun yet" in waiting
    assert "overview.js" in waiting  # which renews it
    assert (duplicate_searches.run(bus.pk), duplicate_searches.run(bus.pk)) == (True, False)
    tasks.find_duplicates(str(bus.pk))
    pair = DuplicatePair.objects.get()
    assert (pair.first.subject_id, pair.second.subject_id, pair.match) == ("child-1", "child-3", True)
    seen, hidden = shown(operator, bus), shown(reader, bus)
    assert "3 members were compared" in seen
    assert "overview.js" not in seen
    assert "1 without a reference" in seen
    assert page("subject", "change", pair.first_id) in seen
    assert "one face" in seen
    assert "1 pair to look at" in hidden
    assert not any(word in hidden for word in ("child-1", "child-3", str(pair.first_id)))

    services.erase_subject(services.NOBODY, "child-3")
    assert "No two of them look like one person." in shown(operator, bus)
    press(operator, "group", "duplicates", bus.pk)
    Embedding.objects.all().delete()
    rewrite(identification={})
    assert duplicate_searches.run(bus.pk)
    assert "The search failed" in shown(operator, bus)
    assert "not ready" in shown(operator, bus)


def test_the_button_asks_no_queue_and_the_next_tick_begins_the_search(
    people: list[str], staff: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups.put(services.NOBODY, "bus/7", people)
    group = Group.objects.get()
    queued: list[str] = []
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda self, args, *_, **__: queued.append(*args))
    operator = staff(*LOOKS)
    assert "the jobs of beat are not being done" in told(press(operator, "group", "duplicates", group.pk))
    overview.ran(overview.CHAIN)
    assert "begins within seconds" in told(press(operator, "group", "duplicates", group.pk))
    assert queued == []
    tasks.tick()
    assert queued == [str(group.pk)]
    DuplicateSearch.objects.update(begun_at=Now())
    tasks.tick()
    assert (len(queued), duplicate_searches.run(group.pk)) == (1, False)
    DuplicateSearch.objects.update(begun_at=Now() - timedelta(minutes=6))  # its worker has ended
    tasks.tick()
    assert len(queued) == 2


def test_who_may_not_look_for_duplicates_starts_no_search(people: list[str], staff: Any) -> None:
    groups.put(services.NOBODY, "bus/7", people)
    group = Group.objects.get()
    reader = staff("view_group", "view_candidates", "view_subject", "identify_group", "enroll_group")
    assert "Look for duplicates" not in shown(reader, group)
    assert reader.post(page("group", "duplicates", group.pk)).status_code == 403
    assert not DuplicateSearch.objects.exists()


def test_a_list_that_is_full_says_that_there_may_be_more(
    bus: Group, staff: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = staff(*LOOKS)
    duplicate_searches.ask(services.NOBODY, bus)
    assert duplicate_searches.run(bus.pk)
    assert "There may be more" not in shown(operator, bus)
    monkeypatch.setattr("ml_models.admin.groups.MOST_PAIRS", 1)
    assert "There may be more than these 1" in shown(operator, bus)


def test_a_search_that_fails_as_nobody_foresaw_is_not_made_again_and_again(
    bus: Group, staff: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(group_id: str) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(mixups, "find", broken)
    duplicate_searches.ask(services.NOBODY, bus)
    with pytest.raises(ZeroDivisionError):
        duplicate_searches.run(bus.pk)
    DuplicateSearch.objects.update(begun_at=Now() - timedelta(minutes=6))
    assert duplicate_searches.waiting() == []
    assert "internal error" in shown(staff(*LOOKS), bus)


def test_a_search_of_a_group_that_was_deleted_is_refused(bus: Group) -> None:
    groups.erase(services.NOBODY, "bus/7")
    with pytest.raises(NotFound):
        duplicate_searches.ask(services.NOBODY, bus)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_ask_at_once_the_second_takes_the_firsts_place(background: Callable[..., Any]) -> None:
    groups.put(services.NOBODY, "bus/7", [])
    group = Group.objects.get()
    with transaction.atomic():
        duplicate_searches.ask(services.NOBODY, group)
        first = DuplicateSearch.objects.get().asked_at
        second = background(duplicate_searches.ask, services.NOBODY, group)
        wait_for_a_lock()
    second.result(LONG_S)
    assert DuplicateSearch.objects.get().asked_at > first


@pytest.mark.django_db(transaction=True)
def test_a_search_an_erasure_and_the_groups_deletion_do_not_wait_in_a_ring(
    bus: Group, background: Callable[..., Any]
) -> None:
    duplicate_searches.ask(services.NOBODY, bus)
    with transaction.atomic():  # as an erasure has it
        Subject.objects.select_for_update().get(subject_id="child-1")
        searching = background(duplicate_searches.run, bus.pk)
        wait_for_a_lock()
        deleting = background(groups.erase, services.NOBODY, "bus/7")
        with suppress(TimeoutError):
            deleting.result(5)
        groups.leave_all("child-1")
    deleting.result(LONG_S)
    assert searching.result(LONG_S) is False


def test_a_search_names_its_group_to_who_may_see_groups(bus: Group, staff: Any) -> None:
    row = Identification.objects.create(roster_size=1, candidates=1, decision="no_match", group=bus.pk)
    at = page("identification", "change", row.pk)
    reader, auditor = staff("view_identification", "view_group"), staff("view_identification")
    assert page("group", "change", bus.pk) in reader.get(at).content.decode()
    assert "bus/7" in reader.get(at).content.decode()
    assert "bus/7" not in auditor.get(at).content.decode()
    bus.delete()
    assert "deleted since" in reader.get(at).content.decode()


def test_a_search_of_somebody_erased_or_of_a_deleted_group_leaves_no_pair(
    bus: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = mixups.find
    meanwhile = [lambda: Subject.objects.get(subject_id="child-3").delete(), bus.delete]

    def overtaken(group_id: str) -> Any:
        found = find(group_id)
        meanwhile.pop(0)()
        return found

    monkeypatch.setattr(mixups, "find", overtaken)
    duplicate_searches.ask(services.NOBODY, bus)
    assert duplicate_searches.run(bus.pk)
    assert not DuplicatePair.objects.exists()
    duplicate_searches.ask(services.NOBODY, bus)
    assert not duplicate_searches.run(Group.objects.get().pk)
