"""What an account may do is asked for at every call: once, and the answer is Django's own."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend_easy.permissions import PermissionsAtOnce

pytestmark = pytest.mark.django_db


def _fresh(user: Any) -> Any:
    return type(user).objects.get(pk=user.pk)


def test_an_accounts_permissions_and_its_groups_are_djangos_in_one_query(user: Any, django_user_model: Any) -> None:
    own, shared, other = Permission.objects.filter(content_type__app_label="ml_models")[:3]
    group = Group.objects.create(name="kiosks")
    group.permissions.add(own, shared)
    user.user_permissions.add(own, other)
    user.groups.add(group)
    # of somebody else, which must not show
    stranger = django_user_model.objects.create_user("stranger")
    stranger.user_permissions.set(Permission.objects.all())
    with CaptureQueriesContext(
        connection,
    ) as asked:
        found = PermissionsAtOnce().get_all_permissions(one := _fresh(user))
        assert PermissionsAtOnce().has_perm(one, f"ml_models.{shared.codename}")
    assert len(asked) == 2  # the user, and the permissions
    assert found == ModelBackend().get_all_permissions(_fresh(user))
    assert len(found) == 3


@pytest.mark.parametrize(("changes", "some"), [({"is_active": False}, False), ({"is_superuser": True}, True)])
def test_who_is_not_active_may_nothing_and_a_superuser_everything(
    user: Any, changes: dict[str, bool], some: bool
) -> None:
    user.user_permissions.set(Permission.objects.all()[:2])
    type(user).objects.filter(pk=user.pk).update(**changes)
    found = PermissionsAtOnce().get_all_permissions(_fresh(user))
    assert found == ModelBackend().get_all_permissions(_fresh(user))
    assert bool(found) is some


def test_nobody_and_a_single_object_have_none(user: Any) -> None:
    user.user_permissions.set(Permission.objects.all()[:2])
    assert PermissionsAtOnce().get_all_permissions(AnonymousUser()) == set()
    assert PermissionsAtOnce().get_all_permissions(_fresh(user), obj=user) == set()
