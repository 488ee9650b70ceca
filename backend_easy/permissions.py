"""What an account may do, in one query: Django's own backend asks twice at every call of the API."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.db import connection

_PERMISSIONS = """
SELECT kind.app_label || '.' || permission.codename
FROM auth_permission permission
JOIN django_content_type kind ON kind.id = permission.content_type_id
WHERE permission.id IN (
    SELECT permission_id FROM auth_user_user_permissions WHERE user_id = %(user)s
    UNION
    SELECT granted.permission_id FROM auth_group_permissions granted
    JOIN auth_user_groups joined ON joined.group_id = granted.group_id
    WHERE joined.user_id = %(user)s
)
"""


class PermissionsAtOnce(ModelBackend):
    """Django's, for its own model of users. Read once for each user object, so once for a request."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        if obj is not None or user_obj.is_superuser or not user_obj.is_active or user_obj.is_anonymous:
            return super().get_all_permissions(user_obj, obj)
        if not hasattr(user_obj, "_perm_cache"):
            with connection.cursor() as cursor:
                cursor.execute(_PERMISSIONS, {"user": user_obj.pk})
                user_obj._perm_cache = {permission for (permission,) in cursor.fetchall()}
        permissions: set[str] = user_obj._perm_cache
        return permissions
