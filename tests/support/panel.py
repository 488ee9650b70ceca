"""The panel's addresses and what a page says."""

import os
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page

WIDTHS = (1440, 390)
MIN_VALUE_PX = 80
# what a page asks for every so often, it asks for ten times as often; and it keeps what its live regions said
QUICK = """const every = window.setInterval;
window.setInterval = (callback, ms) => every(callback, ms / 10);
window.heard = [];
const hear = () => document.querySelectorAll("[role=status]").forEach((region) => window.heard.push(region.innerText));
const all = { childList: true, subtree: true };
document.addEventListener("DOMContentLoaded", () => new MutationObserver(hear).observe(document.body, all));
"""
# of the theme only what colours say depends
_GRAVE = """
async themed => {
    const only = themed ? {runOnly: ["color-contrast", "link-in-text-block"]} : {}
    const {violations} = await axe.run({resultTypes: ["violations"], ...only})
    return violations.filter(found => ["serious", "critical"].includes(found.impact))
        .flatMap(found => found.nodes.map(node => `${found.id}: ${node.html.slice(0, 120)}`))
}
"""

_CUT = """[...document.querySelectorAll("#changelist td")].filter(cell => cell.scrollWidth > cell.clientWidth + 1)
    .map(cell => cell.innerText)"""


def page(model: str, name: str, *args: Any) -> str:
    return reverse(f"admin:ml_models_{model}_{name}", args=args)


def press(client: Client, model: str, button: str, pk: Any, **ticked: str) -> Any:
    """The button's POST, its answer followed to the page it leads to."""
    return client.post(page(model, button, pk), ticked, follow=True)


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def serious(page: Page) -> list[str]:
    """What axe finds of the two gravest kinds, on a desktop and on a phone, in the light theme and in the dark one."""
    page.wait_for_load_state()
    page.evaluate(AXE_SCRIPT)
    found, before = [], page.viewport_size
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for dark in (False, True):
            _theme(page, dark)
            found += [f"{width} px, {'dark' if dark else 'light'}, {grave}" for grave in page.evaluate(_GRAVE, dark)]
    _theme(page, dark=False)
    page.set_viewport_size(before or {"width": WIDTHS[0], "height": 900})
    return found


def shoot(panel: Page, folder: Path, name: str) -> None:
    """The page as a desktop and as a phone show it: neither may scroll sideways. Pictures of both, in both themes, are
    taken where somebody wants to look at them: `SCREENSHOTS=folder make test ARGS=tests/browser`."""
    panel.wait_for_load_state()  # before its style sheets are there, every value is 0 wide
    for width in WIDTHS:
        panel.set_viewport_size({"width": width, "height": 900})
        assert panel.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
        # nor may a long name beside it leave a value room for a letter a line
        values = panel.evaluate("[...document.querySelectorAll('.fv-facts dd')].map(value => value.clientWidth)")
        assert all(value >= MIN_VALUE_PX for value in values), (name, width)
        # nor may a list cut a word that does not break
        cut = panel.evaluate(_CUT)
        assert not cut, (name, width, cut)
        for dark in (False, True) if "SCREENSHOTS" in os.environ else ():
            _theme(panel, dark)
            panel.screenshot(path=folder / f"{name}-{width}{'-dark' * dark}.png", full_page=True)
    _theme(panel, dark=False)
    panel.set_viewport_size({"width": 1280, "height": 900})


def _theme(page: Page, dark: bool) -> None:
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
