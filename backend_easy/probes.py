"""Probes: an orchestrator asks a process by its address, over plain HTTP, for nothing but whether it answers."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

PATHS = ("/healthz", "/readyz")


class ProbeMiddleware:
    """Before all others. A probe's Host is the address of a pod or a container, which nobody can list in ALLOWED_HOSTS,
    and it comes without TLS: it is taken as asked for under the service's own name. Neither is in the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info in PATHS:
            # "*" is no name
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0].replace("*", "localhost")
        return self._get_response(request)
