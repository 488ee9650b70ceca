"""Who looks for somebody in the panel, and enrols them there."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from ml_models import rollouts, services
from ml_models.models import (
    AuditEvent,
    EnsembleConfig,
    Group,
    Identification,
    Reference,
    RolloutFailure,
    Subject,
)
from ml_models.services import groups
from tests.admin.conftest import VIEWS
from tests.admin.test_hidden_fields import PANELS
from tests.conftest import Portraits
from tests.support.panel import page, told
from tests.support.uploads import verify

pytestmark = pytest.mark.django_db

FIND, ENROL = (reverse(f"admin:ml_models_subject_{name}") for name in ("find", "enrol"))


def find(client: Client, subject_id: str) -> Any:
    return client.post(FIND, {"sought": subject_id})


def enrol(client: Client, subject_id: str, picture: bytes, **more: str) -> Any:
    upload = SimpleUploadedFile("face.jpg", picture, "image/jpeg")
    return client.post(ENROL, {"subject_id": subject_id, "image": upload, **more}, follow=True)


def test_somebody_is_found_by_the_whole_id_or_it_is_said_whether_they_were_erased(
    viewer: Client, staff: Callable[..., Client], people: list[str]
) -> None:
    child = Subject.objects.get(subject_id="child-1")
    assert find(viewer, " child-1 ")["Location"] == page("subject", "change", child.pk)
    for never in ("child", "CHILD-1", "nobody"):
        assert "Nobody with this id was erased" in find(viewer, never).text
    assert "control characters" in find(viewer, "a\0b").text
    services.erase_subject(services.NOBODY, "child-1")
    assert "was erased" in find(viewer, "child-1").text
    assert "with 1 reference," in find(viewer, "child-1").text
    assert "erased" not in find(staff("view_subject"), "child-1").text
    assert find(staff("view_reference"), "child-2").status_code == 403


def test_every_list_about_people_finds_by_an_id_that_no_address_names(
    people: list[str], service: APIClient, portraits: Portraits, staff: Callable[..., Client]
) -> None:
    """Addresses stay in access logs and in browsers."""
    for subject_id in people:
        verify(service, subject_id, portraits.eileen_collins)
        Identification.objects.create(
            subject=Subject.objects.get(subject_id=subject_id), roster_size=1, candidates=1, decision="match"
        )
    groups.put(services.NOBODY, "bus/7", people)
    lists = ("reference", "verification", "identification", "auditevent")
    desk = staff("view_subject", "view_group", *(f"view_{model}" for model in lists))
    for model in lists:
        assert page(model, "find") in desk.get(page(model, "changelist")).text
        where = desk.post(page(model, "find"), {"sought": "child-1"})["Location"]
        assert "child-1" not in where
        shown = desk.get(where)
        rows = shown.context["cl"].result_list
        whole = desk.get(page(model, "changelist")).context["cl"].result_count
        assert 0 < len(rows) < whole
        assert "child-2" not in shown.text
        assert "Nobody is enrolled as “nobody”" in desk.post(page(model, "find"), {"sought": "nobody"}).text
        assert desk.get(page(model, "changelist"), {"q": "child-1"}).context["cl"].result_count == whole
        assert desk.get(page(model, "changelist"), {"subject": "child-1"}).context["cl"].result_count == 0
        other = staff(f"view_{model}")
        assert page(model, "find") not in other.get(page(model, "changelist")).text
        assert other.post(page(model, "find"), {"sought": "child-1"}).status_code == 403
    bus = desk.post(page("group", "find"), {"sought": "bus/7"})["Location"]
    assert bus == page("group", "change", Group.objects.get().pk)
    assert "No group has the id “bus/8”" in desk.post(page("group", "find"), {"sought": "bus/8"}).text
    searched = [field for _, panel in PANELS for field in panel.search_fields]
    assert not [field for field in searched if "subject" in field or "group" in field]


def test_who_was_erased_and_enrolled_again_is_shown_with_both(
    viewer: Client, people: list[str], portraits: Portraits
) -> None:
    services.erase_subject(services.NOBODY, "child-1")
    again = services.enroll(services.NOBODY, "child-1", portraits.eileen_collins, override=True).reference.subject
    assert "Somebody with this id was erased" in viewer.get(page("subject", "change", again.pk)).text


def test_a_picture_is_enrolled_by_who_may_and_refused_with_its_reason(
    staff: Callable[..., Client], people: list[str], portraits: Portraits
) -> None:
    desk = staff("view_subject", "enroll_subject")
    assert "Enrolled, with a picture of quality" in told(enrol(desk, "child-3", portraits.eileen_collins))
    reference = Reference.objects.get(subject__subject_id="child-3")
    operator: Any = desk.get(ENROL).wsgi_request.user
    event = AuditEvent.objects.filter(kind="enroll").latest("pk")
    assert (reference.enrolled_by, event.credential_id) == (operator, f"panel:{operator.pk}")
    refusals = [
        (enrol(desk, "child-3", portraits.grace_hopper), "match"),
        (enrol(desk, "child-3", b"no picture"), ""),
        (desk.post(ENROL, {"subject_id": "child-3"}), "There is no picture"),
    ]
    for answer, why in refusals:
        assert answer.status_code == 200
        assert why in told(answer)
        assert 'value="child-3"' in answer.text
    # by the one rule for ids: over REST it would be refused, and never found again
    assert "neither begins nor ends with a blank" in told(enrol(desk, "child-3 ", portraits.eileen_collins))
    assert enrol(desk, "child-3", portraits.grace_hopper, override="on").status_code == 403
    assert Reference.objects.filter(subject__subject_id="child-3").count() == 1
    approver = staff("view_subject", "enroll_subject", "override_reference")
    assert "Enrolled" in told(enrol(approver, "child-3", portraits.grace_hopper, override="on"))
    assert Reference.objects.filter(subject__subject_id="child-3", overridden=True).count() == 1

    without = staff("view_subject")
    assert enrol(without, "child-4", portraits.eileen_collins).status_code == 403
    refused = AuditEvent.objects.filter(code="forbidden").order_by("pk").values_list("kind", flat=True)
    assert list(refused) == ["override", "enroll"]
    assert ENROL not in without.get(page("subject", "changelist")).text
    assert ENROL in desk.get(page("subject", "changelist")).text


def test_a_picture_stays_in_memory_and_needs_the_token(
    staff: Callable[..., Client], served: EnsembleConfig, portraits: Portraits, settings: Any, monkeypatch: Any
) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1  # as a host may have it

    def never(*args: Any) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("django.core.files.uploadhandler.TemporaryUploadedFile", never)
    desk = staff("view_subject", "enroll_subject")
    assert "Enrolled" in told(enrol(desk, "child-1", portraits.eileen_collins))
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_IMAGE_BYTES": 3000}
    assert "larger than the 3000 bytes" in told(enrol(desk, "child-1", portraits.eileen_collins))
    careful = staff("view_subject", "enroll_subject", enforce_csrf_checks=True)
    assert careful.post(ENROL, {"subject_id": "child-1"}).status_code == 403


def test_subjects_to_be_enrolled_again_are_filtered(
    viewer: Client, validated: EnsembleConfig, people: list[str]
) -> None:
    rollout = rollouts.open_rollout(validated)
    reference = Reference.objects.get(subject__subject_id="child-1")
    RolloutFailure.objects.create(rollout=rollout, reference=reference, code="unreadable_chip")

    def listed(query: str) -> list[str]:
        rows = viewer.get(page("subject", "changelist") + query).context["cl"].result_list
        return sorted(row.subject_id for row in rows)

    assert (listed(""), listed("?again=yes")) == (["child-1", "child-2"], ["child-1"])
    RolloutFailure.objects.update(code="inference_failed", tries=1)  # it is tried again by itself
    assert listed("?again=yes") == []


def test_the_timeline_says_who_did_what_page_by_page(
    operator: Client, staff: Callable[..., Client], draft: EnsembleConfig, people: list[str], monkeypatch: Any
) -> None:
    url = reverse("admin:ml_models_auditevent_timeline")
    viewer = staff("view_subject")
    operator.post(page("ensembleconfig", "validate", draft.pk))
    child = Subject.objects.get(subject_id="child-1")
    history = operator.get(page("subject", "history", child.pk), follow=True)
    assert [event.kind for event in history.context["cl"].result_list] == ["enroll"]
    offered = [
        page("subject", "history", child.pk) in who.get(page("subject", "change", child.pk)).content.decode()
        for who in (operator, viewer)
    ]
    assert offered == [True, False]  # a link that ends in a refusal is none
    operator.post(page("subject", "erase", child.pk))
    deeds = operator.get(url).context["deeds"]
    account: Any = operator.get(url).wsgi_request.user
    name = account.get_username()
    assert [(deed.who, deed.what) for deed in deeds[:2]] == [
        (f"{name} (panel:{account.pk})", "erase subject"),
        (name, "v3 mirrored draft → validated"),
    ]
    assert "child-1" not in operator.get(url).text
    monkeypatch.setattr("ml_models.admin.timeline._ROWS", 2)
    paged, address = [], ""
    for _ in range(len(deeds)):
        answer = operator.get(url + address)
        paged += answer.context["deeds"]
        if not (address := answer.context["older"]):
            break
    assert paged == deeds
    assert staff(*(view for view in VIEWS if view != "view_auditevent")).get(url).status_code == 403
