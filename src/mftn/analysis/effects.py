"""Differences and effect sizes with their intervals."""

from dataclasses import dataclass

import numpy as np

from mftn.analysis.table import Floats

HUGE = 1000.0
"""Beyond this t, the limit of its distribution is exact to four digits, while scipy's inverse is slow, then wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """Differences in M signals; each attribute has the shape (M,).

    Attributes:
        difference: Difference between the means.
        low: Lower bound of the difference, from Student's or Welch's t.
        high: Upper bound.
        size: d_z or g with Hedges' correction for small samples.
        size_low: Lower bound of the size, from the noncentral t.
        size_high: Upper bound.
        statistic: t.
    """

    difference: Floats
    low: Floats
    high: Floats
    size: Floats
    size_low: Floats
    size_high: Floats
    statistic: Floats


def effect_of_pairs(a: Floats, b: Floats, confidence: float) -> Effect:
    """The mean difference within the same people, and d_z: that mean over the standard deviation of the differences.

    Args:
        a: (n, M)
        b: (n, M)
        confidence: Confidence level of the intervals.
    """
    difference = a - b
    n = len(difference)
    error = difference.std(axis=0, ddof=1) / np.sqrt(n)
    return _effect(difference.mean(axis=0), error, np.full(a.shape[1], n - 1.0), n - 1.0, 1 / np.sqrt(n), confidence)


def effect_of_groups(a: Floats, b: Floats, confidence: float) -> Effect:
    """The difference between two groups' means with Welch's interval, and Hedges' g with the pooled standard deviation.

    Args:
        a: (n, M)
        b: (m, M)
        confidence: Confidence level of the intervals.
    """
    n, m = len(a), len(b)
    one, other = a.var(axis=0, ddof=1) / n, b.var(axis=0, ddof=1) / m
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = (one + other) ** 2 / (one**2 / (n - 1) + other**2 / (m - 1))
    pooled = np.sqrt(((n - 1) * n * one + (m - 1) * m * other) / (n + m - 2))
    scale = np.sqrt(1 / n + 1 / m)
    difference = a.mean(axis=0) - b.mean(axis=0)
    found = _effect(difference, np.sqrt(one + other), freedom, n + m - 2.0, scale, confidence)
    size = _sizes(difference, pooled * scale, n + m - 2.0, scale, confidence)
    return Effect(found.difference, found.low, found.high, *size, found.statistic)


def _effect(
    difference: Floats, error: Floats, freedom: Floats, size_freedom: float, scale: float, confidence: float
) -> Effect:
    from scipy.stats import t

    with np.errstate(invalid="ignore", divide="ignore"):
        reach = t.ppf(0.5 + confidence / 2, freedom) * error
        statistic = difference / error
    size = _sizes(difference, error, size_freedom, scale, confidence)
    return Effect(difference, difference - reach, difference + reach, *size, statistic)


def _sizes(
    difference: Floats, error: Floats, freedom: float, scale: float, confidence: float
) -> tuple[Floats, Floats, Floats]:
    """Hedges' corrected size and its bounds: the noncentralities at which the observed t is just as unlikely."""
    from scipy.special import gammaln, nctdtrinc
    from scipy.stats import chi2

    correction = np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(error > 1e-15, difference / error, np.nan)
    tail, factor = (1 - confidence) / 2, correction * scale
    huge = np.abs(t) > HUGE
    bounds = []
    for p in (1 - tail, tail):
        limit = np.where((t > 0) == (p > 0.5), chi2.ppf(tail, freedom), chi2.ppf(1 - tail, freedom))
        exact = nctdtrinc(freedom, p, np.where(huge, 0.0, t))
        bounds.append(factor * np.where(huge, t * np.sqrt(limit / freedom), exact))
    return t * factor, bounds[0], bounds[1]
