"""The sound of a clip: packets put onto the clock of its frames."""

from __future__ import annotations

from collections import deque
from typing import Any

from mftn.video.clock import TOLERANCE, Clock

MOST_WAITING = 2000
"""Packets (some forty seconds) that wait for the frames' clock; older ones are omitted."""


class Sound:
    """Packets of one audio stream, each with its time in seconds on the frames' clock.

    A clock that restarts is seen in packets of sound before the first frame after it is decoded: such packets wait
    until the frames' clock has followed.

    Args:
        stream: Whose packets come.
        clock: Of the frames.
        start: Seconds from where sound is kept.
        end: Seconds after which none is; None for all.

    Attributes:
        ready: Packets and their times, oldest first; whoever uses them takes them out.
        complete: Whether sound after `end` was seen.
    """

    def __init__(self, stream: Any, clock: Clock, start: float, end: float | None) -> None:
        self.stream, self.clock = stream, clock
        self.start = start or float("-inf")  # sound may begin before the first frame
        self.end = float("inf") if end is None else end
        self.ready: deque[tuple[Any, float]] = deque()
        self.complete = False
        self._waiting: deque[Any] = deque(maxlen=MOST_WAITING)
        self._last = float("-inf")

    def add(self, packet: Any) -> None:
        """Take in the next packet."""
        self._waiting.append(packet)
        self.settle()

    def settle(self) -> None:
        """Give times to the packets that fit the clock as it is now."""
        while self._waiting and self.clock.offset is not None and self.clock.time is not None:
            time = float(self._waiting[0].dts * self._waiting[0].time_base) + self.clock.offset
            if not self._last - TOLERANCE < time <= self.clock.time + self.clock.max_gap:
                return
            packet, self._last = self._waiting.popleft(), time
            if self.start <= time <= self.end:
                self.ready.append((packet, time))
            self.complete = self.complete or time > self.end
