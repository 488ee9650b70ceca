"""The panel's first page: what needs somebody, for those who may see it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from ml_models import rollouts
from ml_models.models import (
    CredentialCount,
    EnsembleConfig,
    Identification,
    JobRun,
    Reference,
    RolloutFailure,
    ServingProcess,
    Subject,
    Verification,
)
from ml_models.services import overview
from tests.support.panel import page

pytestmark = pytest.mark.django_db


def needs(client: Client) -> list[str]:
    answer = client.get(reverse("admin:ml_models_overview"))
    assert answer.status_code == 200
    return [need.says for need in answer.context["needs"]]


@pytest.fixture
def well(served: EnsembleConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version with evidence, and every kind of process and job alive."""
    monkeypatch.setattr("ml_models.admin.overview.evidence.missing", lambda config: [])
    for pid, kind in enumerate(ServingProcess.Kind.values):
        ServingProcess.objects.create(host="bus", pid=pid, kind=kind, heartbeat_at=Now(), started_at=Now())
    overview.ran(overview.CHAIN)


def test_nothing_needs_anybody_where_all_is_well(well: None, operator: Client) -> None:
    assert needs(operator) == []


def test_searches_of_the_last_day_are_beside_the_verifies_for_who_may_see_them(
    well: None, operator: Client, staff: Callable[..., Client]
) -> None:
    def days(client: Client) -> list[str]:
        return [day["name"] for day in client.get(reverse("admin:ml_models_overview")).context["traffic"]]

    assert days(operator) == ["Verifies"]
    Identification.objects.create(decision="no_match", roster_digest="0" * 64, roster_size=2, candidates=2)
    assert days(operator) == ["Verifies", "Identifications"]
    assert days(staff("view_verification")) == ["Verifies"]


def test_both_ways_in_lead_there(well: None, operator: Client) -> None:
    for address in ("/", "/admin/"):
        assert operator.get(address, follow=True).redirect_chain[-1][0] == reverse("admin:ml_models_overview")
    assert reverse("admin:login") in Client().get("/", follow=True).redirect_chain[-1][0]


def test_each_page_says_what_it_is_and_is_one_row_of_the_menu(served: EnsembleConfig, operator: Client) -> None:
    pages = {
        "Overview": reverse("admin:ml_models_overview"),
        "Serving processes": page("servingprocess", "changelist"),
        "Live traffic": page("verification", "traffic"),
        "Verifications": page("verification", "changelist"),
        "Timeline": page("auditevent", "timeline"),
        "Audit events": page("auditevent", "changelist"),
        "Versions": page("ensembleconfig", "change", served.pk),
    }
    for name, address in pages.items():
        answer = operator.get(address)
        rows = [row for group in answer.context["sidebar_navigation"] for row in group["items"]]
        assert [row["title"] for row in rows if row["active"]] == [name]
    for address in (pages["Live traffic"], pages["Timeline"]):
        answer = operator.get(address)
        assert f'<h2 class="fv-title">{answer.context["title"]}</h2>' in answer.text


def lock(config: EnsembleConfig, people: list[str]) -> None:
    Subject.objects.filter(subject_id="child-1").update(locked_until=Now() + timedelta(hours=1))


def slow(config: EnsembleConfig, people: list[str]) -> None:
    CredentialCount.objects.create(credential="kiosk-7", slowed_until=Now() + timedelta(hours=1))


def fail(config: EnsembleConfig, people: list[str]) -> None:
    rollout = rollouts.open_rollout(config)
    RolloutFailure.objects.create(rollout=rollout, reference=Reference.objects.all()[0], code="low_quality")


def pause(config: EnsembleConfig, people: list[str]) -> None:
    rollouts.pause(rollouts.open_rollout(config))


def silence(config: EnsembleConfig, people: list[str]) -> None:
    ServingProcess.objects.filter(kind="worker").update(heartbeat_at=Now() - timedelta(seconds=35))


def stop_beat(config: EnsembleConfig, people: list[str]) -> None:
    JobRun.objects.update(ran_at=Now() - timedelta(seconds=35))


@pytest.mark.parametrize(
    ("happens", "says", "model"),
    [
        (lock, "child-1 is locked out until", "subject"),
        (slow, "1 credential is slowed", "credentialcount"),
        (fail, "1 reference is to be enrolled again.", "rolloutfailure"),
        (pause, "paused", "rollout"),
        (silence, "The worker bus:1 has been silent", "servingprocess"),
        (stop_beat, "The jobs that beat starts were last", "servingprocess"),
    ],
)
def test_what_needs_somebody_is_told_to_who_may_see_it(
    well: None,
    validated: EnsembleConfig,
    people: list[str],
    viewer: Client,
    staff: Callable[..., Client],
    happens: Callable[..., None],
    says: str,
    model: str,
) -> None:
    happens(validated, people)
    assert any(says in need for need in needs(viewer)), needs(viewer)
    others = [name for name in ("subject", "credentialcount", "rolloutfailure", "rollout") if name != model]
    without = staff(*(f"view_{name}" for name in others))
    assert not any(says in need for need in needs(without))


def test_a_version_without_evidence_is_told_once(
    served: EnsembleConfig, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = viewer.get(reverse("admin:ml_models_overview"))
    assert answer.content.decode().count("lacks evidence") == 1
    monkeypatch.setattr("ml_models.admin.overview.evidence.missing", lambda config: ["One.", "Two."])
    assert "v2 test lacks evidence: 2 requirements are not met." in needs(viewer)


def test_beyond_a_few_locked_subjects_they_are_a_list(well: None, viewer: Client) -> None:
    for number in range(7):
        Subject.objects.create(subject_id=f"child-{number}", locked_until=Now() + timedelta(hours=1))
    told = needs(viewer)
    assert len(told) == 6
    assert told[-1] == "2 more subjects are locked out."


def test_the_list_of_locked_subjects_holds_those_alone(people: list[str], viewer: Client) -> None:
    lock(None, people)  # type: ignore[arg-type]
    listed = viewer.get(f"{page('subject', 'changelist')}?locked=now").content.decode()
    assert "child-1" in listed
    assert "child-2" not in listed


def test_a_subjects_page_tells_its_attempts_in_words(
    people: list[str], service: Any, portraits: Any, viewer: Client, staff: Callable[..., Client]
) -> None:
    from tests.support.uploads import verify

    assert verify(service, "child-1", portraits.grace_hopper, capture_point="front door").status_code == 200
    subject = Subject.objects.get(subject_id="child-1")
    address = page("subject", "change", subject.pk)
    assert "no match, front door</a>, 0\xa0minutes ago" in viewer.get(address).content.decode()
    assert "front door" not in staff("view_subject").get(address).content.decode()
    attempt = page("verification", "change", Verification.objects.get().pk)
    named = f'<a href="{address}">child-1</a>'
    assert named in viewer.get(attempt).text
    assert '<h2 class="fv-title">no match, front door</h2>' in viewer.get(attempt).text
    assert "child-1" not in staff("view_verification").get(attempt).text
    releaser = staff("view_subject", "release_subject")
    Subject.objects.update(locked_until=Now() + timedelta(hours=1))
    assert "Release child-1" in releaser.get(page("subject", "release", subject.pk)).text
