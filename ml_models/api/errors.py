"""Every error as an RFC 9457 problem document with a stable `code`."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from types import UnionType
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions as drf
from rest_framework.response import Response

from ml_models.engine.errors import EngineError, ImageError, LowQuality
from ml_models.exceptions import ConfigInvalid, DuplicateReference, NotLive, ServiceError

from .uploads import LengthRequired

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
# seconds after which a client that was told "not now" may ask again
_RETRY_AFTER_S = 5

CODES: dict[str, int] = {
    "invalid_request": 400,
    "not_authenticated": 401,
    "forbidden": 403,
    "not_attested": 403,
    "not_enrolled": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "config_changed": 409,
    "reference_mismatch": 409,
    "duplicate_reference": 409,
    "duplicate_face": 409,
    "reference_limit": 409,
    "idempotency_in_progress": 409,
    "rollout_refused": 409,
    "challenge_expired": 409,
    "challenge_used": 409,
    "length_required": 411,
    "image_too_large": 413,
    "unsupported_media_type": 415,
    "undecodable_image": 422,
    "no_face_found": 422,
    "multiple_faces": 422,
    "face_too_small": 422,
    "not_upright": 422,
    "low_quality": 422,
    "spoof_suspected": 422,
    "challenge_required": 422,
    "challenge_failed": 422,
    "idempotency_conflict": 422,
    "throttled": 429,
    "locked_out": 429,
    "inference_failed": 500,
    "internal_error": 500,
    "not_ready": 503,
    "overloaded": 503,
}
"""Every code the interface may answer with, and its status. A code is a promise to clients: none is ever renamed."""


def document(code: str, detail: str, **more: Any) -> dict[str, Any]:
    """A problem document's members: type, title, status, code, detail, and what else helps."""
    status = CODES[code]
    body = {"type": f"urn:ml-models:{code}", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    return {**body, "detail": detail, **{key: value for key, value in more.items() if value is not None}}


def problem(code: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """A view's answer with a problem document."""
    body = document(code, detail, **more)
    return Response(body, status=CODES[code], headers=headers, content_type=CONTENT_TYPE)


class AnsweredBefore(Exception):
    """The same request was refused before, by this document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        super().__init__(document["code"])


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Turn what views raise into problem documents."""
    if isinstance(error, AnsweredBefore):
        return Response(error.document, status=error.document["status"], content_type=CONTENT_TYPE)
    if isinstance(error, ServiceError):
        return _service_problem(error)
    if isinstance(error, ImageError):
        if isinstance(error, LowQuality):
            details = [reason.to_json() for reason in error.details]
            return problem(error.code, str(error), reasons=list(error.reasons), details=details)
        return problem(error.code, str(error))
    if isinstance(error, EngineError):
        logger.error("the engine failed: %s: %s", error.code, error)
        return problem("inference_failed", _NOT_COMPARED)
    if isinstance(error, DATABASE_GONE):
        logger.error("the database does not answer: %s", type(error).__name__)
        return problem("not_ready", SENTENCES["not_ready"], retry_after())
    return _framework_problem(error) or _unforeseen(error, context)


DATABASE_GONE = (OperationalError, InterfaceError)
_NOT_COMPARED = "The face could not be compared. The attempt counts for nothing."


def retry_after(seconds: float = _RETRY_AFTER_S) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def _service_problem(error: ServiceError) -> Response:
    if error.status == 500:
        logger.error("the service failed: %s: %s", error.code, error)
        return problem("inference_failed", _NOT_COMPARED)
    if isinstance(error, NotLive):
        details = [reason.to_json() for reason in error.details]
        return problem(error.code, str(error), reasons=list(error.reasons), details=details)
    waits = error.status in (429, 503)
    wait_s = getattr(error, "retry_after_s", _RETRY_AFTER_S if waits else None)
    headers = None if wait_s is None else retry_after(wait_s)
    reasons = error.reasons if isinstance(error, ConfigInvalid) else None
    reference_id = str(error.reference_id) if isinstance(error, DuplicateReference) else None
    # what only an operator's call can run into has sentences instead of a code
    code = error.code if error.code in CODES else "not_ready" if waits else "rollout_refused"
    return problem(code, str(error), headers, reasons=reasons, reference_id=reference_id)


def _unforeseen(error: Exception, context: dict[str, Any]) -> Response:
    """What nobody foresaw. Its message may repeat input, so the log gets its type and where it was raised; what the
    host has listening for such errors hears of it as from any view."""
    places = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s in %s:\n%s", type(error).__name__, type(context.get("view")).__name__, places)
    got_request_exception.send(sender=None, request=context.get("request"))
    return problem("internal_error", SENTENCES["internal_error"])


# what needs no more than a sentence, whoever notices it: DRF, Django, or the fallback
SENTENCES = {
    "forbidden": "You may not do this.",
    "image_too_large": "The request is larger than this service takes. Make the pictures smaller.",
    "internal_error": "Something went wrong in the service. Try again; if it happens again, tell whoever runs it.",
    "method_not_allowed": "This address does not take this method. See the header Allow.",
    "not_found": "There is nothing here.",
    "not_ready": "The database does not answer. Try again in a moment.",
}
# what Django and DRF raise that needs no more than a sentence
_FRAMEWORK: tuple[tuple[type[Exception] | UnionType, str, str], ...] = (
    (RequestDataTooBig, "image_too_large", SENTENCES["image_too_large"]),
    (SuspiciousOperation, "invalid_request", "The request is not one that this service takes."),
    (UnreadablePostError, "invalid_request", "The body did not arrive whole. Send it again."),
    (Http404 | drf.NotFound, "not_found", SENTENCES["not_found"]),
    (PermissionDenied | drf.PermissionDenied, "forbidden", SENTENCES["forbidden"]),
    (drf.MethodNotAllowed, "method_not_allowed", SENTENCES["method_not_allowed"]),
    (
        drf.UnsupportedMediaType,
        "unsupported_media_type",
        "Send multipart/form-data or application/json, named in the Content-Type header and not compressed.",
    ),
)


def _framework_problem(error: Exception) -> Response | None:
    if right := getattr(error, "right", None):  # of `access.Forbidden`
        return problem("forbidden", f"You may not do this: it takes the right {right}.", right=right)
    for kind, code, detail in _FRAMEWORK:
        if isinstance(error, kind):
            return problem(code, detail)
    if isinstance(error, drf.NotAuthenticated | drf.AuthenticationFailed):
        # DRF has set 403 where no authentication class names a scheme; the code is the same
        challenge = getattr(error, "auth_header", "") or "Token"
        sentence = f"Send valid credentials: Authorization: {challenge.split()[0]} …"
        return problem("not_authenticated", sentence, {"WWW-Authenticate": challenge})
    if isinstance(error, drf.Throttled):
        headers = retry_after(getattr(error, "wait", None) or _RETRY_AFTER_S)
        return problem("throttled", f"Too many requests; try again in {headers['Retry-After']} s.", headers)
    if isinstance(error, drf.ValidationError):
        return problem("invalid_request", "The request is not as it should be.", errors=error.detail)
    if isinstance(error, drf.APIException) and error.status_code < 500:
        return problem("length_required" if isinstance(error, LengthRequired) else "invalid_request", str(error.detail))
    return None
