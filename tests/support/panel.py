"""The panel's addresses and what a page says."""

from pathlib import Path
from typing import Any

from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page


def page(model: str, name: str, *args: Any) -> str:
    return reverse(f"admin:ml_models_{model}_{name}", args=args)


def press(client: Client, model: str, button: str, pk: Any, **ticked: str) -> Any:
    """The button's POST, its answer followed to the page it leads to."""
    return client.post(page(model, button, pk), ticked, follow=True)


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def shoot(panel: Page, folder: Path, name: str) -> None:
    """The page as a desktop and as a phone show it; neither may scroll sideways."""
    for width in (1280, 390):
        panel.set_viewport_size({"width": width, "height": 900})
        panel.screenshot(path=folder / f"{name}-{width}.png", full_page=True)
        assert panel.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
    panel.set_viewport_size({"width": 1280, "height": 900})
