"""Which caller a request comes from, for the limits and the audit."""

from __future__ import annotations

from django.utils.module_loading import import_string
from rest_framework.request import Request

from ml_models import conf
from ml_models.services import Caller


def account(request: Request) -> str:
    """For hosts whose accounts have one credential each: the account's primary key."""
    return f"account:{request.user.pk}"


def caller(request: Request, capture_point: str = "") -> Caller:
    """The caller, with the credential as `ML_MODELS["CREDENTIAL"]` names it."""
    return Caller(request.user, import_string(conf.get("CREDENTIAL"))(request), capture_point)
