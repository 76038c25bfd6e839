"""Differences of shares within strata, and 95 % intervals by resampling people with replacement."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mftn.evaluate.groups.logistic import sum_by
from mftn.evaluate.groups.results import Interval
from mftn.evaluate.metrics import wilson_interval

DRAWS = 2000
"""Number of resamples of people for an interval."""


def difference(
    inside: NDArray[np.bool_],
    right: NDArray[np.float64],
    people: NDArray[np.int64],
    strata: NDArray[np.int64],
    seed: int,
) -> tuple[float, Interval, int]:
    """Difference of shares within strata, its interval, and how many images have a counterpart.

    Args:
        inside: (n,) whether the image is of the group.
        right: (n,) 0 or 1.
        people: (n,) numbers of the people, 0 to N−1.
        strata: (n,) numbers of the strata, from 0.
        seed: Seed of the resamples.
    """
    count = int(strata.max()) + 1
    cells = np.zeros((len(right), 4 * count))  # per stratum: images and right images, in the group and outside
    rows = np.arange(len(right))
    column = 4 * strata + 2 * ~inside
    cells[rows, column], cells[rows, column + 1] = 1, right
    sums = sum_by(people, cells)
    observed = sums.sum(axis=0).reshape(count, 4)  # (strata, 4)
    both = (observed[:, 0] > 0) & (observed[:, 2] > 0)
    draws = resampled_sums(sums, seed).reshape(-1, count, 4)
    middle = float(_weighted_gap(observed[None])[0])
    gaps = _weighted_gap(draws)
    return middle, percentiles(gaps), int(observed[both][:, [0, 2]].sum())


def newcombe(shares: Sequence[float], people: Sequence[int]) -> Interval:
    """Newcombe's interval of the difference of two shares (1998, method 10), each 0 or 1 for all of its people."""
    (one, other), bounds = shares, [wilson_interval(round(s * n), n) for s, n in zip(shares, people, strict=True)]
    (low, high), (other_low, other_high) = bounds
    difference = one - other
    return (
        float(difference - np.hypot(one - low, other_high - other)),
        float(difference + np.hypot(high - one, other - other_low)),
    )


def _weighted_gap(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) Mantel and Haenszel's difference of shares from (B, strata, 4) counts."""
    a, a_right, b, b_right = np.moveaxis(cells, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.nan_to_num(a * b / (a + b))
        gap = np.nan_to_num(a_right / a - b_right / b)
        return np.asarray((weight * gap).sum(axis=1) / weight.sum(axis=1))


def resampled_sums(sums: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(DRAWS, M) totals of as many people drawn with replacement, from each person's (N, M) sums.

    People with the same sums are drawn as one kind, so that many people cost little.
    """
    kinds, counts = np.unique(sums, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(sums), counts / len(sums), DRAWS)
    return np.asarray(drawn @ kinds)


def percentiles(values: NDArray[np.float64]) -> Interval:
    """The middle 95 % of the known values; NaN where none is known."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
