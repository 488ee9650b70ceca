"""A version's way to being active: validate, open, embed what is missing, cut over, roll back."""

from ..selectors import get_config, get_rollout
from .advancing import advance
from .failures import failures_allowed, left_behind, people_without_template
from .transitions import (
    abort,
    cut_over,
    discard,
    end_warmth,
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
    "end_warmth",
    "failures_allowed",
    "get_config",
    "get_rollout",
    "left_behind",
    "open_rollout",
    "pause",
    "people_without_template",
    "resume",
    "roll_back",
    "validate",
]
