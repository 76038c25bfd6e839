"""The sound of a clip: its packets, timed by the clock of the frames."""

from __future__ import annotations

from collections import deque
from typing import Any

from mftn.video.clock import RESTART_TOLERANCE_S, Clock

MAX_WAITING_PACKETS = 2000
"""Largest number of packets (about forty seconds) that wait for the frames' clock; older ones are dropped."""


class Sound:
    """Packets of one audio stream, each with its time in seconds on the frames' clock.

    After a restart of the clock, sound packets may arrive before the first frame is decoded; they wait until the
    frames' clock has followed.

    Args:
        stream: The audio stream.
        clock: The clock of the frames.
        start: Earliest time in seconds to keep.
        end: Latest time in seconds to keep; None for no limit.

    Attributes:
        ready: Packets and their times, oldest first; the consumer removes them.
        complete: Whether sound later than `end` has been read.
    """

    def __init__(self, stream: Any, clock: Clock, start: float, end: float | None) -> None:
        self.stream, self.clock = stream, clock
        self.start = start or float("-inf")  # sound may begin before the first frame
        self.end = float("inf") if end is None else end
        self.ready: deque[tuple[Any, float]] = deque()
        self.complete = False
        self._waiting: deque[Any] = deque(maxlen=MAX_WAITING_PACKETS)
        self._last = float("-inf")

    def add(self, packet: Any) -> None:
        """Add the next packet."""
        self._waiting.append(packet)
        self.settle()

    def settle(self) -> None:
        """Assign times to the packets that fit the current state of the clock."""
        while self._waiting and self.clock.offset is not None and self.clock.time is not None:
            time = float(self._waiting[0].dts * self._waiting[0].time_base) + self.clock.offset
            if not self._last - RESTART_TOLERANCE_S < time <= self.clock.time + self.clock.max_gap:
                return
            packet, self._last = self._waiting.popleft(), time
            if self.start <= time <= self.end:
                self.ready.append((packet, time))
            self.complete = self.complete or time > self.end
