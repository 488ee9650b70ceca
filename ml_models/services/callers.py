"""Who asks: the account, the key it came with, and the door it stands at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ..models import Actor, actor_id


@dataclass(frozen=True, slots=True)
class Caller:
    account: Actor = None
    """None for a command or a task."""
    credential_id: str = ""
    """The host's opaque name of the key, at most 64 characters. It tells a stolen key from the account's others."""
    capture_point: str = ""
    """Where the picture was taken, at most 50 characters: "front door"."""

    @property
    def identity(self) -> dict[str, str]:
        """Who it is, for keyed hashes: account and credential."""
        account = "" if self.account is None else str(actor_id(self.account))
        return {"account": account, "credential": self.credential_id}


NOBODY = Caller()
"""A command or a task."""


def of_panel(account: Any) -> Caller:
    """Whoever is logged in to the panel: a credential each, or one guesser would hide among them all, and stop them."""
    return Caller(account, f"panel:{account.pk}")


By: TypeAlias = Caller | Actor
"""Who operates: a caller, or an account where the credential does not matter."""


def as_caller(by: By) -> Caller:
    return by if isinstance(by, Caller) else Caller(by)
