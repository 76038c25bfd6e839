"""Sampling in seconds: the frames nearest to evenly spaced times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil, floor
from typing import TypeVar

from mftn.video.clock import Clock

T = TypeVar("T")

ROUNDING_S = 1e-6
"""Seconds by which a time may miss a multiple and still count as equal to it."""


def nearest(
    frames: Iterable[tuple[int, float, T]], rate: float, start: float, clock: Clock
) -> Iterator[tuple[int, float, T]]:
    """The frame nearest to each multiple of 1/rate seconds, from `start` on; each frame at most once.

    A frame is held until the next one arrives, which may be nearer.

    Args:
        frames: (number, time in seconds, content), in order.
        rate: Frames per second.
        start: Earliest time in seconds.
        clock: The clock of the frames, which at the end gives the duration of the last one.
    """
    wanted = ceil((start - ROUNDING_S) * rate)
    last: tuple[int, float, T] | None = None
    given = -1
    for frame in frames:
        latest = floor((frame[1] + ROUNDING_S) * rate)
        for multiple in sorted({wanted, latest}) if latest >= wanted else ():  # others share a frame with these
            ahead = frame[1] - multiple / rate
            closest = last if last and multiple / rate - last[1] <= ahead + ROUNDING_S else frame
            if closest[0] > given:
                given = closest[0]
                yield closest
        wanted = max(wanted, latest + 1)
        last = frame
    if last and last[0] > given and wanted / rate < last[1] + clock.step - ROUNDING_S:
        yield last
