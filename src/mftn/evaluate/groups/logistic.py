"""Logistic regression that stays finite, and a score test over people.

A model that names every broad smile and no faint one separates its images by strength, where maximum likelihood (and
with it GEE) has no finite answer. Firth's penalty (Firth 1993; Heinze & Schemper 2002) has one.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS, LONGEST, CLOSE = 200, 2.0, 1e-8
"""Newton steps at most, the longest step of a coefficient, and the change that ends them."""


def fit(design: Floats, right: Floats) -> Floats:
    """Coefficients (P,) of P(right) by Firth's penalised likelihood.

    Args:
        design: (n, P) of full rank; standardised columns converge best.
        right: (n,) 0 or 1.
    """
    coefficients = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p, inverse = _state(design, coefficients)
        leverage = p * (1 - p) * np.einsum("ij,jk,ik->i", design, inverse, design)
        step = inverse @ design.T @ (right - p + leverage * (0.5 - p))
        step *= min(1.0, LONGEST / max(float(np.abs(step).max()), 1e-12))
        coefficients = coefficients + step
        if np.abs(step).max() < CLOSE:
            break
    return coefficients


def probabilities(design: Floats, coefficients: Floats) -> Floats:
    """(n,)"""
    return 1 / (1 + np.exp(-np.clip(design @ coefficients, -30, 30)))


def covariance(design: Floats, right: Floats, coefficients: Floats, people: NDArray[np.int64]) -> Floats:
    """(P, P) of the coefficients: of each variance the larger of the model's and of the sandwich over people.

    The sandwich allows one person's images to go together; the model's holds where a group is right throughout, whose
    residuals vanish.

    Args:
        design: (n, P).
        right: (n,) 0 or 1.
        coefficients: (P,).
        people: (n,) numbers of the people, 0 to N−1.
    """
    p, inverse = _state(design, coefficients)
    scores = sum_by(people, design * (right - p)[:, None])
    count = len(scores)
    sandwich = inverse @ (scores.T @ scores) @ inverse * count / (count - 1)
    widen = np.sqrt(np.maximum(np.diag(inverse) / np.maximum(np.diag(sandwich), 1e-300), 1))
    return sandwich * widen[:, None] * widen


def score_test(group: Floats, null: Floats, right: Floats, people: NDArray[np.int64]) -> float:
    """Two-sided p that a group adds nothing to the null model, by Student's t over people.

    Only the model without the group is fitted, so that a group that is right throughout does no harm. What each person
    adds to the score beyond the null model's columns (Hemerik et al. 2020 call it the effective score) is summed; the
    spread of the sum is the larger of the people's and the model's.

    Args:
        group: (n,) 1 where the image is of the group, else 0.
        null: (n, P) columns of the model without the group.
        right: (n,) 0 or 1.
        people: (n,) numbers of the people, 0 to N−1.
    """
    from scipy.stats import t

    p, inverse = _state(null, fit(null, right))
    weights = p * (1 - p)
    beyond = group - null @ (inverse @ (null.T @ (weights * group)))
    parts = sum_by(people, (beyond * (right - p))[:, None])[:, 0]  # (N,)
    spread = float(np.sqrt(max((parts**2).sum(), (weights * beyond**2).sum())))
    if not spread:
        return 1.0
    return float(2 * t.sf(abs(parts.sum()) / spread, max(len(parts) - null.shape[1] - 1, 1)))


def sum_by(people: NDArray[np.int64], values: Floats) -> Floats:
    """(N, M) sums of (n, M) values over each person's images."""
    sums = np.zeros((int(people.max()) + 1, values.shape[1]))
    np.add.at(sums, people, values)
    return sums


def _state(design: Floats, coefficients: Floats) -> tuple[Floats, Floats]:
    """Probabilities (n,) and the inverse information (P, P)."""
    p = probabilities(design, coefficients)
    information = design.T @ (design * np.maximum(p * (1 - p), 1e-12)[:, None])
    inverse: NDArray[np.float64] = np.asarray(np.linalg.pinv(information), np.float64)
    return p, inverse
