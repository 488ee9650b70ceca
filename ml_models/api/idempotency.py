"""The header Idempotency-Key: a request sent again gets the answer that was lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from ml_models.engine.errors import ImageError
from ml_models.exceptions import ChallengeFailed, ReferenceMismatch, SpoofSuspected
from ml_models.services import Caller, idempotency
from ml_models.services.challenges import Answer
from ml_models.services.idempotency import Call

from .errors import AnsweredBefore, exception_handler

HEADER = "Idempotency-Key"
PARAMETER = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    description="1 to 255 visible ASCII characters, a random UUID for example: new for each attempt, the same for its "
    "repetitions, which get the answer that was lost.",
)
T = TypeVar("T")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# refusals that the pictures have earned: they would again, and are not to be counted twice
FINAL = (ImageError, ChallengeFailed, SpoofSuspected, ReferenceMismatch)


def once(
    request: Request,
    caller: Caller,
    call: Call,
    data: Mapping[str, Any],
    work: Callable[[Answer | None], T],
    answer_of: Callable[[T], dict[str, Any]],
) -> tuple[Mapping[str, Any], T | None]:
    """Do a call's work, unless its answer is kept. Ask who may before that.

    Args:
        data: all that was asked, by the serializer; `answer` is the challenge's.
        work: is given the challenge's answer.
        answer_of: what is told of the work and kept: see `idempotency.keep`. What this caller alone may see is added
            to it afterwards.

    Returns: the answer, and what the work has returned, None where it was done before.

    Raises:
        ValidationError: the key breaks the rule.
        AnsweredBefore: the same request was refused, finally.
        StillAnswering, IdempotencyConflict: see `services.idempotency`.
    """
    key = request.headers.get(HEADER)
    if key is None:
        done = work(data["answer"])
        return answer_of(done), done
    if not _KEY.fullmatch(key):
        raise ValidationError({HEADER: "Send 1 to 255 visible ASCII characters."})
    claim = idempotency.begin(caller, call, key, data["subject_id"], data, data["answer"])
    if claim.answer is not None:
        if "code" in claim.answer:
            raise AnsweredBefore(claim.answer)
        return claim.answer, None
    try:
        done = work(claim.challenge)
    except FINAL as error:
        idempotency.keep(claim, exception_handler(error, {}).data)
        raise
    except BaseException:
        idempotency.release(claim)
        raise
    answer = answer_of(done)
    idempotency.keep(claim, answer)
    return answer, done
