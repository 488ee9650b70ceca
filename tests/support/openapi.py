"""What docs/openapi.yaml promises."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"


@cache
def document() -> dict[str, Any]:
    return yaml.safe_load(DOCUMENT.read_text())


def operations() -> dict[str, dict[str, Any]]:
    """By operationId."""
    return {
        operation["operationId"]: operation
        for methods in document()["paths"].values()
        for operation in methods.values()
    }


def codes(response: dict[str, Any]) -> set[str]:
    """The codes that a response of the document is said to carry."""
    return set(re.findall(r"`(\w+)`", response["description"])) - {"code"}


def promised(answer: Any) -> set[str]:
    """The codes that the document promises for the call and status of a test client's answer."""
    path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", answer.resolver_match.route)
    method = answer.request["REQUEST_METHOD"].lower()
    response = document()["paths"][path][method]["responses"].get(str(answer.status_code))
    return codes(response) if response else set()
