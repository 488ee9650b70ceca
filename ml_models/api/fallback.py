"""What is no view's to answer: addresses that none has, and what goes wrong in front of the views."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import Resolver404, resolve, reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from ml_models.services import rights

from . import texts, uploads
from .callers import signed_in
from .errors import CODES, CONTENT_TYPE, DATABASE_GONE, SENTENCES, document, retry_after

logger = logging.getLogger(__name__)

# what says how long and how coded the content is that a problem takes the place of
_OF_CONTENT = ("Content-Length", "Content-Encoding", "ETag", "Last-Modified")
# by the status that Django has answered with
_PROBLEMS = {
    400: ("invalid_request", "The request is not one that this service takes. Is the host name one of its own?"),
    **{CODES[code]: (code, sentence) for code, sentence in SENTENCES.items()},
}


@transaction.non_atomic_requests
@csrf_exempt
def fallback(request: HttpRequest, **_: Any) -> HttpResponseBase:
    """The view of the address without its last slash, or a problem. A redirect there would lose the body of a POST."""
    with suppress(Resolver404):
        match = resolve(request.path_info.removesuffix("/"))
        if match.func is not fallback:
            request.resolver_match = match
            return match.func(request, *match.args, **match.kwargs)
    uploads.take_chunked(request)
    uploads.drain(request)
    return _as_problem(request, HttpResponse(status=404))


def _as_problem(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    with texts.spoken(request) as language:
        body = texts.translated(document(*_PROBLEMS[response.status_code]), language)
    response.content = json.dumps(body).encode()
    for header in _OF_CONTENT:
        del response[header]
    response["Content-Type"], response["Cache-Control"] = CONTENT_TYPE, "no-store"
    response["Content-Language"] = language
    patch_vary_headers(response, ["Accept-Language"])
    return response


class ProblemMiddleware:
    """For the first place in a host's MIDDLEWARE: what goes wrong around the views of the API (a host name that is not
    served, an address beside the API, an error in a middleware) is a problem document, too, and a body that nobody has
    read leaves the connection whole, whatever the address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with rights.changed_by(partial(signed_in, request)):
            response = self._get_response(request)
        uploads.take_chunked(request)
        uploads.drain(request)
        is_problem = response.headers.get("Content-Type") == CONTENT_TYPE
        if response.status_code not in _PROBLEMS or is_problem or not isinstance(response, HttpResponse):
            return response
        return _as_problem(request, response) if is_ours(request.path) else response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A page of the host, the admin's too, says that the database is gone instead of breaking."""
        if not isinstance(error, DATABASE_GONE):
            return None
        logger.error("the database does not answer: %s", type(error).__name__)
        return HttpResponse(
            SENTENCES["not_ready"], status=CODES["not_ready"], headers=retry_after(), content_type="text/plain"
        )


def is_ours(path: str) -> bool:
    """Whether a path lies among the addresses of this app, an unknown one included."""
    root = reverse("ml_models:healthz").removesuffix("healthz").lower()
    # as it is meant: a client whose base address ends with a slash writes two
    asked = f"/{path.strip('/')}/".lower()
    return asked.startswith(tuple(f"{root}{name}/" for name in ("api", "healthz", "readyz", "metrics")))
