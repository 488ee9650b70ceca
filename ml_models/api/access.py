"""Who may do what to which subject."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils.module_loading import import_string
from rest_framework.exceptions import PermissionDenied, Throttled
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from ml_models import conf
from ml_models.services import limits


class Forbidden(PermissionDenied):
    """The caller may not do this. `right`: the permission that it takes; None where a policy of the host's
    refused, which alone knows what it takes."""

    def __init__(self, right: str | None) -> None:
        super().__init__()
        self.right = right


ACTIONS = ("enroll", "verify", "identify", "read", "erase", "release")
GROUP_ACTIONS = ("read", "write", "erase", "identify", "enroll")


def default_policy(user: Any, action: str, subject_id: str) -> bool:
    """By permission only.

    Args:
        user: an authenticated user.
        action: one of `ACTIONS`; the permission is `ml_models.<action>_subject`.
        subject_id: the host's id.
    """
    return bool(user.has_perm(f"ml_models.{action}_subject"))


def self_service(user: Any, action: str, subject_id: str) -> bool:
    """People may verify and read the subject whose id is their own primary key; the rest is by permission.

    Only for hosts whose subjects are their accounts: elsewhere account 17 would own child 17. Nobody enrolls or erases
    themselves by it, for who may do both decides whose face it is.
    """
    own = action in ("verify", "read") and subject_id == str(user.pk)
    return own or default_policy(user, action, subject_id)


def default_group_policy(user: Any, action: str, group_id: str) -> bool:
    """By permission only. Who may write any group may put anybody on it: give that to the host's own service.

    Args:
        user: an authenticated user.
        action: one of `GROUP_ACTIONS`; the permission is `ml_models.<action>_group`.
        group_id: the host's id.
    """
    return bool(user.has_perm(f"ml_models.{action}_group"))


def require_group(user: Any, action: str, group_id: str) -> None:
    """Ask the host's policy for groups, before anything is read.

    Raises: Forbidden
    """
    policy = import_string(conf.get("GROUP_POLICY"))
    if not _lets_in(policy, user, action, group_id):
        raise _refusal(policy, f"{action}_group")


def require(user: Any, action: str, subject_id: str) -> None:
    """Ask the host's policy, before anything is read, so that the refusal is the same whether the subject exists.

    Raises:
        Forbidden
        Throttled: this subject was asked for too often, by whomever.
    """
    policy = _subject_policy()
    if not _lets_in(policy, user, action, subject_id):
        raise _refusal(policy, f"{action}_subject")
    if wait_s := limits.spend("subject", subject_id):
        raise Throttled(wait_s)


def require_each(user: Any, action: str, subject_ids: Iterable[str]) -> None:
    """As `require` for many subjects: one refusal is one for all. No subject's limit is spent; what searches among many
    has a limit of its own.

    Raises:
        Forbidden
    """
    policy = _subject_policy()
    if not all(_lets_in(policy, user, action, subject_id) for subject_id in subject_ids):
        raise _refusal(policy, f"{action}_subject")


def sees_candidate(user: Any, subject_id: str) -> bool:
    """Whether a caller who asked about somebody else may be told of this subject: holds `view_candidates`, and may read
    the subject by the host's policy."""
    return bool(user.has_perm("ml_models.view_candidates") and _lets_in(_subject_policy(), user, "read", subject_id))


def _subject_policy() -> Any:
    return import_string(conf.get("SUBJECT_POLICY"))


def _lets_in(policy: Any, user: Any, action: str, host_id: str) -> bool:
    """Only True lets in: what a policy answers that was declared async, or forgot to compare, is true as well."""
    return policy(user, action, host_id) is True


def _refusal(policy: Any, permission: str) -> Forbidden:
    by_permission = policy in (default_policy, self_service, default_group_policy)
    return Forbidden(f"ml_models.{permission}" if by_permission else None)


def require_permission(user: Any, permission: str) -> None:
    """Raises: Forbidden unless the user holds `ml_models.<permission>`."""
    if not user.has_perm(f"ml_models.{permission}"):
        raise Forbidden(f"ml_models.{permission}")


class Nobody(BasePermission):
    """What a view allows that declares nothing: no call at all."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return False


def holds(permission: str) -> type[BasePermission]:
    """A permission class for callers who hold `ml_models.<permission>`: `permission_classes = [holds("…")]`."""

    class Holds(BasePermission):
        def has_permission(self, request: Request, view: Any) -> bool:
            user: Any = request.user  # None where the host's UNAUTHENTICATED_USER says so
            if not getattr(user, "is_authenticated", False):
                return False
            require_permission(user, permission)
            return True

    return Holds
