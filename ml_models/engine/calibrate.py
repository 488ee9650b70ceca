"""Scores in the unit that decisions need: natural-log likelihood ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = float | NDArray[np.float64]
"""Of one comparison, or of many at once, shape (N,)."""


@dataclass(frozen=True, slots=True)
class Affine:
    """`a · x + b`: what logistic regression on labelled pairs fits once the prior's log-odds are taken off
    (Brümmer & du Preez, 2006). `a` must be positive, or a higher similarity would count against a match."""

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.a) and math.isfinite(self.b) and self.a > 0):
            raise ValueError(f"A calibration needs a finite slope above 0 and a finite offset, not {self.a}, {self.b}.")

    def __call__(self, x: Numbers) -> Numbers:
        return self.a * x + self.b


@dataclass(frozen=True, slots=True)
class Calibration:
    """A member's similarity `s` → its log-likelihood ratio, `a · s + b + d · q`.

    `q` is the natural logarithm of the shorter of the two features' norms, clipped to [`low`, `high`], the range of the
    fit. A short feature means a face of poor quality (Meng et al., 2021; Kim et al., 2022): even a mated comparison has
    a low similarity then. `d`, negative as a rule, makes up for that. With `d` 0 the norms do not count.
    """

    a: float
    b: float
    d: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        Affine(self.a, self.b)
        if not all(map(math.isfinite, (self.d, self.low, self.high))) or self.low > self.high:
            raise ValueError(
                "A calibration needs a finite d, and finite bounds low and high, low not above high; not "
                f"{self.d}, {self.low}, {self.high}."
            )

    def __call__(self, similarity: Numbers, log_norm: Numbers) -> Numbers:
        return self.a * similarity + self.b + self.d * np.clip(log_norm, self.low, self.high)
