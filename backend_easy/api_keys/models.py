from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, models, transaction
from django.db.models.functions import Now
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from backend_easy.permissions import PERMISSIONS, remember
from ml_models.services import NOBODY, Caller, audit

_PREFIX_CHARACTERS = 10
# a key ends by itself after so many, unless somebody wants it otherwise
DAYS = 365


def _digest(secret: str) -> str:
    # the secret is 256 random bits: nothing to guess, so nothing that a slow hash would slow down
    return hashlib.sha256(secret.encode()).hexdigest()


@cache
def _query() -> str:
    """By hand: every call asks it, and the ORM takes longer to write it than PostgreSQL to answer."""
    columns = [f"key.{name}" for name in _names(ApiKey)] + [f"account.{name}" for name in _names(get_user_model())]
    return f"""
SELECT {", ".join(columns)}, ARRAY({PERMISSIONS.format(user="account.id")})
FROM api_keys_apikey key
JOIN auth_user account ON account.id = key.user_id
WHERE key.prefix = %s AND key.revoked_at IS NULL AND (key.expires_at IS NULL OR key.expires_at > statement_timestamp())
"""  # noqa: S608 - of names that stand in the models


@cache
def _names(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


class ApiKeyManager(models.Manager["ApiKey"]):
    @transaction.atomic
    def issue(self, user: Any, name: str, by: Caller = NOBODY, **more: Any) -> tuple[ApiKey, str]:
        """Make a key that acts for `user`. Returns the row and the key itself, which is stored nowhere."""
        prefix, secret = secrets.token_hex(_PREFIX_CHARACTERS // 2), secrets.token_urlsafe(32)
        key = self.create(user=user, name=name, prefix=prefix, digest=_digest(secret), **more)
        key.record(audit.Kind.MAKE_KEY, by)
        return key, f"{prefix}.{secret}"

    def find(self, text: str) -> ApiKey | None:
        """The usable key that this text is, with its user and their permissions; None for anything else. One query."""
        prefix, _, secret = text.partition(".")
        if len(prefix) != _PREFIX_CHARACTERS or not prefix.isalnum():
            return None
        with connection.cursor() as cursor:
            cursor.execute(_query(), [prefix])
            row = cursor.fetchone()
        if row is None:
            return None
        (*values, permissions), of_key = row, _names(ApiKey)
        key = ApiKey.from_db(connection.alias, of_key, values[: len(of_key)])
        if not hmac.compare_digest(key.digest, _digest(secret)):
            return None
        key.user = get_user_model().from_db(connection.alias, _names(get_user_model()), values[len(of_key) :])
        if not key.user.is_superuser:  # who has all
            remember(key.user, permissions)
        return key

    @transaction.atomic
    def revoke(self, prefix: str, by: Caller = NOBODY) -> bool:
        """End a key at once. False when there is none, or it was revoked before."""
        if not self.filter(prefix=prefix, revoked_at__isnull=True).update(revoked_at=Now()):
            return False
        self.get(prefix=prefix).record(audit.Kind.REVOKE_KEY, by)
        return True


class ApiKey(models.Model):
    """A key of a kiosk. Its permissions are its user's; only a digest of it is kept."""

    name = models.CharField(max_length=100, help_text="Where it is used: “front door”.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="api_keys",
        help_text="The account it acts for; its permissions are the key's.",
    )
    prefix = models.CharField(max_length=_PREFIX_CHARACTERS, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyManager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def record(self, kind: str, by: Caller) -> None:
        audit.record(kind, by, key=self.prefix, account=str(self.user_id))


@receiver(pre_delete, sender=ApiKey)
def _record_deletion(instance: ApiKey, origin: Any = None, **more: Any) -> None:
    # in the deletion's transaction, also where the key goes with its account
    instance.record(audit.Kind.DELETE_KEY, getattr(origin, "deleted_by", NOBODY))
