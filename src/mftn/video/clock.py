"""A clock that turns raw timestamps into times that start at 0 and always increase."""

from __future__ import annotations

from collections import deque
from math import isfinite
from statistics import median

RESTART_TOLERANCE_S = 0.2
"""Seconds that a timestamp may fall behind its predecessor before the clock counts as restarted."""

MIN_STEP_S = 1e-6
"""Smallest plausible time between two frames in seconds; anything less is rounding."""


class Clock:
    """A clock that follows raw timestamps while they are plausible, and continues by itself where they are not.

    A gap stays a gap. A timestamp that is missing, falls back, or jumps further than `max_gap` is replaced by one
    usual step. After a restart (two recordings in one file, a reset camera) the clock continues from there.

    Args:
        step: Seconds from frame to frame, until the timestamps reveal it.
        max_gap: The longest plausible gap in seconds.

    Attributes:
        time: Seconds of the latest frame; None before the first.
        offset: Current difference between time and raw timestamp; None before the first timestamp.
    """

    def __init__(self, step: float, max_gap: float) -> None:
        self.max_gap = max_gap
        self.time: float | None = None
        self.offset: float | None = None
        self._steps = deque([min(step, max_gap)], maxlen=9)

    @property
    def step(self) -> float:
        """The usual seconds from frame to frame."""
        return median(self._steps)

    def tick(self, raw: float | None) -> float:
        """The time of the next frame in seconds, always later than the previous frame's.

        Args:
            raw: Its timestamp in seconds from the source; None where it has none.
        """
        self.time = self._next(raw if raw is not None and isfinite(raw) else None)
        return self.time

    def set(self, other: Clock) -> None:
        """Copy the state of another clock."""
        self.time, self.offset, self._steps = other.time, other.offset, deque(other._steps, maxlen=9)

    def resume(self, gap: float) -> None:
        """Continue after a loss: the next frame comes this many seconds after the latest, whatever its timestamp."""
        if self.time is not None:
            self.time = max(self.time, self.time + gap - self.step)
        self.offset = None

    def _next(self, raw: float | None) -> float:
        expected = 0.0 if self.time is None else self.time + self.step
        if raw is None:
            return expected
        if self.offset is None or self.time is None:
            self.offset = expected - raw
            return expected
        shifted = raw + self.offset
        ahead = shifted - self.time
        if not -RESTART_TOLERANCE_S < ahead <= self.max_gap:
            self.offset = expected - raw
            return expected
        if ahead > MIN_STEP_S:
            self._steps.append(ahead)
            return shifted
        return self.time + min(self.step, RESTART_TOLERANCE_S / 2)  # a repeated timestamp: later ones catch up
