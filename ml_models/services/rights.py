"""Who may do what, and who changed it: an event for each change of an account or a role that Django tells of.

`QuerySet.update`, `bulk_create` and SQL send no signal, and leave no event. Nor do accounts without any right: a host
has one for every parent, they act on nobody but themselves, and their keys may be the ids of subjects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save

from . import audit
from .audit import Kind
from .callers import NOBODY, Caller

FLAGS = ("is_active", "is_staff", "is_superuser")
_WATCHED = ("name", "password", *FLAGS)
_who: ContextVar[Callable[[], Caller]] = ContextVar("ml_models.rights", default=lambda: NOBODY)


@contextmanager
def changed_by(who: Callable[[], Caller]) -> Iterator[None]:
    """Around a request: who changes rights meanwhile. Asked only where somebody does."""
    token = _who.set(who)
    try:
        yield
    finally:
        _who.reset(token)


def watch() -> None:
    """Twice is once."""
    account = get_user_model()
    # of these classes only: a receiver of every deletion would have Django delete row by row
    for model in (model for model in apps.get_models() if issubclass(model, account | Group)):
        name = model._meta.label
        pre_save.connect(_before_save, sender=model, dispatch_uid=f"ml_models.rights.before.{name}")
        post_save.connect(_after_save, sender=model, dispatch_uid=f"ml_models.rights.after.{name}")
        pre_delete.connect(_before_delete, sender=model, dispatch_uid=f"ml_models.rights.delete.{name}")
    for holder, name in ((account, "groups"), (account, "user_permissions"), (Group, "permissions")):
        if hasattr(holder, name):  # a host's own model may have none
            field: Any = holder._meta.get_field(name)
            given, uid = partial(_given, field=field), f"ml_models.rights.{holder._meta.label}.{name}"
            m2m_changed.connect(given, sender=field.remote_field.through, weak=False, dispatch_uid=uid)


def _before_save(instance: Any, using: str, update_fields: frozenset[str] | None, **more: Any) -> None:
    names = {name for name in _WATCHED if hasattr(instance, name)}
    if update_fields is not None:
        names &= update_fields
    instance._rights_before = None
    # the password alone is Django's doing, where its way to hash has changed since the last log-in
    if names and names != {"password"} and not instance._state.adding:
        rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
        instance._rights_before = rows.values(*names).first()


def _after_save(instance: Any, created: bool, **more: Any) -> None:
    before = instance.__dict__.pop("_rights_before", None)
    if isinstance(instance, Group):
        if before and before["name"] != instance.name:
            _record(Kind.RENAME_ROLE, role=before["name"], name=instance.name)
    elif created:
        if _may_something(instance):
            _record(Kind.MAKE_ACCOUNT, account=str(instance.pk), **_flags(instance, FLAGS))
    elif before:
        changed = [name for name in before if before[name] != getattr(instance, name)]
        if changed and (_may_something(instance) or any(before.get(name) for name in FLAGS[1:])):
            _record(Kind.CHANGE_ACCOUNT, account=str(instance.pk), **_flags(instance, changed))


def _before_delete(instance: Any, **more: Any) -> None:
    if isinstance(instance, Group):
        _record(Kind.DELETE_ROLE, role=instance.name)
    elif _may_something(instance):
        _record(Kind.DELETE_ACCOUNT, account=str(instance.pk))


def _given(
    sender: Any, instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str, field: Any, **more: Any
) -> None:
    """A right or a role was given to somebody or taken: from either end of the relation."""
    if action not in ("post_add", "pre_remove", "pre_clear"):
        return
    ends = field.m2m_field_name(), field.m2m_reverse_field_name()
    this, other = reversed(ends) if reverse else ends
    rows = sender._base_manager.using(using).filter(**{this: instance.pk})
    if pk_set is not None:
        rows = rows.filter(**{f"{other}__in": pk_set})
    others = list(rows.values_list(other, flat=True))
    if not others:
        return
    kind = Kind.GIVE_RIGHTS if action == "post_add" else Kind.TAKE_RIGHTS
    given = field.related_model._base_manager.using(using).filter(pk__in=[instance.pk] if reverse else others)
    for holder in field.model._base_manager.using(using).filter(pk__in=others) if reverse else [instance]:
        of = {"role": holder.name} if isinstance(holder, Group) else {"account": str(holder.pk)}
        _record(kind, **of, **_names(given))


def _names(given: Iterable[Model]) -> dict[str, list[str]]:
    roles = sorted(one.name for one in given if isinstance(one, Group))
    rights = sorted(f"{one.content_type.app_label}.{one.codename}" for one in given if isinstance(one, Permission))
    return {"roles": roles} if roles else {"rights": rights}


def _may_something(account: Any) -> bool:
    if any(getattr(account, name, False) for name in FLAGS[1:]):
        return True
    held = (getattr(account, name, None) for name in ("groups", "user_permissions"))
    return account.pk is not None and any(rights is not None and rights.exists() for rights in held)


def _flags(account: Any, names: Iterable[str]) -> dict[str, Any]:
    """No password, and no digest of one."""
    return {name: "changed" if name == "password" else getattr(account, name, None) for name in names}


def _record(kind: str, **facts: Any) -> None:
    audit.record(kind, _who.get()(), **facts)
