"""Everything that one evaluation says of a version: its figures, its charts, its page."""

from .contents import Report, Scorer, build

__all__ = ["Report", "Scorer", "build"]
