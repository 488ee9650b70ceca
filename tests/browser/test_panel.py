"""An operator activates a version, watches the bar move, and rolls back, in a browser."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db.models.functions import Now
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from rest_framework.test import APIClient

from backend_easy.api_keys.models import ApiKey
from ml_models import rollouts, runtime
from ml_models.models import (
    CredentialCount,
    EnsembleConfig,
    EvaluationReport,
    Group,
    Reference,
    Rollout,
    RolloutChunk,
    RolloutFailure,
    ServingProcess,
    StudyJob,
    Subject,
    Verification,
)
from ml_models.rollouts import backfill
from ml_models.services import NOBODY, groups
from ml_models.versions import files
from tests.admin.test_hidden_fields import PANELS
from tests.conftest import Portraits
from tests.support.panel import page as address
from tests.support.panel import serious, shoot
from tests.support.studies import two_people
from tests.support.uploads import enroll, verify
from tests.support.work import work_off

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]


@pytest.fixture
def crowd(people: list[str], service: APIClient, portraits: Portraits) -> None:
    """One reference more than the first chunk holds."""
    for number in range(7):
        assert enroll(service, f"child-{3 + number}", portraits.eileen_collins).status_code == 201


def percent(panel: Page) -> int:
    return int(panel.locator("progress").evaluate("bar => bar.value"))


def chunks() -> Any:
    return RolloutChunk.objects.order_by("pk").values_list("pk", flat=True)


def test_activate_watch_the_bar_move_and_roll_back(
    panel: Page, validated: EnsembleConfig, crowd: None, pictures: Path
) -> None:
    panel.goto(address("ensembleconfig", "changelist"))
    shoot(panel, pictures, "versions")
    panel.click("text=v3 mirrored")
    shoot(panel, pictures, "version")
    panel.click("a.fv-button:has-text('Activate')")
    expect(panel.locator(".fv-facts")).to_contain_text("27")
    shoot(panel, pictures, "activate")
    assert not serious(panel)
    panel.click("button:has-text('Activate')")

    expect(panel.locator("[data-word=percent]")).to_have_text("0 %")
    runtime.refresh()
    backfill.embed_chunk(chunks()[0])
    expect(panel.locator("[data-word=percent]")).not_to_have_text("0 %")  # nobody has reloaded
    halfway = percent(panel)
    assert 0 < halfway < 100
    shoot(panel, pictures, "rollout")

    for chunk in list(chunks()):
        backfill.embed_chunk(chunk)
    expect(panel.locator("[data-word=percent]")).to_have_text("100 %")
    work_off()
    expect(panel.locator("#rollout h2")).to_contain_text("complete")
    shoot(panel, pictures, "complete")
    assert EnsembleConfig.objects.get(state="active").version == 3

    panel.click("#rollout h2 a")
    panel.click("a.fv-button:has-text('Roll back')")
    shoot(panel, pictures, "rollback")
    assert not serious(panel)
    panel.click("button:has-text('Roll back')")
    expect(panel.locator("body")).to_contain_text("Version 2 is active again")
    assert EnsembleConfig.objects.get(state="active").version == 2


def test_pause_resume_and_abort_with_failures_on_the_page(
    panel: Page, validated: EnsembleConfig, pictures: Path, django_user_model: Any
) -> None:
    rollout = rollouts.open_rollout(validated)
    panel.goto(address("rollout", "change", rollout.pk))
    for button, state in (("Pause", "paused"), ("Resume", "embedding")):
        panel.click(f"a.fv-button:has-text('{button}')")
        panel.click(f"button:has-text('{button}')")
        expect(panel.locator("#rollout h2")).to_contain_text(state)
    RolloutFailure.objects.create(rollout=rollout, reference=Reference.objects.all()[0], code="unreadable_chip")
    failure = panel.locator("[data-list=failures] a")
    expect(failure).to_have_text("unreadable chip: 1")
    shoot(panel, pictures, "failures")
    assert not serious(panel)

    # an operator elsewhere: this page notices by itself
    rollouts.abort(rollouts.get_rollout(rollout.pk))
    expect(panel.locator("#rollout h2")).to_contain_text("aborted")
    expect(panel.locator("a.fv-button")).to_have_count(0)
    panel.click("[data-list=failures] a")
    expect(panel.locator("#changelist")).to_contain_text("unreadable chip")
    shoot(panel, pictures, "to-enrol-again")


def test_a_held_rollout_shows_its_shadow_and_goes_live_on_go(
    panel: Page,
    validated: EnsembleConfig,
    pictures: Path,
    service: APIClient,
    portraits: Portraits,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "SHADOW_SHARE": 1.0}
    rollout = rollouts.open_rollout(validated, hold_for_approval=True)
    runtime.refresh()
    work_off()
    panel.goto(address("rollout", "change", rollout.pk))
    expect(panel.locator("#rollout h2")).to_contain_text("awaiting approval")
    verify(service, "child-1", portraits.eileen_collins)
    verify(service, "child-1", portraits.grace_hopper)
    summary = panel.locator("[data-list=shadow]")
    expect(summary).to_contain_text(
        "2 live verifies scored, 100.0 % decided alike", timeout=15_000
    )  # nobody has reloaded
    shoot(panel, pictures, "shadow")
    panel.click("a.fv-button:has-text('Go')")
    expect(panel.locator(".fv-facts")).to_contain_text("2 live verifies scored")
    shoot(panel, pictures, "go")
    panel.click(".fv-card button")
    expect(panel.locator("#rollout h2")).to_contain_text("complete")
    assert EnsembleConfig.objects.get(state="active").version == 3


def test_without_scripts_a_reload_shows_how_far_it_is(
    panel: Page, validated: EnsembleConfig, chromium: Any, live_server: Any
) -> None:
    rollout = rollouts.open_rollout(validated)
    plain = chromium.new_context(
        base_url=live_server.url, java_script_enabled=False, storage_state=panel.context.storage_state()
    )
    try:
        page = plain.new_page()
        page.goto(address("rollout", "change", rollout.pk))
        assert page.locator("[data-word=percent]").text_content() == "0 %"
        runtime.refresh()
        work_off()
        page.reload()
        assert page.locator("[data-word=percent]").text_content() == "100 %"
    finally:
        plain.close()
    rollout.refresh_from_db()
    assert rollout.state == "complete"


def test_what_was_measured_is_read_from_the_version_on(
    panel: Page, served: EnsembleConfig, portraits: Portraits, pictures: Path, tmp_path: Path
) -> None:
    call_command("evaluate", *two_people(tmp_path, portraits), "--stress", "sunglasses", "--about", "Two astronauts")
    panel.goto(address("ensembleconfig", "change", served.pk))
    panel.get_by_role("link", name="Evaluation report", exact=True).click()
    expect(panel.get_by_role("heading", level=1)).to_contain_text("measured")
    expect(panel.locator("main")).to_contain_text("Two astronauts")
    expect(panel.get_by_role("img", name="DET")).to_be_visible()
    shoot(panel, pictures, "report")
    panel.goto("about:blank")  # the page itself lets no script run, nor that of axe
    panel.set_content(EvaluationReport.objects.get().html)
    assert not serious(panel)


def test_what_asks_answers_or_refuses_has_no_grave_fault(
    panel: Page, validated: EnsembleConfig, service: APIClient, chromium: Browser, live_server: Any
) -> None:
    assert service.delete("/api/v1/face/subjects/child-2").status_code == 200
    child = Subject.objects.get()
    Subject.objects.update(locked_until=Now() + timedelta(hours=1))
    CredentialCount.objects.create(credential="key:1", failures=30, slowed_until=Now() + timedelta(hours=1))
    panel.add_init_script("window.setInterval = () => 0")  # a page that renews itself stands still while axe looks
    job = StudyJob.objects.create(config=validated, kind="evaluate", state="running", progress="embedding 30 %")
    grave: list[str] = []
    for where in (
        address("subject", "release", child.pk),
        address("subject", "erase", child.pk),
        address("subject", "cannot_turn", child.pk),
        address("reference", "erase", Reference.objects.get().pk),
        address("credentialcount", "release", "key:1"),
        address("ensembleconfig", "discard", validated.pk),
        address("ensembleconfig", "load"),
        address("studyjob", "change", job.pk),
        address("subject", "find"),
    ):
        panel.goto(where)
        grave += [f"{where} {what}" for what in serious(panel)]
    panel.get_by_label("The host's whole subject id").fill("child-2")
    panel.get_by_role("button", name="Find").click()
    expect(panel.locator(":focus")).to_contain_text("Somebody with this id was erased")
    grave += serious(panel)

    # a browser tells on its console of each answer that is a refusal
    elsewhere = chromium.new_context(base_url=live_server.url, storage_state=panel.context.storage_state())
    page = elsewhere.new_page()
    get_user_model().objects.filter(username="operator").update(is_superuser=False)
    page.goto(address("subject", "changelist"))
    expect(page.locator(":focus")).to_contain_text("It takes the right “Can view subject”")
    grave += serious(page)
    page.goto("/admin/nowhere/")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    grave += serious(page)  # and of all the others, which have its template
    elsewhere.close()
    assert not grave, "\n".join(grave)


LISTS: list[tuple[str, Callable[[], Any]]] = [
    ("artifact", lambda: EnsembleConfig.objects.all()[0].detector_id),
    ("subject", lambda: Reference.objects.all()[0].subject_id),
    ("reference", lambda: Reference.objects.all()[0].pk),
    ("verification", lambda: Verification.objects.all()[0].pk),
    ("servingprocess", lambda: ServingProcess.objects.all()[0].pk),
]


def test_every_page_fits_a_desktop_and_a_phone(
    panel: Page, people: list[str], pictures: Path, service: APIClient, portraits: Portraits
) -> None:
    verify(service, "child-1", portraits.eileen_collins)
    ServingProcess.objects.create(host="web-1", pid=7, heartbeat_at=Now(), started_at=Now(), problems={"a": "b"})
    shoot(panel, pictures, "index")
    for model, pk in LISTS:
        panel.goto(address(model, "change", pk()))
        shoot(panel, pictures, model)
    panel.goto(address("verification", "traffic"))
    expect(panel.locator("svg.fv-chart")).to_have_count(2)
    shoot(panel, pictures, "traffic")
    active = EnsembleConfig.objects.get()
    clone = files.clone(active)
    groups.put(NOBODY, "bus/7", [*people, "child-9"])
    CredentialCount.objects.update_or_create(credential="key:1", defaults={"failures": 3, "slowed_until": Now()})
    key, _ = ApiKey.objects.issue(get_user_model().objects.get(username="kiosk"), "front door")
    grave: list[str] = []
    for where in (
        reverse("admin:ml_models_overview"),
        address("subject", "change", Reference.objects.all()[0].subject_id),
        address("subject", "enrol"),
        address("subject", "find"),
        address("verification", "changelist"),
        address("verification", "traffic"),
        address("auditevent", "changelist"),
        address("erasure", "changelist"),
        address("auditevent", "timeline"),
        address("ensembleconfig", "change", active.pk),
        address("ensembleconfig", "tune", clone.pk),
        address("ensembleconfig", "study", active.pk),
        address("ensembleconfig", "validate", clone.pk),
        address("group", "changelist"),
        address("group", "change", Group.objects.get().pk),
        address("credentialcount", "changelist"),
        address("credentialcount", "change", "key:1"),
        address("verification", "change", Verification.objects.all()[0].pk),
        address("rollout", "change", Rollout.objects.get().pk),
        reverse("admin:api_keys_apikey_changelist"),
        reverse("admin:api_keys_apikey_add"),
        reverse("admin:api_keys_apikey_change", args=[key.pk]),
    ):
        panel.goto(where)
        grave += [f"{where} {what}" for what in serious(panel)]
    assert not grave, "\n".join(grave)
    for name in (str(shown._meta.model_name) for shown, _ in PANELS):
        panel.goto(address(name, "changelist"))
        shoot(panel, pictures, f"{name}-list")
