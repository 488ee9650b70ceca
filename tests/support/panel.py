"""The panel's addresses and what a page says."""

from typing import Any

from django.test import Client
from django.urls import reverse


def page(model: str, name: str, *args: Any) -> str:
    return reverse(f"admin:ml_models_{model}_{name}", args=args)


def press(client: Client, model: str, button: str, pk: Any, **ticked: str) -> Any:
    """The button's POST, its answer followed to the page it leads to."""
    return client.post(page(model, button, pk), ticked, follow=True)


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])
