"""What Django's log says of a refused request: its route, never whose it was."""

from typing import Any

import pytest
from django.http import HttpResponseForbidden
from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "more", "logged"),
    [
        ("/api/v1/face/subjects/child-17", {}, "subjects/<"),
        ("/api/v1/face/subjects/child-17/", {}, "subjects/<"),
        ("/api/v1/face/subject/child-17", {}, "Not Found"),
        ("/%2Fapi/v1/face/subjects/child-17", {}, "Not Found"),
        ("/API/v1/face/subjects/child-17", {}, "Not Found"),
        ("/api/v1/face/subjects/zoë\\child-17", {}, "subjects/<"),
        ("/api/v1/face/subjects/child-17", {"HTTP_HOST": "elsewhere.example"}, "DisallowedHost"),
    ],
    ids=["not enrolled", "a slash more", "unknown", "two slashes", "in capitals", "escaped", "another host"],
)
def test_a_refused_request_is_logged_without_the_id(
    service: APIClient, caplog: Any, path: str, more: dict[str, Any], logged: str
) -> None:
    assert service.get(path, **more).status_code in (400, 404)
    assert logged in caplog.text
    assert "child-17" not in caplog.text


def refuse(get_response: Any) -> Any:
    return lambda request: HttpResponseForbidden()


def test_one_refused_in_front_of_the_views_too(service: APIClient, caplog: Any, settings: Any) -> None:
    settings.MIDDLEWARE = [f"{__name__}.refuse", *settings.MIDDLEWARE]
    assert service.get("/api/v1/face/subjects/child-17").status_code == 403
    assert "Forbidden: (an address of the API)" in caplog.text
    assert "child-17" not in caplog.text


def test_other_addresses_of_the_host_are_logged_as_ever(service: APIClient, caplog: Any) -> None:
    service.get("/buses/17")
    assert "/buses/17" in caplog.text
