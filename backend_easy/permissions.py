"""What an account may do, in one query: Django's own backend asks twice at every call of the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.db import connection

PERMISSIONS = """
SELECT kind.app_label || '.' || permission.codename
FROM auth_permission permission
JOIN django_content_type kind ON kind.id = permission.content_type_id
WHERE permission.id IN (
    SELECT permission_id FROM auth_user_user_permissions WHERE user_id = {user}
    UNION
    SELECT granted.permission_id FROM auth_group_permissions granted
    JOIN auth_user_groups joined ON joined.group_id = granted.group_id
    WHERE joined.user_id = {user}
)
"""
"""A query for the permissions of an account and its groups, where `{user}` is written as the account's id."""
_PERMISSIONS_OF_ONE = PERMISSIONS.format(user="%(user)s")


class PermissionsAtOnce(ModelBackend):
    """Django's, for its own model of users. Read once for each user object, so once for a request."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        if obj is not None or user_obj.is_superuser or not user_obj.is_active or user_obj.is_anonymous:
            return super().get_all_permissions(user_obj, obj)
        if not hasattr(user_obj, "_perm_cache"):
            with connection.cursor() as cursor:
                cursor.execute(_PERMISSIONS_OF_ONE, {"user": user_obj.pk})
                remember(user_obj, (permission for (permission,) in cursor.fetchall()))
        permissions: set[str] = user_obj._perm_cache
        return permissions


def remember(user: Any, permissions: Iterable[str]) -> None:
    """What has been read of an account's permissions, for `PermissionsAtOnce`; of no use for a superuser's."""
    user._perm_cache = set(permissions)
