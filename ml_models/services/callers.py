"""Who asks: the account, the key it came with, and the door it stands at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..models import Actor


@dataclass(frozen=True, slots=True)
class Caller:
    account: Actor = None
    """None for a command or a task."""
    credential_id: str = ""
    """The host's opaque name of the key, at most 64 characters. It tells a stolen key from the account's others."""
    capture_point: str = ""
    """Where the picture was taken, at most 50 characters: "front door"."""


NOBODY = Caller()
"""A command or a task."""

By: TypeAlias = Caller | Actor
"""Who operates: a caller, or an account where the credential does not matter."""


def as_caller(by: By) -> Caller:
    return by if isinstance(by, Caller) else Caller(by)
