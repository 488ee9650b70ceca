"""Which account of the host is a subject's own."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils.module_loading import import_string

from .. import conf
from ..models import Actor

_RIGHTS = ("enroll_subject", "verify_subject", "identify_subject", "read_subject", "erase_subject")


def own_account(subject_id: str) -> Any:
    """The primary key of the subject's own account, as `SUBJECT_ACCOUNT` has it; None where it has none."""
    return import_string(conf.get("SUBJECT_ACCOUNT"))(subject_id)


def same_key(subject_id: str) -> Any:
    """The account whose primary key is the subject's id, unless it is a service's: those have ids by chance."""
    try:
        user = get_user_model()._default_manager.filter(pk=subject_id).first()
    except (ValueError, ValidationError):  # no key of this kind
        return None
    # "017" and "1_7" are keys to Python, too
    return None if user is None or str(user.pk) != subject_id or is_service(user) else user.pk


def is_own(caller: Actor, subject_id: str) -> bool:
    """Whether the caller acts on themself: the account is the subject's own, and not a service's."""
    if caller is None or caller.pk is None:
        return False
    # which account this makes the subject's is known without a query
    if conf.get("SUBJECT_ACCOUNT") == conf.DEFAULTS["SUBJECT_ACCOUNT"] and str(caller.pk) != subject_id:
        return False
    return not is_service(caller) and str(own_account(subject_id)) == str(caller.pk)


def is_service(caller: Actor) -> bool:
    """Whether a caller acts on any subject by permission, and so is not a subject who acts on itself."""
    if caller is None or caller.pk is None:
        return True
    account = get_user_model()._default_manager.filter(pk=caller.pk).first()
    if account is None:
        return False
    account.is_active = True  # in memory only: one that was put out of use since was a service all the same
    return any(account.has_perm(f"ml_models.{right}") for right in _RIGHTS)
