"""What a host hears, and that it cannot break an answer."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from ml_models import services, signals
from ml_models.models import EnsembleConfig, Verification
from tests.conftest import Portraits
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db(transaction=True)

SIGNALS = {"decided": signals.verification_decided, "erased": signals.subject_erased}


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    facts: list[tuple[str, dict[str, Any]]] = []
    receivers = {
        name: lambda name=name, **more: facts.append((name, {k: v for k, v in more.items() if k not in _OWN}))
        for name in SIGNALS
    }
    for name, receiver in receivers.items():
        SIGNALS[name].connect(receiver)
    yield facts
    for name, receiver in receivers.items():
        SIGNALS[name].disconnect(receiver)


_OWN = ("signal", "sender")


def test_a_host_hears_of_decisions_and_erasures_and_of_nothing_biometric(
    served: EnsembleConfig, service: APIClient, portraits: Portraits, heard: Any
) -> None:
    enroll(service, "child-1", portraits.eileen_collins)
    verify(service, "child-1", portraits.grace_hopper)
    service.delete("/api/v1/face/subjects/child-1")
    row = Verification.objects.get()
    decided = {"verification_id": row.pk, "subject_id": "child-1", "decision": "no_match", "config_version": 2}
    assert heard == [("decided", decided), ("erased", {"subject_id": "child-1", "references": 1})]


def test_nothing_is_heard_of_what_is_rolled_back(
    served: EnsembleConfig, service: APIClient, portraits: Portraits, heard: Any
) -> None:
    enroll(service, "child-1", portraits.eileen_collins)
    with transaction.atomic():
        services.erase_subject(services.NOBODY, "child-1")
        assert heard == []
        transaction.set_rollback(True)
    assert heard == []


def test_a_receiver_that_raises_changes_no_answer(
    served: EnsembleConfig, service: APIClient, portraits: Portraits, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> None:
        raise KeyError("a host's bug")

    enroll(service, "child-1", portraits.eileen_collins)
    signals.verification_decided.connect(broken)
    try:
        assert verify(service, "child-1", portraits.eileen_collins).json()["decision"] == "match"
    finally:
        signals.verification_decided.disconnect(broken)
    assert "a host's bug" in caplog.text
