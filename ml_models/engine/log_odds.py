"""Networks that answer with log-odds, and how one is proven that loads again."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import GoldenMismatch

# In the logit's unit; float networks differ by some 1e-4 from one processor or engine to the next.
GOLDEN_TOLERANCE = 0.01


class AnswersInLogOdds(Protocol):
    @property
    def golden(self) -> NDArray[np.float32]:
        """The answer for `embed.golden_crops`, float32 (2, N)."""


def check_golden(network: AnswersInLogOdds, expected: NDArray[np.float32]) -> None:
    """Refuse a network that does not answer as it did when it was published.

    Args:
        expected: float32 (2, N), the network's `golden` at publication.

    Raises:
        GoldenMismatch: another number of answers, or one off by more than `GOLDEN_TOLERANCE`.
    """
    now = network.golden
    # `not <=`, so that NaN is refused, too
    if now.shape != expected.shape or not (off := float(np.abs(now - expected).max())) <= GOLDEN_TOLERANCE:
        detail = f"off by {off:.4f}" if now.shape == expected.shape else f"of shape {now.shape}"
        raise GoldenMismatch(f"The network's logits are {detail}; it was published with other ones.")
