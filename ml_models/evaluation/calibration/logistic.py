"""Logistic regression for log-likelihood ratios: weighted, for a prior that is not the sample's, on few parameters.

The two classes weigh as the prior says, whatever their shares of the sample. The prior's log-odds enter the model as a
constant, so that the rest of it is a log-likelihood ratio (Brümmer and du Preez, 2006, sec. 5). Targets are smoothed as
by Platt (1999), so that separable scores have a finite slope. Fisher scoring with step halving.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Model = Callable[[Values], tuple[Values, Values]]
"""Parameters, shape (P,) → log-likelihood ratios, shape (N,), and their derivatives, shape (N, P)."""


_STEPS, _HALVINGS = 100, 12


@dataclass(frozen=True, slots=True)
class Cases:
    """`same` are the labels, `mass` is each case's weight within its class, both shape (N,); `prior` is the probability
    of a mated comparison."""

    same: NDArray[np.bool_]
    mass: Values
    prior: float

    @classmethod
    def of(cls, same: NDArray[np.bool_], weight: Values | None, prior: float) -> Cases:
        """Both classes are needed; `weight` becomes `mass`, all cases alike when None."""
        return cls(same, np.ones(len(same)) if weight is None else weight.astype(np.float64), prior)

    def take(self, keep: NDArray[np.bool_]) -> Cases:
        return Cases(self.same[keep], self.mass[keep], self.prior)


def fit(columns: Values, cases: Cases) -> Values:
    """Fit a linear log-likelihood ratio.

    Args:
        columns: finite, shape (N, P).

    Returns: a coefficient a column, then the offset, shape (P + 1,).
    """
    centre, spread = columns.mean(0), columns.std(0)
    spread[spread == 0] = 1.0
    design = np.column_stack([(columns - centre) / spread, np.ones(len(columns))])
    beta = _minimise(lambda beta: (design @ beta, design), np.zeros(design.shape[1]), cases, 0.0)
    slopes = beta[:-1] / spread
    return np.append(slopes, beta[-1] - slopes @ centre)


def fit_positive(votes: Values, cases: Cases, penalty: float) -> Values:
    """Fit multipliers above 0 of votes that are log-likelihood ratios already.

    Args:
        votes: shape (N, M). The fit starts from their plain sum, all multipliers 1.
        penalty: on the squared distance of each multiplier's logarithm from the mean of these logarithms.

    Returns: shape (M,).
    """
    count = votes.shape[1]

    def model(parameters: Values) -> tuple[Values, Values]:
        weighted = votes * np.exp(np.clip(parameters[:count], -20, 20))
        return weighted.sum(1) + parameters[count], np.column_stack([weighted, np.ones(len(votes))])

    return np.exp(_minimise(model, np.zeros(count + 1), cases, penalty)[:count])


def _minimise(model: Model, start: Values, cases: Cases, penalty: float) -> Values:
    """The parameters of the least cross-entropy plus penalty, by Fisher scoring."""
    same = cases.same
    mated, others = int(same.sum()), int((~same).sum())
    log_odds = math.log(cases.prior / (1 - cases.prior))
    # the loss is measured in that of a model that knows only the prior: a penalty then means the same at every prior
    unit = -(cases.prior * math.log(cases.prior) + (1 - cases.prior) * math.log(1 - cases.prior)) / math.log(2)
    of_class = np.where(same, cases.prior / cases.mass[same].sum(), (1 - cases.prior) / cases.mass[~same].sum())
    mass = cases.mass * of_class / unit
    target = np.where(same, (mated + 1) / (mated + 2), 1 / (others + 2))
    # the penalty's second derivatives; the last parameter is the offset, which is free
    size = len(start)
    pull = np.zeros((size, size))
    pull[:-1, :-1] = 2 * penalty * (np.eye(size - 1) - 1 / (size - 1))

    def loss(beta: Values, z: Values) -> float:
        return float(mass @ (np.logaddexp(0, z) - target * z) + beta @ pull @ beta / 2)

    beta, (z, slope) = start, model(start)
    cost = loss(beta, z + log_odds)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(z + log_odds, -700, 700)))
        gradient = slope.T @ (mass * (p - target)) + pull @ beta
        curvature = (slope.T * (mass * p * (1 - p))) @ slope + pull + 1e-12 * np.eye(size)
        step = np.linalg.solve(curvature, gradient)
        for halved in range(_HALVINGS):
            new = beta - step / 2**halved
            z, slope = model(new)
            new_cost = loss(new, z + log_odds)
            if new_cost < cost:
                break
        else:  # no step lowers the cost: this is the minimum
            return beta
        moved, saved = np.abs(new - beta).max(), cost - new_cost
        beta, cost = new, new_cost
        if moved < 1e-7 or saved < 1e-12:
            break
    return beta
