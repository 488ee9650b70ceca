"""The report of one evaluation of a version: its figures, charts and page."""

from .contents import Report, Scorer, build

__all__ = ["Report", "Scorer", "build"]
