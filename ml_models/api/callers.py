"""Which caller a request comes from, for the limits and the audit."""

from __future__ import annotations

from typing import Any

from django.utils.module_loading import import_string
from rest_framework.request import Request

from ml_models import conf
from ml_models.services import NOBODY, Caller
from ml_models.services.callers import of_panel


def account(request: Request) -> str:
    """For hosts whose accounts have one credential each: the account's primary key."""
    return f"account:{request.user.pk}"


def caller(request: Request, capture_point: str = "") -> Caller:
    """The caller, with the credential as `ML_MODELS["CREDENTIAL"]` names it; by the account where that names none, for
    only commands have none, and they are never suspected."""
    named = import_string(conf.get("CREDENTIAL"))(request)
    return Caller(request.user, named or account(request), capture_point)


def signed_in(request: Any) -> Caller:
    """Whoever a request of any page comes from: by its session, or as REST framework has found."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return NOBODY
    return Caller(user, account(request)) if getattr(request, "auth", None) else of_panel(user)
