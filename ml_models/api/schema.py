"""What the OpenAPI document says of a call: its name, what it takes, what it answers, every code it may refuse with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from drf_spectacular.types import DJANGO_PATH_CONVERTER_MAPPING, OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from .errors import CODES, CONTENT_TYPE
from .serializers import ProblemAnswer

# the converter of `urls`: a generated client has a type for UUIDs
DJANGO_PATH_CONVERTER_MAPPING["any_uuid"] = OpenApiTypes.UUID
F = TypeVar("F", bound=Callable[..., Any])

ALWAYS = (
    "invalid_request not_authenticated forbidden length_required image_too_large unsupported_media_type throttled "
    "internal_error not_ready overloaded"
)
"""What any call may be refused with, by the server before it or by its own checks."""
PICTURE = "undecodable_image no_face_found multiple_faces face_too_small not_upright low_quality inference_failed"
LIVE = "challenge_expired challenge_used challenge_required challenge_failed spoof_suspected not_attested not_found"
REPEATED = "idempotency_in_progress idempotency_conflict"
OPERATOR = "not_found config_changed rollout_refused inference_failed"
WAITS = ("idempotency_in_progress", "throttled", "locked_out", "not_ready", "overloaded")
"""The codes that come with `Retry-After`."""
_DEFAULT = OpenApiResponse(ProblemAnswer, description="RFC 9457 problem document with a stable `code`")


def problems(*codes: str) -> dict[tuple[str, str], OpenApiResponse]:
    """Problem documents by status, with their codes in words.

    Args:
        codes: names of `CODES`, several in a text with blanks between.
    """
    by_status: dict[str, list[str]] = {}
    for code in sorted({code for text in codes for code in text.split()}):
        by_status.setdefault(str(CODES[code]), []).append(code)
    told = {
        (status, CONTENT_TYPE): OpenApiResponse(ProblemAnswer, description=" · ".join(f"`{code}`" for code in names))
        for status, names in sorted(by_status.items())
    }
    return {**told, ("default", CONTENT_TYPE): _DEFAULT}


def operation(
    name: str | None,
    answers: Mapping[Any, Any],
    *codes: str,
    form: Any = None,
    body: Any = None,
    parameters: Sequence[OpenApiParameter] = (),
    example: Any = None,
    sent: Any = None,
) -> Callable[[F], F]:
    """Describe a view's method; its docstring's first sentence is the summary.

    Args:
        name: the operation's id, stable: generated clients name their functions by it.
        answers: serializers by status, None for no body.
        codes: what it may refuse with besides `ALWAYS`.
        form: serializer of a body with pictures.
        body: serializer of a JSON body.
        example: of the answer.
        sent: an example of the JSON body.
    """
    refusals = problems(ALWAYS, *codes)
    waiting = sorted({str(CODES[code]) for code in WAITS if code in " ".join([ALWAYS, *codes]).split()})
    wait = OpenApiParameter(
        "Retry-After", int, OpenApiParameter.HEADER, response=waiting, description="Seconds; sent with codes that wait."
    )
    first = str(next(iter(answers))[0] if isinstance(next(iter(answers)), tuple) else next(iter(answers)))
    examples = [] if example is None else [OpenApiExample("answer", example, response_only=True, status_codes=[first])]
    if sent is not None:
        examples.append(OpenApiExample("request", sent, request_only=True))
    request = {"multipart/form-data": form} if form else {"application/json": body} if body else None

    def decorate(method: F) -> F:
        text = " ".join((method.__doc__ or "").split())
        described: F = extend_schema(
            operation_id=name,
            summary=text.split(". ")[0].rstrip("."),
            description=text + _AS_JSON if form else text,
            request=request,
            parameters=[*parameters, wait],
            responses={**answers, **refusals},
            examples=examples,
        )(method)
        return described

    return decorate


_AS_JSON = " The same is taken as application/json, pictures as base64."
