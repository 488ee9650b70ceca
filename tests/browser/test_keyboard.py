"""The panel without a mouse: every deed by Tab, Enter and Space; the focus shows, and goes to what came of a deed."""

from datetime import timedelta
from typing import Literal

import pytest
from django.db.models.functions import Now
from playwright.sync_api import Page, expect
from rest_framework.test import APIClient

from ml_models import runtime
from ml_models.models import EnsembleConfig, RolloutChunk, ServingProcess, Subject
from ml_models.rollouts import backfill
from tests.conftest import Portraits
from tests.support.panel import QUICK, serious
from tests.support.uploads import verify
from tests.support.work import work_off

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]

Role = Literal["button", "checkbox", "link", "textbox"]
MOST_STOPS = 100
# what has the focus is on the screen, and looks other than without it; the page as a whole comes after its last stop
SHOWN = """() => {
    const stop = document.activeElement, box = stop.getBoundingClientRect();
    const outlined = (style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    // the theme's search fields have theirs around them
    const frame = stop.matches("input") ? getComputedStyle(stop.parentElement) : null, style = getComputedStyle(stop);
    const ringed = outlined(style) || style.boxShadow !== "none" || (frame && outlined(frame));
    const seen = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
    return stop === document.body || (ringed && seen && box.width > 0) ? "" : stop.outerHTML.slice(0, 300);
}"""


def tab_to(page: Page, role: Role, name: str, most: int = MOST_STOPS) -> None:
    wanted = page.get_by_role(role, name=name).and_(page.locator(":focus"))
    for _ in range(most):
        page.keyboard.press("Tab")
        assert page.evaluate(SHOWN) == ""
        if wanted.count():
            return
    raise AssertionError(f"Tab does not reach the {role} {name!r} within {most} stops of {page.url}")


def go(page: Page, role: Role, name: str, most: int = MOST_STOPS) -> None:
    tab_to(page, role, name, most)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def log_in(page: Page, name: str) -> None:
    page.goto("/admin/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type("a long word")
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_a_child_is_released_found_and_a_silent_worker_is_seen(
    people: list[str], service: APIClient, portraits: Portraits, watched: Page, operator: str
) -> None:
    assert verify(service, "child-1", portraits.grace_hopper, capture_point="front door").status_code == 200
    Subject.objects.filter(subject_id="child-1").update(locked_until=Now() + timedelta(hours=1), failures=10)
    runtime.report()
    worker = ServingProcess.objects.create(host="bus", pid=7, kind="worker", heartbeat_at=Now(), started_at=Now())
    watched.add_init_script(QUICK)
    log_in(watched, operator)

    tab_to(watched, "link", "To the content", most=1)
    watched.keyboard.press("Enter")
    go(watched, "link", "child-1 is locked out until", most=5)  # what needs somebody is the first thing there
    go(watched, "link", "Release")
    asked = watched.locator(":focus")
    expect(asked).to_have_text("Release child-1")
    tab_to(watched, "button", "Release", most=1)
    with watched.expect_navigation():
        watched.keyboard.press("Space")
    expect(watched.locator(":focus")).to_have_text("Released: the subject can be verified again.")
    assert not Subject.objects.filter(locked_until__gt=Now()).exists()

    go(watched, "link", "Overview")
    for whom, answer in (("Child-1", "Nobody is enrolled as “Child-1”."), ("child-1", "")):
        tab_to(watched, "textbox", "The host's whole subject id")
        watched.keyboard.press("Control+A")
        watched.keyboard.type(whom)
        with watched.expect_navigation():
            watched.keyboard.press("Enter")
        if answer:
            expect(watched.locator(":focus")).to_contain_text(answer)
    go(watched, "link", "no match, front door")
    expect(watched.get_by_role("heading", name="no match, front door")).to_be_visible()

    go(watched, "link", "Overview")
    tab_to(watched, "link", "Live traffic by day and version")
    ServingProcess.objects.filter(pk=worker.pk).update(heartbeat_at=Now() - timedelta(seconds=31))
    expect(watched.get_by_role("link", name="The worker bus:7 has been silent")).to_be_visible()
    # the page renews itself under whoever stands on it
    expect(watched.locator(":focus")).to_have_text("Live traffic by day and version")
    tab_to(watched, "link", "To the content")  # round the page: nothing holds the focus
    go(watched, "link", "The worker bus:7 has been silent")
    expect(watched.get_by_role("link", name="bus:7")).to_be_visible()


def test_a_version_is_activated_held_and_given_the_go(validated: EnsembleConfig, watched: Page, operator: str) -> None:
    log_in(watched, operator)
    go(watched, "link", "Versions")
    go(watched, "link", "v3 mirrored")
    go(watched, "link", "Activate")
    expect(watched.locator(":focus")).to_have_text("Activate version 3 in place of version 2")
    tab_to(watched, "checkbox", "Hold for approval")
    watched.keyboard.press("Space")
    go(watched, "button", "Activate", most=1)
    expect(watched.locator(":focus")).to_contain_text("The rollout of version 3 is open.")
    runtime.refresh()
    for chunk in RolloutChunk.objects.values_list("pk", flat=True):
        backfill.embed_chunk(chunk)
    work_off()
    expect(watched.locator("#rollout h2")).to_contain_text("awaiting approval")
    go(watched, "link", "Go")
    go(watched, "button", "Go", most=1)
    expect(watched.locator(":focus")).to_have_text("The version is active.")
    assert EnsembleConfig.objects.get(state="active").version == 3

    watched.keyboard.press("Shift+Tab")  # nothing holds the focus on the way back either
    tab_to(watched, "button", "Account")
    watched.keyboard.press("Enter")
    for _ in range(MOST_STOPS):
        watched.keyboard.press("Shift+Tab")
        if watched.get_by_role("button", name="Log out").and_(watched.locator(":focus")).count():
            break
    with watched.expect_navigation():
        watched.keyboard.press("Enter")
    expect(watched.get_by_label("Username")).to_be_focused()
    assert not serious(watched)
