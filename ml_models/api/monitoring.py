"""`/metrics`, for a monitoring system."""

from __future__ import annotations

import hmac
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from ml_models import conf, metrics
from ml_models.rollouts import progress
from ml_models.services import monitoring

from .access import holds
from .base import FaceView
from .schema import operation

_SCRAPER = "ml_models.metrics"


class MetricsToken(BaseAuthentication):
    """`Authorization: Bearer …` with the setting `METRICS_TOKEN`; no account belongs to it. Unset, nothing fits."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        token = (conf.get("METRICS_TOKEN") or "").encode()
        scheme, _, given = get_authorization_header(request).partition(b" ")
        if token and scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token):
            return AnonymousUser(), _SCRAPER
        return None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class MetricsTokenScheme(OpenApiAuthenticationExtension):
    target_class = MetricsToken
    name = "metricsToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "The setting METRICS_TOKEN."}


_MaySeeProcesses = holds("view_servingprocess")


class MayMonitor(BasePermission):
    """The token, or an account that may see the serving processes."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.auth == _SCRAPER or _MaySeeProcesses().has_permission(request, view)


class MetricsView(FaceView):
    permission_classes = [MayMonitor]
    throttle_classes = []

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [MetricsToken(), *super().get_authenticators()]

    @operation("metrics", {(200, "text/plain"): OpenApiTypes.STR}, "not_found")
    def get(self, request: Request) -> HttpResponse:
        """Counts, durations and the processes' state in Prometheus's text format."""
        if not metrics.installed:
            raise NotFound("prometheus-client is not installed here.")
        return HttpResponse(
            metrics.exposition([*monitoring.gauges(), *progress.gauges()]), content_type=metrics.CONTENT_TYPE
        )
