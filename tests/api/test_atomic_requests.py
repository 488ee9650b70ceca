"""Under a host's ATOMIC_REQUESTS everything works as without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import URLResolver, get_resolver
from rest_framework.test import APIClient

from ml_models import urls
from ml_models.models import EnsembleConfig, Subject, Verification
from ml_models.services import audit, enrolment
from tests.conftest import Portraits
from tests.support.uploads import enroll, upload


@pytest.fixture(autouse=True)
def atomic_requests() -> Iterator[None]:
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_no_view_of_the_app_is_wrapped_in_a_transaction() -> None:
    def views(patterns: Iterable[Any]) -> Iterator[Any]:
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                yield from views(pattern.url_patterns)
            else:
                yield pattern.callback

    found = list(views(urls.urlpatterns))
    assert len(found) > 10
    assert [view for view in found if "default" not in getattr(view, "_non_atomic_requests", ())] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("slash", ["", "/"])
def test_what_was_counted_stands_when_the_answer_fails(
    people: list[str], service: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch, slash: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(audit, "record_decision", fail)
    service.raise_request_exception = False
    body = upload(people[0], portraits.grace_hopper)
    answer: Any = service.post(f"/api/v1/face/verify{slash}", body, format="multipart")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert Subject.objects.get(subject_id=people[0]).failures == 2  # in halves
    assert Verification.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_no_lock_is_held_while_a_picture_is_read(
    served: EnsembleConfig, service: APIClient, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_transaction = []
    check = enrolment._check_against_template

    def watched(*args: Any) -> Any:
        in_a_transaction.append(connection.in_atomic_block)
        return check(*args)

    monkeypatch.setattr(enrolment, "_check_against_template", watched)
    assert enroll(service, "child-1", portraits.eileen_collins).status_code == 201
    assert in_a_transaction == [False]


@pytest.mark.django_db(transaction=True)
def test_the_panels_buttons_hold_transactions_of_their_own(served: EnsembleConfig, admin_client: Client) -> None:
    pressed = f"/admin/ml_models/ensembleconfig/{served.pk}/validate/"
    match = get_resolver().resolve(pressed)
    assert "default" in match.func._non_atomic_requests  # type: ignore[attr-defined]
    assert admin_client.get(pressed).status_code in (200, 302)
