"""Every error as an RFC 9457 problem document with a stable `code`."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework.response import Response

from ml_models.engine.errors import EngineError, ImageError, ImageTooLarge, LowQuality
from ml_models.exceptions import ConfigInvalid, ServiceError

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
# seconds after which a client that was told "not now" may ask again
_RETRY_AFTER_S = 5


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """A problem document: type, title, status, code, detail, and what else helps."""
    body = {
        "type": f"urn:ml-models:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
    }
    more = {key: value for key, value in more.items() if value is not None}
    return Response({**body, "detail": detail, **more}, status=status, headers=headers, content_type=CONTENT_TYPE)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn what views raise into problem documents; None lets Django report what nobody foresaw."""
    if isinstance(error, ServiceError):
        return _service_problem(error)
    if isinstance(error, ImageError):
        reasons = list(error.reasons) if isinstance(error, LowQuality) else None
        return problem(413 if isinstance(error, ImageTooLarge) else 422, error.code, str(error), reasons=reasons)
    if isinstance(error, EngineError):
        logger.error("the engine failed: %s: %s", error.code, error)
        return problem(500, "inference_failed", "The face could not be compared. The attempt counts for nothing.")
    return _framework_problem(error)


def _service_problem(error: ServiceError) -> Response:
    if error.status == 500:
        logger.error("the service failed: %s: %s", error.code, error)
        return problem(500, "inference_failed", "The face could not be compared. The attempt counts for nothing.")
    retry_after_s = getattr(error, "retry_after_s", _RETRY_AFTER_S)
    headers = {"Retry-After": str(retry_after_s)} if error.status in (429, 503) else None
    reasons = error.reasons if isinstance(error, ConfigInvalid) else None
    code = error.code if error.code in _PROMISED else "rollout_refused"
    return problem(error.status, code, str(error), headers, reasons=reasons)


# The service's codes that the interface promises; operators' calls answer with rollout_refused for the others.
_PROMISED = {
    "invalid_request",
    "not_enrolled",
    "not_found",
    "config_changed",
    "reference_mismatch",
    "locked_out",
    "rollout_refused",
    "not_ready",
    "overloaded",
}


def _framework_problem(error: Exception) -> Response | None:
    if isinstance(error, RequestDataTooBig):
        return problem(413, "image_too_large", "The request is larger than this service takes.")
    if isinstance(error, SuspiciousOperation):
        return problem(400, "invalid_request", "The request has too many parts.")
    if isinstance(error, Http404 | drf.NotFound):
        return problem(404, "not_found", "There is nothing here.")
    if isinstance(error, drf.NotAuthenticated | drf.AuthenticationFailed):
        # DRF has set 403 where no authentication class names a scheme; the code is the same
        headers = {"WWW-Authenticate": getattr(error, "auth_header", "") or "Token"}
        return problem(401, "not_authenticated", "Send a valid token: Authorization: Token …", headers)
    if isinstance(error, PermissionDenied | drf.PermissionDenied):
        return problem(403, "forbidden", "You may not do this.")
    if isinstance(error, drf.Throttled):
        wait = str(max(1, math.ceil(getattr(error, "wait", None) or _RETRY_AFTER_S)))
        return problem(429, "throttled", f"Too many requests; try again in {wait} s.", {"Retry-After": wait})
    if isinstance(error, drf.MethodNotAllowed):
        return problem(405, "method_not_allowed", str(error.detail))
    if isinstance(error, drf.ValidationError):
        return problem(400, "invalid_request", "The request is not as it should be.", errors=error.detail)
    if isinstance(error, drf.APIException) and error.status_code < 500:
        return problem(400, "invalid_request", str(error.detail))
    return None
