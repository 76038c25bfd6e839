"""Statistics of one person in one stretch of time, weighted by how long each frame lasts."""

from dataclasses import dataclass, fields

import numpy as np

from mftn.analysis.table import Floats

PERCENTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """Statistics of M signals, each (M,); NaN where nothing was seen.

    Attributes:
        mean: Mean weighted by time.
        sd: Standard deviation weighted by time.
        p05: 5th percentile over time.
        p50: The median over time.
        p95: 95th percentile over time.
        peak: The highest value.
        peak_time: Time of the peak in seconds; the first one if there are ties.
        slope: Change per minute of the weighted least-squares line.
    """

    mean: Floats
    sd: Floats
    p05: Floats
    p50: Floats
    p95: Floats
    peak: Floats
    peak_time: Floats
    slope: Floats

    def stack(self) -> Floats:
        """(8, M), one row per statistic in the order of `MEASURES`."""
        return np.stack([getattr(self, name) for name in MEASURES])


MEASURES = tuple(field.name for field in fields(Measures))


def measure(values: Floats, weights: Floats, begins: Floats | None) -> Measures:
    """Measure signals over a stretch.

    Args:
        values: (n, M)
        weights: (n,) seconds, or 1 for each image.
        begins: (n,) seconds at which each value begins; None for images, which have neither slope nor peak time.
    """
    kept = weights > 0
    if not kept.all():
        values, weights, begins = values[kept], weights[kept], None if begins is None else begins[kept]
    nothing = np.full(values.shape[1], np.nan)
    if not len(weights):
        return Measures(*[nothing] * len(MEASURES))
    mean = weights @ values / weights.sum()
    sd = np.sqrt(weights @ (values - mean) ** 2 / weights.sum())
    low, middle, high = _percentiles(values, weights)
    top = values.argmax(axis=0)
    peak = values[top, np.arange(len(top))]
    if begins is None:
        return Measures(mean, sd, low, middle, high, peak, nothing, nothing)
    peak_time = np.where(np.isnan(mean), np.nan, begins[top])
    return Measures(mean, sd, low, middle, high, peak, peak_time, _slope(values - mean, weights, begins + weights / 2))


def _percentiles(values: Floats, weights: Floats) -> Floats:
    """(3, M): the smallest value such that at least this share of the weights is at or below it."""
    order = values.argsort(axis=0)
    reached = weights[order].cumsum(axis=0)
    goals = np.array(PERCENTILES) * weights.sum() * (1 - 1e-12)
    index = np.stack([(reached < goal).sum(axis=0) for goal in goals]).clip(max=len(values) - 1)
    columns = np.arange(values.shape[1])
    return np.stack([values[order[row, columns], columns] for row in index])


def _slope(centred: Floats, weights: Floats, times: Floats) -> Floats:
    times = times - weights @ times / weights.sum()
    spread = weights @ times**2
    if spread <= 0:
        return np.full(centred.shape[1], np.nan)
    return 60 * (weights * times) @ centred / spread


def top_shares(values: Floats, weights: Floats) -> Floats:
    """Share of the seen time in which each expression is the most probable one; NaN for unknown expressions.

    Args:
        values: (n, K) probabilities.
        weights: (n,)
    """
    total = weights.sum()
    if total <= 0:
        return np.full(values.shape[1], np.nan)
    known = ~np.isnan(values).all(axis=0)
    top = np.nan_to_num(values, nan=-1.0).argmax(axis=1)
    return np.where(known, np.bincount(top, weights, values.shape[1]) / total, np.nan)
