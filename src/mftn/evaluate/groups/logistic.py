"""Logistic regression that stays finite, and a score test over people with the matching interval.

A model that recognises every broad smile and no faint one separates its images by strength; maximum likelihood (and
with it GEE) then has no finite solution. Firth's penalty (Firth 1993; Heinze & Schemper 2002) gives one.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS, MAX_STEP, CLOSE = 200, 2.0, 1e-8
"""Maximum number of Newton steps, the longest step of a coefficient, and the change at which they stop."""
MAX_COEFFICIENT = 20.0
"""An interval that extends beyond this coefficient is unbounded."""


def fit(design: Floats, right: Floats, offset: Floats | float = 0.0) -> Floats:
    """Coefficients (P,) of P(right) by Firth's penalised likelihood.

    Args:
        design: (n, P) of full rank; standardised columns converge best.
        right: (n,) 0 or 1.
        offset: (n,) added to the logits.
    """
    coefficients = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p, inverse = _state(design, coefficients, offset)  # (n,), (P, P)
        leverage = p * (1 - p) * np.einsum("ij,jk,ik->i", design, inverse, design)
        step = inverse @ design.T @ (right - p + leverage * (0.5 - p))
        step *= min(1.0, MAX_STEP / max(float(np.abs(step).max()), 1e-12))
        coefficients = coefficients + step
        if np.abs(step).max() < CLOSE:
            break
    return coefficients


def probabilities(design: Floats, coefficients: Floats, offset: Floats | float = 0.0) -> Floats:
    """(n,) probabilities of a right image."""
    return 1 / (1 + np.exp(-np.clip(design @ coefficients + offset, -30, 30)))


def score_test(group: Floats, null: Floats, right: Floats, people: NDArray[np.int64]) -> float:
    """Two-sided p of the hypothesis that a group adds nothing to the null model, by Student's t over people.

    Only the model without the group is fitted, so a group that is always right does no harm. What each person adds to
    the score beyond the null model's columns (the effective score of Hemerik et al. 2020) is summed; the standard error
    of the sum is the larger of that over people and that of the model.

    Args:
        group: (n,) 1 where the image is of the group, else 0.
        null: (n, P) columns of the model without the group.
        right: (n,) 0 or 1.
        people: (n,) numbers of the people, 0 to N−1.
    """
    from scipy.stats import t

    return float(2 * t.sf(abs(_score(group, null, right, people, 0.0)), _freedom(null, people)))


def score_interval(
    group: Floats, null: Floats, right: Floats, people: NDArray[np.int64], near: float
) -> tuple[float, float]:
    """The group's coefficients that the score test does not reject at 5 %; 0 is among them exactly when p > 0.05.

    Args:
        group: (n,) 1 where the image is of the group, else 0.
        null: (n, P) columns of the model without the group.
        right: (n,) 0 or 1.
        people: (n,) numbers of the people, 0 to N−1.
        near: The estimate, from which the search starts.
    """
    from scipy.stats import t

    critical = float(t.ppf(0.975, _freedom(null, people)))

    def score(coefficient: float) -> float:
        return _score(group, null, right, people, coefficient)

    return _bound(score, critical, near, -1), _bound(score, critical, near, 1)


def _bound(score: Callable[[float], float], critical: float, near: float, direction: int) -> float:
    """Where the test begins to reject, below (−1) or above (1) the estimate; infinite if it never does.

    Farther out the score may be accepted again. So the first step is to 0, where the test looks, if it lies this way.
    """
    from scipy.optimize import brentq

    def accepted(coefficient: float) -> float:
        return direction * score(coefficient) + critical  # positive where it is accepted

    inside, width = near, 0.5
    while accepted(inside) <= 0 and abs(inside) < MAX_COEFFICIENT:
        inside -= direction * width
    while direction * inside < MAX_COEFFICIENT:
        outside = 0.0 if direction * inside < 0 else inside + direction * width
        if accepted(outside) < 0:
            return float(brentq(accepted, inside, outside, xtol=1e-4))
        inside, width = outside, 2 * width
    return direction * float("inf")


def _score(group: Floats, null: Floats, right: Floats, people: NDArray[np.int64], coefficient: float) -> float:
    """Student's t of the score over people if the group has this coefficient."""
    offset = coefficient * group
    p, inverse = _state(null, fit(null, right, offset), offset)
    weights = p * (1 - p)
    beyond = group - null @ (inverse @ (null.T @ (weights * group)))
    parts = sum_by(people, (beyond * (right - p))[:, None])[:, 0]  # (N,)
    spread = float(np.sqrt(max((parts**2).sum(), (weights * beyond**2).sum())))
    return float(parts.sum()) / spread if spread else 0.0


def _freedom(null: Floats, people: NDArray[np.int64]) -> int:
    return max(int(people.max()) + 1 - null.shape[1] - 1, 1)


def sum_by(people: NDArray[np.int64], values: Floats) -> Floats:
    """(N, M) sums of (n, M) values over each person's images."""
    sums = np.zeros((int(people.max()) + 1, values.shape[1]))
    np.add.at(sums, people, values)
    return sums


def _state(design: Floats, coefficients: Floats, offset: Floats | float = 0.0) -> tuple[Floats, Floats]:
    """Probabilities (n,) and the inverse information (P, P)."""
    p = probabilities(design, coefficients, offset)
    information = design.T @ (design * np.maximum(p * (1 - p), 1e-12)[:, None])
    inverse: NDArray[np.float64] = np.asarray(np.linalg.pinv(information), np.float64)
    return p, inverse
