"""Somebody is erased, taken off the roster or locked, or keys and versions change, in the middle of a search."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient

from ml_models import crypto, services
from ml_models.engine import identify as engine
from ml_models.exceptions import ConfigChanged, LockedOut, NotReady, Slowed
from ml_models.models import Embedding, EnsembleConfig, Identification, PairCount, Subject
from ml_models.services import erasure, groups, liveness, rosters, rotation
from tests.api.identify.conftest import events, identify
from tests.conftest import Portraits
from tests.support.keys import keyset
from tests.support.races import LONG_S, Parking, wait_for_a_lock

pytestmark = pytest.mark.django_db


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
