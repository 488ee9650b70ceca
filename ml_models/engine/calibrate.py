"""Scores in the unit that decisions need: natural-log likelihood ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Affine:
    """`a · x + b`: what logistic regression on labelled pairs fits once the prior's log-odds are taken off
    (Brümmer & du Preez, 2006). `a` must be positive, or a higher similarity would count against a match."""

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.a) and math.isfinite(self.b) and self.a > 0):
            raise ValueError(f"A calibration needs a finite slope above 0 and a finite offset, not {self.a}, {self.b}.")

    def __call__(self, x: float) -> float:
        return self.a * x + self.b
