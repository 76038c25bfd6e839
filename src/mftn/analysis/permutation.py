"""Permutation tests of M signals at once, over people: exact where there are few enough arrangements, else random.

Every test permutes people (or each person's own conditions), so it keeps its significance level whatever the values'
distribution, as long as people are exchangeable under the null hypothesis. With random arrangements, p counts the
observed one as one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, product
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.analysis.table import Floats

_CHUNK = 1 << 22
"""Numbers held in memory at once."""

_ROUNDING = 1e-14
"""Sums of squares below this share of the total come from rounding, since they are differences between larger sums.
Also the rounding error of a probability."""


def pairs(a: Floats, b: Floats, draws: int, seed: int) -> Floats:
    """Two-sided p of a paired comparison: the sign of each person's difference is flipped.

    Args:
        a: (n, M)
        b: (n, M) of the same people.
        draws: Number of random arrangements; all 2ⁿ are used instead if there are no more than that.
        seed: Seed of the draws.

    Returns:
        (M,) NaN where a signal is unknown.
    """
    difference = a - b
    n = len(difference)
    if 2**n <= draws:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
    else:
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), (draws, n))
    return _p_values(np.abs(difference.sum(axis=0)), lambda part: np.abs(part @ difference), signs, 2**n <= draws)


def groups(a: Floats, b: Floats, draws: int, seed: int) -> Floats:
    """Two-sided p of a comparison of two groups of people by Welch's t, which allows unequal variances.

    Args:
        a: (n, M)
        b: (m, M)
        draws: Number of random arrangements; all are used instead if there are no more than that.
        seed: Seed of the draws.
    """
    everybody = np.concatenate([a, b])
    exact = comb(len(everybody), len(a)) <= draws
    masks = _choices(len(everybody), len(a), draws, seed, exact)
    observed = np.zeros((1, len(everybody)))
    observed[0, : len(a)] = 1
    centred = everybody - everybody.mean(axis=0)
    return _p_values(_welch(observed, centred)[0], lambda part: _welch(part, centred), masks, exact)


def least_p(n: int, m: int | None, draws: int) -> float:
    """The smallest two-sided p that `pairs` (m is None) or `groups` can give.

    Args:
        n: People in a paired comparison, or in one group.
        m: People in the other group.
        draws: Number of random arrangements.
    """
    total, as_high = (2**n, 2) if m is None else (comb(n + m, n), 2 if n == m else 1)  # a swap is as high
    return as_high / total if total <= draws else 1 / (draws + 1)


def any_groups(levels: Sequence[Floats], draws: int, seed: int) -> tuple[Floats, Floats]:
    """(M,) F of one-way analysis of variance, and its p by permuting people between levels.

    Args:
        levels: (n_k, M) for each level.
        draws: Number of random arrangements.
        seed: Seed of the draws.
    """
    everybody = np.concatenate(list(levels))
    sizes = [len(level) for level in levels]
    centred = everybody - everybody.mean(axis=0)
    total = (centred**2).sum(axis=0)
    edges = np.cumsum([0, *sizes])[:-1]
    weights = np.array(sizes, float)[:, None]

    def f(orders: NDArray[Any]) -> Floats:
        sums = np.add.reduceat(centred[orders], edges, axis=1)  # (B, levels, M)
        between = (sums**2 / weights).sum(axis=1)
        return _ratio(between, total - between, total) * (len(everybody) - len(sizes)) / (len(sizes) - 1)

    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(len(everybody)), (draws, 1)), axis=1)
    observed = f(np.arange(len(everybody))[None])[0]
    return observed, _p_values(observed, f, orders, exact=False, width=everybody.size)


def any_pairs(levels: Sequence[Floats], draws: int, seed: int) -> tuple[Floats, Floats]:
    """(M,) F of repeated measures, and its p by permuting each person's own levels.

    Args:
        levels: (n, M) of the same people for each level.
        draws: Number of random arrangements.
        seed: Seed of the draws.
    """
    values = np.stack(list(levels), axis=1)  # (n, levels, M)
    n, k, _ = values.shape
    centred = values - values.mean(axis=1, keepdims=True)
    total = (centred**2).sum(axis=(0, 1))
    rng = np.random.default_rng(seed)

    def f(orders: NDArray[Any]) -> Floats:
        moved = np.take_along_axis(centred[None], orders[..., None], axis=2)  # (B, n, levels, M)
        between = (moved.sum(axis=1) ** 2).sum(axis=1) / n
        return _ratio(between, total - between, total) * (n - 1)

    orders = rng.permuted(np.tile(np.arange(k), (draws, n, 1)), axis=2)
    observed = f(np.tile(np.arange(k), (1, n, 1)))[0]
    return observed, _p_values(observed, f, orders, exact=False, width=values.size)


def _choices(total: int, chosen: int, draws: int, seed: int, exact: bool) -> Floats:
    """(B, total) 1 for those in the first group."""
    if exact:
        picks = np.array(list(combinations(range(total), chosen)))
    else:
        picks = np.random.default_rng(seed).permuted(np.tile(np.arange(total), (draws, 1)), axis=1)[:, :chosen]
    masks = np.zeros((len(picks), total))
    np.put_along_axis(masks, picks, 1.0, axis=1)
    return masks


def _welch(masks: Floats, values: Floats) -> Floats:
    """(B, M) squared t of the masked people against the others."""
    n = masks.sum(axis=1, keepdims=True)
    m = masks.shape[1] - n
    first, squares = masks @ values, masks @ values**2
    second, rest = values.sum(axis=0) - first, (values**2).sum(axis=0) - squares
    error = (squares - first**2 / n) / (n * (n - 1)) + (rest - second**2 / m) / (m * (m - 1))
    return _ratio((first / n - second / m) ** 2, error, (values**2).sum(axis=0))


def _ratio(squares: Floats, by: Floats, total: Floats) -> Floats:
    """(B, M) one sum of squares divided by another; without spread, 0 if there is no difference, else infinity.

    Args:
        squares: (B, M) squares explained by a difference.
        by: (B, M) residual squares.
        total: (M,) squares of all values.
    """
    squares, by = (np.where(part <= _ROUNDING * total + _ROUNDING**2, 0.0, part) for part in (squares, by))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((by == 0) & (squares == 0), 0.0, squares / by)


def _p_values(
    observed: Floats,
    statistic: Callable[[NDArray[Any]], Floats],
    arrangements: NDArray[Any],
    exact: bool,
    width: int = 0,
) -> Floats:
    """(M,) share of arrangements whose statistic is at least the observed one; NaN where that is unknown.

    Args:
        observed: (M,) statistic of the data.
        statistic: Gives (B, M) statistics of B arrangements.
        arrangements: All (exact) or random ones, along the first axis.
        exact: Whether they are all, the observed one among them.
        width: Numbers that the statistic holds in memory per arrangement.
    """
    as_high = np.zeros(len(observed))
    # Ties count. Small residuals, which make the statistic large, are a difference between sums that were rounded.
    tolerance = np.minimum(1e-9 + _ROUNDING * observed, 0.5)
    step = max(_CHUNK // max(width, len(observed), 1), 1)
    for start in range(0, len(arrangements), step):
        as_high += (statistic(arrangements[start : start + step]) >= observed * (1 - tolerance) - 1e-15).sum(axis=0)
    p = as_high / len(arrangements) if exact else (as_high + 1) / (len(arrangements) + 1)
    return np.where(np.isnan(observed), np.nan, p)
