"""A chip and its vectors answer for their own subject and for nobody else, whatever is written into the tables."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings
from rest_framework.test import APIClient

from ml_models import checks, crypto, selectors
from ml_models.exceptions import CryptoError
from ml_models.models import Embedding, EnsembleConfig, Reference, Subject
from ml_models.services import rosters
from tests.conftest import Portraits
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db


def sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def row(subject_id: str) -> Any:
    return Subject.objects.get(subject_id=subject_id).pk


def _move_reference() -> None:
    sql("UPDATE ml_models_reference SET subject_id = %s WHERE subject_id = %s", row("child-2"), row("child-1"))


def _swap_ids() -> None:
    sql("UPDATE ml_models_subject SET subject_id = 'aside' WHERE subject_id = 'child-1'")
    sql("UPDATE ml_models_subject SET subject_id = 'child-1' WHERE subject_id = 'child-2'")
    sql("UPDATE ml_models_subject SET subject_id = 'child-2' WHERE subject_id = 'aside'")


def _move_vectors() -> None:
    mine, theirs = (Reference.objects.get(subject__subject_id=name).pk for name in ("child-1", "child-2"))
    sql("DELETE FROM ml_models_embedding WHERE reference_id = %s", theirs)
    sql("UPDATE ml_models_embedding SET reference_id = %s WHERE reference_id = %s", theirs, mine)


def _move_spaces() -> None:
    one, other, _ = Embedding.objects.filter(reference__subject__subject_id="child-2").order_by("space")
    sql("UPDATE ml_models_embedding SET space = 'aside' WHERE id = %s", one.pk)
    sql("UPDATE ml_models_embedding SET space = %s WHERE id = %s", one.space, other.pk)
    sql("UPDATE ml_models_embedding SET space = %s WHERE id = %s", other.space, one.pk)


def _put_in_its_place() -> None:
    Reference.objects.filter(subject=row("child-2")).delete()
    _move_reference()


ATTACKS = [_move_reference, _put_in_its_place, _swap_ids, _move_vectors, _move_spaces]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_row_that_was_moved_gives_an_error_and_no_decision(
    people: list[str], service: APIClient, portraits: Portraits, attack: Callable[[], None]
) -> None:
    assert enroll(service, "child-3", portraits.grace_hopper).status_code == 201
    attack()
    with pytest.raises(CryptoError):
        rosters.read(["child-2", "child-3"], selectors.active_config())
    answer = verify(service, "child-2", portraits.eileen_collins)
    assert (answer.status_code, answer.json()["code"]) == (500, "inference_failed")
    assert "decision" not in answer.json()
    # another subject does not notice
    assert verify(service, "child-3", portraits.grace_hopper).json()["decision"] == "match"


@pytest.fixture
def before(settings: Settings) -> Callable[[str], None]:
    """Set BINDING."""

    def change(mode: str) -> None:
        settings.ML_MODELS = {**settings.ML_MODELS, "BINDING": mode}

    change("introduce")
    return change


@pytest.fixture
def old(before: Callable[[str], None], served: EnsembleConfig, service: APIClient, portraits: Portraits) -> APIClient:
    """Two people enrolled by the earlier release."""
    for name, portrait in (("child-1", portraits.eileen_collins), ("child-2", portraits.grace_hopper)):
        assert enroll(service, name, portrait).status_code == 201
    assert all(crypto.is_unbound(bytes(row.vector)) for row in Embedding.objects.all())
    assert all(crypto.is_unbound(bytes(row.chip)) for row in Reference.objects.all())
    return service


def rotate() -> str:
    errors = StringIO()
    call_command("rotate_keys", stdout=StringIO(), stderr=errors)
    return errors.getvalue()


def test_old_rows_are_read_until_rotation_has_bound_them_and_refused_once_that_is_required(
    old: APIClient, before: Callable[[str], None], portraits: Portraits
) -> None:
    def match() -> bool:
        assert len(rosters.read(["child-1", "child-2"], selectors.active_config()).candidates) == 2
        return verify(old, "child-1", portraits.eileen_collins).json().get("decision") == "match"

    def refused() -> bool:
        with pytest.raises(CryptoError):
            rosters.read(["child-1"], selectors.active_config())
        return verify(old, "child-1", portraits.eileen_collins).status_code == 500

    unbound = {row.pk: bytes(row.vector) for row in Embedding.objects.all()}
    assert match()
    before("bind")
    assert match()
    before("require")
    assert refused()
    before("bind")
    assert '"require"' in rotate()
    bound = {row.pk: bytes(row.vector) for row in Embedding.objects.all()}
    assert not any(map(crypto.is_unbound, bound.values()))
    rotate()
    assert {row.pk: bytes(row.vector) for row in Embedding.objects.all()} == bound  # a second run does nothing
    before("require")
    assert match()
    # a copy of an old ciphertext, put back: its own row, its own key, and refused all the same
    for pk, data in unbound.items():
        Embedding.objects.filter(pk=pk).update(vector=data)
    assert refused()


@pytest.mark.parametrize("mode", ["introduce", "bind"])
def test_an_old_reference_moved_to_another_subject_is_refused_by_its_chip(
    old: APIClient, before: Callable[[str], None], portraits: Portraits, mode: str
) -> None:
    before(mode)
    _move_reference()
    with pytest.raises(CryptoError):
        rosters.read(["child-2"], selectors.active_config())
    assert verify(old, "child-2", portraits.eileen_collins).status_code == 500


def test_rotation_does_not_bind_to_the_victim_what_was_moved_before_it(
    old: APIClient, before: Callable[[str], None], portraits: Portraits
) -> None:
    _move_reference()
    before("bind")
    with pytest.raises(CommandError, match="4 cannot be opened"):
        rotate()
    mine = Embedding.objects.filter(reference__subject__subject_id="child-2")
    assert sum(crypto.is_unbound(bytes(row.vector)) for row in mine) == 3  # child-1's, left as they were
    assert verify(old, "child-2", portraits.eileen_collins).status_code == 500


def test_processes_of_the_earlier_release_can_read_what_is_written_while_they_run(old: APIClient) -> None:
    """Version 1 of the layout: the associated data name the row, as the earlier release expects."""
    row = Embedding.objects.select_related("reference__subject").earliest("pk")
    associated = f"ml_models|embedding|{row.pk}|{row.reference_id}|{row.space}".encode()
    assert bytes(row.vector)[0] == 1
    assert len(crypto._decrypt(bytes(row.vector), associated)) % 4 == 0


def test_a_binding_that_does_not_exist_is_an_error_and_the_strictest_one(
    old: APIClient, before: Callable[[str], None], portraits: Portraits
) -> None:
    before("of course")
    assert [message.id for message in checks.check_binding()] == ["ml_models.E005"]
    assert verify(old, "child-1", portraits.eileen_collins).status_code == 500
    before("require")
    assert checks.check_binding() == []
