from __future__ import annotations

from typing import Any

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from ml_models.api.callers import account

from .models import ApiKey

KEYWORD = "Api-Key"


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key <prefix>.<secret>` → the account that the key acts for."""

    def authenticate(self, request: Request) -> tuple[Any, ApiKey] | None:
        keyword, _, text = get_authorization_header(request).decode("latin-1").partition(" ")
        if keyword.lower() != KEYWORD.lower():
            return None
        key = ApiKey.objects.find(text.strip())
        if key is None or not key.user.is_active:
            raise AuthenticationFailed
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return KEYWORD


def credential(request: Request) -> str:
    """The key that a request came with, by its public prefix; the account where it logged in otherwise."""
    return f"key:{request.auth.prefix}" if isinstance(request.auth, ApiKey) else account(request)
