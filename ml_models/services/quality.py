"""What is a picture like? Asked before an attempt is made, so that the person can be told what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .. import runtime
from ..engine.types import Quality
from ..models import EnsembleConfig
from . import admission

Purpose = Literal["enroll", "verify"]


@dataclass(frozen=True, slots=True)
class Assessed:
    """A picture's quality, by the limits that a version has for one purpose."""

    quality: Quality
    config: EnsembleConfig

    @property
    def acceptable(self) -> bool:
        """Whether nothing speaks against the picture that shows before it is embedded."""
        return not self.quality.details


def assess(image: bytes, purpose: Purpose) -> Assessed:
    """Measure the one face in a picture; nothing is embedded, stored or counted.

    Raises:
        ImageError: there is no one face to measure, or no picture; the subclass says why.
        InferenceFailed: the detector failed.
        NotReady: no version is active, or this process has not loaded it.
        Overloaded: it would have waited too long for a core.
    """
    version = runtime.active()
    limits = version.enroll_limits if purpose == "enroll" else version.verify_limits
    with admission.admitted(admission.LOOK):
        return Assessed(version.pipeline.look(image, limits), version.config)
