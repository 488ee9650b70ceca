"""Pages that say what an operator asks, and no more."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from ml_models.models import (
    AuditEvent,
    EnsembleConfig,
    Erasure,
    Identification,
    Reference,
    ServingProcess,
    StudyJob,
    Verification,
)
from tests.conftest import Portraits
from tests.support.panel import page
from tests.support.pictures import encoded, faceless
from tests.support.uploads import verify

pytestmark = pytest.mark.django_db


def shown(client: Client, model: str, pk: Any) -> str:
    return client.get(page(model, "change", pk)).text


def fields(client: Client, row: Verification) -> set[str]:
    form = client.get(page("verification", "change", row.pk)).context["adminform"]
    return {name for fieldset in form for line in fieldset for name in line.fields}


def crumbs(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text.partition("<h1")[2].partition("</h1>")[0]).split())


def test_an_attempt_without_a_decision_shows_no_empty_fields(
    people: list[str], operator: Client, service: APIClient, portraits: Portraits
) -> None:
    verify(service, "child-1", encoded(faceless()))
    verify(service, "child-1", portraits.eileen_collins)
    failed, matched = (fields(operator, row) for row in Verification.objects.order_by("at"))
    assert {"decision", "scored", "limit", "by_member", "voters", "quality"} <= matched
    assert failed == {
        "id",
        "at",
        "caller",
        "credential_id",
        "person",
        "config",
        "code",
        "references",
        "frames",
        "frames_dropped",
    }


def test_a_number_reads_alike_on_every_page(served: EnsembleConfig, staff: Callable[..., Client]) -> None:
    looker = staff("view_verification", "view_identification", "view_studyjob", "view_scores")
    scored = {"decision": "match", "score": 21.7461, "threshold": 3.485612}
    verified = Verification.objects.create(similarities={"arcface": 0.957968}, **scored)
    roster = {"roster_digest": "", "roster_size": 2, "candidates": 2}
    searched = Identification.objects.create(margin=2.078472, **roster, **scored)
    figures = {"name": "staff", "subjects": 1_200, "mated": 9, "non_mated": 9, "fmr": 0.0009, "fnmr": 0.021}
    studied = StudyJob.objects.create(config=served, kind="calibrate", state="done", figures=[figures])
    for model, pk, there, hidden in (
        ("verification", verified.pk, ("21.75", "3.49", "arcface 0.96"), "0.957"),
        ("identification", searched.pk, ("21.75", "3.49", "2.08"), "2.078"),
        ("studyjob", studied.pk, ("1,200", "0.090\xa0%", "2.10\xa0%"), "0.021"),
    ):
        text = shown(looker, model, pk)
        assert not [number for number in there if number not in text], model
        assert hidden not in text


def test_an_erasures_page_says_when(people: list[str], operator: Client, service: APIClient) -> None:
    service.delete("/api/v1/face/subjects/child-2")
    erasure = Erasure.objects.get()
    text = shown(operator, "erasure", erasure.pk)
    assert f"{erasure.at:%Y-%m-%d %H:%M}" in text
    listed = operator.get(page("erasure", "changelist")).text
    assert erasure.subject_hash[:12] in listed
    assert erasure.subject_hash not in listed


def test_events_name_the_account_and_the_deed_in_words(people: list[str], operator: Client, service: APIClient) -> None:
    service.delete("/api/v1/face/subjects/child-2")
    event = AuditEvent.objects.latest("pk")
    listed = operator.get(page("auditevent", "changelist")).text
    assert "erase subject" in listed
    assert "erase_subject" not in listed.partition("<tbody")[2].partition("</table>")[0]
    assert "kiosk" in listed
    own = shown(operator, "auditevent", event.pk)
    assert "kiosk" in own
    assert crumbs(own).endswith("erase subject")


def test_a_reference_names_its_subject_to_who_may_see_subjects(
    people: list[str], operator: Client, staff: Callable[..., Client]
) -> None:
    reference = Reference.objects.get(subject__subject_id="child-1")
    lists = page("reference", "changelist")
    sees, sees_not = operator, staff("view_reference")
    for read in (lambda who: who.get(lists).text, lambda who: shown(who, "reference", reference.pk)):
        assert "child-1" in read(sees)
        assert "child-1" not in read(sees_not)


def test_a_row_whose_name_is_its_key_has_no_name_and_others_have_theirs_as_it_is(
    people: list[str], operator: Client, served: EnsembleConfig
) -> None:
    reference = Reference.objects.all()[0]
    assert crumbs(shown(operator, "subject", reference.subject_id)).endswith("Subjects")
    assert crumbs(shown(operator, "ensembleconfig", served.pk)).endswith(str(served))
    assert str(served).startswith("v")


def test_a_processes_page_says_what_runs_each_network(operator: Client) -> None:
    process = ServingProcess.objects.create(
        host="web-1",
        pid=7,
        heartbeat_at="2026-01-01T00:00Z",
        started_at="2026-01-01T00:00Z",
        engines={"b": "x", "a": "y, z"},
    )
    assert "a: y, z; b: x" in shown(operator, "servingprocess", process.pk)
