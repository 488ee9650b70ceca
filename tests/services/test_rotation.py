"""`rotate_keys`: everything under the new key, whatever comes between, and nothing twice."""

import json
import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from ml_models import crypto
from ml_models.models import Embedding, EnsembleConfig, Reference
from ml_models.services import rotation
from tests.conftest import Portraits
from tests.support.keys import keyset
from tests.support.pictures import another
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db


def run() -> dict[str, Any]:
    out = StringIO()
    call_command("rotate_keys", "--json", stdout=out, stderr=StringIO())
    return dict(json.loads(out.getvalue()))


def ciphertexts() -> list[bytes]:
    chips = Reference.objects.order_by("pk").values_list("chip", flat=True)
    return [bytes(data) for data in (*chips, *Embedding.objects.order_by("pk").values_list("vector", flat=True))]


@pytest.fixture
def enrolled(served: EnsembleConfig, service: APIClient, portraits: Portraits) -> str:
    for picture in (portraits.eileen_collins, another(portraits.eileen_collins)):
        assert enroll(service, "child-1", picture).status_code == 201
    return "child-1"


@pytest.fixture
def old(settings: Settings) -> dict[str, str]:
    return dict(json.loads(settings.ML_MODELS["KEYSET"])["keys"])


@pytest.fixture
def new_primary(enrolled: str, old: dict[str, str], settings: Settings) -> str:
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset("k2-new", "k2-new", **old)}
    return "k2-new"


def test_rotation_brings_all_under_the_new_key_and_a_second_run_does_nothing(
    service: APIClient, enrolled: str, new_primary: str, portraits: Portraits, settings: Settings
) -> None:
    assert run() == {"primary": new_primary, "rotated": 8, "left": 0}
    after = ciphertexts()
    assert all(data.startswith(crypto.header(new_primary)) for data in after)
    assert run()["rotated"] == 0
    assert ciphertexts() == after

    only_new = {new_primary: json.loads(settings.ML_MODELS["KEYSET"])["keys"][new_primary]}
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset(new_primary, **only_new)}
    assert verify(service, enrolled, portraits.eileen_collins).json()["decision"] == "match"


class Stopped(Exception):
    """The operator's Ctrl-C."""


def test_a_rotation_that_was_stopped_goes_on_where_it_was(
    service: APIClient, enrolled: str, new_primary: str, portraits: Portraits
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        rotation.rotate(stop)
    assert sum(data.startswith(crypto.header(new_primary)) for data in ciphertexts()) == 3
    # half under one key, half under the other: nobody at the door notices
    assert verify(service, enrolled, portraits.eileen_collins).json()["decision"] == "match"
    assert run() == {"primary": new_primary, "rotated": 5, "left": 0}


def test_what_no_key_opens_is_named_and_keeps_the_old_keys(new_primary: str) -> None:
    row = Embedding.objects.earliest("pk")
    data = bytearray(row.vector)
    data[-1] ^= 1
    Embedding.objects.filter(pk=row.pk).update(vector=bytes(data))
    errors = StringIO()
    with pytest.raises(CommandError, match="1 cannot be opened"):
        call_command("rotate_keys", stdout=StringIO(), stderr=errors)
    assert f"embedding {row.pk}" in errors.getvalue()
    assert bytes(Embedding.objects.get(pk=row.pk).vector) == bytes(data)


def test_a_row_erased_while_it_is_rotated_stays_erased(
    service: APIClient, enrolled: str, new_primary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased = threading.Event()
    seal = crypto.seal_chip

    def erase_first(*args: Any) -> bytes:
        if not erased.is_set():
            erased.set()
            assert service.delete(f"/api/v1/face/subjects/{enrolled}").status_code == 200
        return seal(*args)

    monkeypatch.setattr(crypto, "seal_chip", erase_first)
    assert rotation.rotate(lambda done, total: None) == (0, [])
    assert ciphertexts() == []


def test_a_moved_ciphertext_gives_an_error_and_no_decision(
    service: APIClient, enrolled: str, portraits: Portraits
) -> None:
    one, other = Embedding.objects.filter(reference=Reference.objects.earliest("pk"))[:2]
    Embedding.objects.filter(pk=one.pk).update(vector=other.vector)
    response = verify(service, enrolled, portraits.eileen_collins)
    assert (response.status_code, response.json()["code"]) == (500, "inference_failed")
    assert "decision" not in response.json()
