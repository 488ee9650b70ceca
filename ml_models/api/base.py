"""What the calls share: their base class, how they parse, what they leave in the audit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils.cache import patch_vary_headers
from rest_framework import serializers
from rest_framework.exceptions import ParseError, PermissionDenied
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ml_models import metrics, services
from ml_models.exceptions import NotAttested
from ml_models.services import audit
from ml_models.services.liveness import Live

from . import access, request_log, texts, uploads
from .errors import exception_handler
from .multipart import MultiPartParser
from .parsers import JSONParser
from .throttles import CallerThrottle


class JSONOnly(DefaultContentNegotiation):
    """Everything is answered in JSON, problems too, whatever the client prefers."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type


class FaceView(APIView):
    """What the calls share. Set explicitly, so that a host's own defaults do not loosen or break them."""

    permission_classes = [access.Nobody]
    throttle_classes = [CallerThrottle]
    renderer_classes = [JSONRenderer]
    parser_classes = [MultiPartParser, JSONParser]
    content_negotiation_class = JSONOnly
    versioning_class = None

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Outside the transaction that a host's ATOMIC_REQUESTS would lay around it: what is counted before an answer
        must stand whatever follows, and no lock may be held while a picture is read."""
        return transaction.non_atomic_requests(super().as_view(**initkwargs))

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        match = request.resolver_match
        name = (match.url_name if match else None) or ""
        with request_log.numbered(request.headers.get(request_log.HEADER)) as request_id, texts.spoken(request):
            response: Any = super().dispatch(request, *args, **kwargs)
            response[request_log.HEADER] = request_id
            code, seconds = response.data["code"] if response.status_code >= 400 else "ok", time.perf_counter() - began
            request_log.answered(self.request, response, name, code, seconds)
        metrics.answered(name, code, seconds)
        return response

    def get_exception_handler(self) -> Callable[..., Any]:
        return exception_handler

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        uploads.use_memory(request)
        uploads.take_chunked(request)
        return super().initialize_request(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        uploads.require_readable(request._request)
        # DELETE of the id “Who?” would erase “Who”
        if kwargs and request.META.get("QUERY_STRING") and request.method not in SAFE_METHODS:
            raise ParseError("The address has a query, and this call takes none. Escape an id's question mark: %3F.")

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        if isinstance(response, Response):
            language = texts.language(request._request)
            response.data = texts.translated(response.data, language)
            response["Content-Language"] = language
            patch_vary_headers(response, ["Accept-Language"])
        uploads.drain(request._request)
        return response


class Afterwards(Response):
    """An answer with something to do once it has been sent: the server closes it then."""

    def __init__(self, data: Any, then: Callable[[], None]) -> None:
        super().__init__(data)
        self._then = then

    def close(self) -> None:
        super().close()
        self._then()


def parse(serializer: type[Any], request: Request) -> dict[str, Any]:
    """What was asked.

    Raises:
        ValidationError
    """
    parsed = serializer(data=request.data)
    require_each_once(parsed.fields, request.data)
    parsed.is_valid(raise_exception=True)
    return dict(parsed.validated_data)


def written(serializer: type[serializers.Serializer[Any]], values: Any) -> dict[str, Any]:
    """What is answered, in the form that the OpenAPI document has of it."""
    return dict(_writer(serializer).to_representation(values))


@cache
def _writer(serializer: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    """It keeps nothing of what it writes, and a new one copies each of its fields, which takes twenty times as long."""
    return serializer()


def require_each_once(fields: Mapping[str, Any], data: Any) -> None:
    """Refuse a form that has two values where one belongs: somebody before us may have looked at the other one.

    Raises:
        ValidationError
    """
    values = getattr(data, "getlist", lambda name: ())  # JSON has each once, by its parser
    single = [name for name, field in fields.items() if not isinstance(field, serializers.ListField)]
    if twice := [name for name in single if len(values(name)) > 1]:
        raise serializers.ValidationError({name: ["Send one value; the form has several."] for name in twice})


@contextmanager
def audited(kind: audit.Kind, caller: services.Caller, subject_id: str = "") -> Iterator[None]:
    """Around the question who may: a caller without the right, or the phone's attestation, leaves an event. The subject
    is not looked up for it, or the time that takes would tell whether it exists."""
    try:
        yield
    except PermissionDenied:
        audit.record(kind, caller, audit.Named(subject_id), "forbidden")
        raise
    except NotAttested as error:
        audit.record(kind, caller, audit.Named(subject_id), error.code)
        raise


def told(live: Live) -> dict[str, Any]:
    """What an answer says of whether somebody was there; nothing where nobody looked."""
    if live.verdict is None:
        return {}
    return {"live": live.verdict, "live_reasons": [reason.to_json() for reason in live.reasons]}
