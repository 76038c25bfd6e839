"""Time: how long each frame lasts, which part of a stretch it fills, and averages over stretches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mftn.analysis.table import Floats

ROUNDING = 1e-9
"""Tolerance in seconds for rounding: frame times and the decimals that people type rarely match exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """The frames of a recording.

    Attributes:
        times: (F,) seconds, ascending; empty for an image.
        durations: (F,) seconds: to the next frame, or the usual interval before a gap and at the end.
        gaps: Seconds in gaps between frames.
    """

    times: Floats
    durations: Floats
    gaps: float

    @property
    def start(self) -> float:
        """The first frame's timestamp."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """The time at which the last frame ends."""
        return float(self.times[-1] + self.durations[-1])


def make_clock(times: Floats, max_gap: float | None = None) -> Clock:
    """How long each frame lasts.

    Args:
        times: (F,) ascending.
        max_gap: Frames further apart than this many seconds have a gap between them; None for 1 s or 3 usual
            intervals, whichever is longer.
    """
    intervals = np.diff(times)
    if not len(intervals):
        return Clock(times, np.full(len(times), 0.04), 0.0)
    usual = float(np.median(intervals))
    durations = np.append(intervals, usual)
    gap = durations > (max(1.0, 3 * usual) if max_gap is None else max_gap) + ROUNDING
    lost = float((durations[gap] - usual).clip(0).sum())
    return Clock(times, np.where(gap, np.minimum(usual, durations), durations), lost)


def overlaps(times: Floats, durations: Floats, start: float, end: float) -> tuple[slice, Floats, Floats]:
    """The samples that overlap [start, end): which they are, when each overlap begins, and its length in seconds.

    A neighbour that overlaps only through rounding gets 0 seconds: it is neither a frame nor the peak of the stretch.
    """
    first = max(int(np.searchsorted(times, start, side="right")) - 1, 0)
    last = int(np.searchsorted(times, end, side="left"))
    part = slice(first, max(first, last))
    begins = np.maximum(times[part], start)
    filled = np.minimum(times[part] + durations[part], end) - begins
    return part, begins, np.where(filled > ROUNDING, filled, 0.0)


class Integral:
    """Integral of a person's values as a step function of time; unseen time has no weight.

    Args:
        times: (n,) ascending.
        durations: (n,) seconds for which each value holds.
        values: (n, M)
    """

    def __init__(self, times: Floats, durations: Floats, values: Floats) -> None:
        self.knots = np.column_stack([times, times + durations]).ravel()
        weighted = np.column_stack([durations, durations[:, None] * values])
        ends = np.cumsum(weighted, axis=0)
        self.sums = np.stack([ends - weighted, ends], axis=1).reshape(-1, weighted.shape[1])

    def means(self, starts: Floats, ends: Floats) -> tuple[Floats, Floats]:
        """Averages over stretches.

        Args:
            starts: (B,)
            ends: (B,)

        Returns:
            (B, M) means, NaN where nothing was seen, and (B,) seconds seen.
        """
        if not len(self.knots):
            return np.full((len(starts), self.sums.shape[1] - 1), np.nan), np.zeros(len(starts))
        between = self._at(ends) - self._at(starts)
        seen = between[:, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(seen[:, None] > 1e-9, between[:, 1:] / seen[:, None], np.nan), seen

    def _at(self, times: Floats) -> Floats:
        """The integrals up to each time."""
        right = np.searchsorted(self.knots, times).clip(1, len(self.knots) - 1)
        low, high = self.knots[right - 1], self.knots[right]
        part = np.divide(times - low, high - low, out=np.zeros(len(times)), where=high > low).clip(0, 1)
        return self.sums[right - 1] + part[:, None] * (self.sums[right] - self.sums[right - 1])


def smooth(times: Floats, durations: Floats, values: Floats, width: float) -> Floats:
    """Centred moving average over `width` seconds of seen time, weighted by time; being centred, it adds no delay.

    Args:
        times: (n,)
        durations: (n,)
        values: (n, M)
        width: Seconds; 0 leaves the values as they are.
    """
    if width <= 0 or not len(times):
        return values
    centres = times + durations / 2
    means, _ = Integral(times, durations, values).means(centres - width / 2, centres + width / 2)
    return np.where(np.isnan(means), values, means)
