"""A real browser at a real server: Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ml_models import rollouts
from ml_models.models import EnsembleConfig
from tests.support.served import ensemble, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# the page looks every second; the cores may have much else to do
expect.set_options(timeout=30_000)
# nothing is asked of the network but the page
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def flags() -> list[str]:
    """What a module's browser is started with besides."""
    return []


@pytest.fixture(scope="module")
def chromium(flags: list[str]) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("No Chromium is installed: apt-get install chromium")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as driver:
        # Playwright keeps an event loop in this thread, and Django then refuses the database
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *flags])
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium: Browser, live_server: Any, settings: Any) -> Iterator[Any]:
    """A page whose console must not complain, and which must ask no stranger for anything."""
    context = chromium.new_context(base_url=live_server.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((live_server.url, "data:", "blob:"))] == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: to be looked at, never kept."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def operator(django_user_model: Any) -> str:
    django_user_model.objects.create_superuser("operator", password="a long word")
    return "operator"


@pytest.fixture
def panel(watched: Page, operator: str) -> Page:
    watched.goto("/admin/")
    watched.fill("input[name=username]", operator)
    watched.fill("input[name=password]", "a long word")
    watched.click("button[type=submit]")
    expect(watched.locator("input[name=password]")).to_have_count(0)
    return watched


@pytest.fixture
def validated(people: list[str], tmp_path: Path) -> EnsembleConfig:
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, name="mirrored", flip=True))))
    rollouts.validate(rollouts.get_config(3))
    return rollouts.get_config(3)
