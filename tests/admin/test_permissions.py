"""Who sees which button, and who may press it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from ml_models import rollouts
from ml_models.models import AuditEvent, CredentialCount, EnsembleConfig, Rollout, Subject, Verification
from tests.support.panel import page
from tests.support.uploads import verify
from tests.support.work import work_off

from .conftest import DEEDS, VIEWS

pytestmark = pytest.mark.django_db

# (model, button, the right it takes)
BUTTONS = [
    ("ensembleconfig", "validate", "validate_config"),
    ("ensembleconfig", "activate", "activate_config"),
    ("ensembleconfig", "rollback", "rollback_config"),
    ("ensembleconfig", "discard", "discard_config"),
    ("ensembleconfig", "end_warmth", "end_warmth"),
    ("ensembleconfig", "clone", "add_ensembleconfig"),
    ("rollout", "go", "control_rollout"),
    ("rollout", "pause", "control_rollout"),
    ("rollout", "resume", "control_rollout"),
    ("rollout", "abort", "control_rollout"),
    ("subject", "erase", "erase_subject"),
    ("reference", "erase", "erase_subject"),
    ("subject", "release", "release_subject"),
    ("subject", "cannot_turn", "exempt_subject"),
    ("subject", "can_turn", "exempt_subject"),
    ("credentialcount", "release", "release_credential"),
]
# whose refusal leaves an event, of this kind
AUDITED = {
    ("subject", "erase"): "erase_subject",
    ("reference", "erase"): "erase_reference",
    ("subject", "release"): "release",
    ("subject", "cannot_turn"): "exempt",
    ("subject", "can_turn"): "exempt",
    ("credentialcount", "release"): "release",
}


def _row(model: str, button: str, request: pytest.FixtureRequest) -> Any:
    """A row in the state in which the button is offered."""
    if model == "credentialcount":
        return CredentialCount.objects.create(credential="key:a", slowed_until=timezone.now() + timedelta(hours=1))
    if model in ("subject", "reference"):
        request.getfixturevalue("people")
        Subject.objects.update(locked_until=timezone.now() + timedelta(hours=1), cannot_turn=button == "can_turn")
        subject = Subject.objects.get(subject_id="child-1")
        return subject if model == "subject" else subject.references.get()
    if button == "validate":
        return request.getfixturevalue("draft")
    if button == "clone":
        return request.getfixturevalue("served")
    if model == "rollout" or button in ("rollback", "end_warmth"):
        request.getfixturevalue("people")
    validated = request.getfixturevalue("validated")
    if button in ("activate", "discard"):
        return validated
    rollout = rollouts.open_rollout(validated, hold_for_approval=button == "go")
    if button in ("go", "rollback", "end_warmth"):
        work_off()
    if button == "resume":
        rollouts.pause(rollout)
    rollout.refresh_from_db()
    if button == "end_warmth":
        return EnsembleConfig.objects.get(state="retired")
    return EnsembleConfig.objects.get(state="active") if button == "rollback" else rollout


@pytest.mark.parametrize(("model", "button", "right"), BUTTONS)
def test_a_button_is_seen_and_pressed_by_holders_of_its_right_only(
    model: str, button: str, right: str, staff: Callable[..., Client], request: pytest.FixtureRequest
) -> None:
    row = _row(model, button, request)
    url = page(model, button, row.pk)

    others = [deed for deed in DEEDS if deed != right]
    for client in (staff(*VIEWS), staff(*VIEWS, *others)):
        assert url not in client.get(page(model, "change", row.pk)).text
        assert client.get(url).status_code == 403
        refused = client.post(url)
        assert (refused.status_code, right in refused.text) == (403, True)
    events = AuditEvent.objects.filter(code="forbidden")
    assert [event.kind for event in events] == ([AUDITED[model, button]] * 2 if (model, button) in AUDITED else [])
    # each operator is a credential
    assert [event.credential_id for event in events] == [f"panel:{event.caller}" for event in events]
    assert len({event.caller for event in events}) == len(events)
    assert type(row).objects.filter(pk=row.pk).exists()
    assert getattr(type(row).objects.get(pk=row.pk), "state", "") == getattr(row, "state", "")

    allowed = staff(*VIEWS, right)
    assert url in allowed.get(page(model, "change", row.pk)).text
    if button != "clone":
        assert allowed.get(url).status_code == 200
    answer = allowed.post(url)
    assert answer.status_code == 302
    assert answer["Location"] != url


def test_the_right_to_press_without_the_right_to_look_is_not_enough(
    staff: Callable[..., Client], draft: EnsembleConfig
) -> None:
    assert staff("validate_config").post(page("ensembleconfig", "validate", draft.pk)).status_code == 403


def test_nobody_gets_in_without_being_staff(client: Client, user: Any, grant: Any, served: EnsembleConfig) -> None:
    client.force_login(grant(user, *VIEWS, *DEEDS))
    for url in (page("ensembleconfig", "change", served.pk), page("ensembleconfig", "clone", served.pk)):
        assert "/admin/login/" in client.post(url)["Location"]
    assert EnsembleConfig.objects.count() == 1


def test_a_deed_is_done_by_POST_with_the_token_only(staff: Callable[..., Client], served: EnsembleConfig) -> None:
    careful = staff(*VIEWS, *DEEDS, enforce_csrf_checks=True)
    url = page("ensembleconfig", "clone", served.pk)
    assert careful.post(url).status_code == 403
    assert careful.get(url).status_code == 405
    careful.get(page("ensembleconfig", "change", served.pk))
    token = careful.cookies["csrftoken"].value
    assert careful.post(url, {"csrfmiddlewaretoken": token}).status_code == 302
    assert EnsembleConfig.objects.count() == 2


def test_progress_takes_the_right_to_see_rollouts(staff: Callable[..., Client], validated: EnsembleConfig) -> None:
    url = page("rollout", "progress", rollouts.open_rollout(validated).pk)
    assert staff("view_ensembleconfig").get(url).status_code == 403
    assert staff("view_rollout").get(url).json()["state"] in Rollout.State.values


def test_scores_are_for_holders_of_their_right(
    staff: Callable[..., Client], people: list[str], service: Any, portraits: Any
) -> None:
    verify(service, "child-1", portraits.eileen_collins)
    row = Verification.objects.get()
    url = page("verification", "change", row.pk)
    shown = f"{row.score:.2f}"
    assert shown in staff("view_verification", "view_scores").get(url).text
    hidden = staff("view_verification")
    assert shown not in hidden.get(url).text
    assert shown not in hidden.get(page("verification", "changelist")).text
