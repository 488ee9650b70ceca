"""A version's way to being active: validate, open, embed what is missing, cut over, roll back."""

from ..selectors import get_config, get_rollout
from .transitions import (
    abort,
    advance,
    cut_over,
    discard,
    failures_allowed,
    open_rollout,
    pause,
    resume,
    roll_back,
)
from .validating import validate

__all__ = [
    "abort",
    "advance",
    "cut_over",
    "discard",
    "failures_allowed",
    "get_config",
    "get_rollout",
    "open_rollout",
    "pause",
    "resume",
    "roll_back",
    "validate",
]
