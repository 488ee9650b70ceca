"""An attack detector's logit → a log-likelihood ratio, and where it is taken for a person's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...engine.calibrate import Affine
from . import logistic
from .rules import CannotCalibrate


def fit(logits: NDArray[np.float64], bona_fide: NDArray[np.bool_], bpcer: float) -> tuple[Affine, float]:
    """Fit the numbers of `engine.presentation.PassiveRule`.

    Args:
        logits: finite, one a presentation, shape (N,).
        bona_fide: which are people's. All attacks count alike, whatever their species.
        bpcer: at most this share of the people lies under the threshold.

    Returns: the calibration, and the highest such threshold, rounded down: up would refuse more people.

    Raises:
        CannotCalibrate: there are no people, or no attacks; or people have no higher logits.
    """
    if bona_fide.all() or not bona_fide.any():
        raise CannotCalibrate("Numbers are fitted on people and on attacks whose faces are large enough; bring both.")
    a, b = (
        round(float(number), 5)
        for number in logistic.fit(logits[:, None], logistic.Cases.of(bona_fide, None, prior=0.5))
    )
    if a <= 0:
        raise CannotCalibrate(
            f"People have no higher logits than attacks (slope {a:.3g}): check the manifest's kinds, and the colour "
            "order in the network's contract."
        )
    calibration = Affine(a, b)
    scores = np.sort(calibration(logits[bona_fide]))
    return calibration, math.floor(scores[int(bpcer * len(scores))] * 100) / 100
