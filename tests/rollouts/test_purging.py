"""Embeddings that no version needs are deleted, without anybody waiting."""

import uuid
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from ml_models.models import Embedding, EnsembleConfig, Reference
from ml_models.rollouts import backfill, purging
from ml_models.versions import locks
from tests.support.races import LONG_S, wait_for_a_lock

pytestmark = pytest.mark.django_db

UNNEEDED = ("0" * 64, "f" * 64)  # before and behind every space that is needed


@pytest.fixture
def needed(people: list[str]) -> set[uuid.UUID]:
    """The embeddings that a version needs; beside them there are four that none does."""
    rows = set(Embedding.objects.values_list("pk", flat=True))
    for reference in Reference.objects.all():
        for space in UNNEEDED:
            Embedding.objects.create(reference=reference, space=space, vector=b"")
    return rows


def left() -> set[uuid.UUID]:
    return set(Embedding.objects.values_list("pk", flat=True))


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_everything_unneeded_goes_and_nothing_else(needed: set[uuid.UUID], batch: int) -> None:
    assert purging.unneeded().count() == 4
    steps = list(purging.purge(batch))
    assert (sum(steps), max(steps)) == (4, min(batch, 2))
    assert left() == needed
    assert sum(purging.purge(batch)) == 0
    assert left() == needed


def test_the_command_counts_what_it_deleted(needed: set[uuid.UUID], capsys: pytest.CaptureFixture[str]) -> None:
    call_command("purge_retired", "--dry-run")
    assert len(left()) == len(needed) + 4
    call_command("purge_retired")
    assert "4 of 4 unneeded embeddings deleted" in capsys.readouterr().out
    assert left() == needed


def test_a_space_that_a_version_needs_meanwhile_is_left_from_then_on(
    needed: set[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    purge = purging.purge(1)
    assert next(purge) == 1
    spaces_of = backfill.spaces_of
    monkeypatch.setattr(purging, "spaces_of", lambda config: spaces_of(config) | {UNNEEDED[0]})
    assert sum(purge) == 2
    assert Embedding.objects.filter(space=UNNEEDED[0]).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_row_that_an_erasure_holds_is_neither_waited_for_nor_lost(needed: set[uuid.UUID], background: Any) -> None:
    held = Embedding.objects.filter(space=UNNEEDED[0])[0]
    with transaction.atomic():
        Embedding.objects.select_for_update().get(pk=held.pk)
        assert background(lambda: sum(purging.purge())).result(LONG_S) == 3
    assert left() == needed | {held.pk}
    assert sum(purging.purge()) == 1


@pytest.mark.django_db(transaction=True)
def test_nothing_is_deleted_while_a_version_changes_that_may_need_it(
    needed: set[uuid.UUID], background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces_of = backfill.spaces_of
    with transaction.atomic():
        locks.change_versions()
        purge = background(lambda: sum(purging.purge()))
        wait_for_a_lock()  # it has looked, and begins
        monkeypatch.setattr(purging, "spaces_of", lambda config: spaces_of(config) | set(UNNEEDED))
    assert purge.result(LONG_S) == 0
    assert len(left()) == len(needed) + 4


def test_a_needed_version_is_served_warm_or_validated(needed: set[uuid.UUID], served: EnsembleConfig) -> None:
    EnsembleConfig.objects.update(state=EnsembleConfig.State.VALIDATED)
    assert purging.unneeded().count() == 4
    EnsembleConfig.objects.update(state=EnsembleConfig.State.RETIRED)
    assert purging.unneeded().count() == 4 + len(needed)
