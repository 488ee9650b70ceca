"""What all models share: who did something."""

from __future__ import annotations

from typing import Any, TypeAlias

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser

Actor: TypeAlias = AbstractBaseUser | AnonymousUser | None
"""Who did something; None for a command or a task."""


def actor_id(actor: Actor) -> Any:
    """The actor's primary key for a foreign key, None for nobody."""
    return None if actor is None else actor.pk
