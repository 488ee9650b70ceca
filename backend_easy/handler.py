"""Django's WSGI handler, for requests whose headers Django itself would stumble over before any view sees them."""

from __future__ import annotations

from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters


class Request(WSGIRequest):
    """Its text is UTF-8, whatever charset a client names, a codec of Python's that reads no text perhaps. A type of
    content that cannot be read is none: the views refuse the body."""

    def _set_content_type_params(self, meta: Any) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:  # a parameter in an encoding that there is none
            meta["CONTENT_TYPE"] = self.content_type = ""
            self.content_params = {}


def application() -> WSGIHandler:
    """Set Django up, and make its handler."""
    handler = get_wsgi_application()
    handler.request_class = Request
    return handler
