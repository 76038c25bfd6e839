"""Smoothing of a video file's probabilities within each track, centred on each frame to avoid lag."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mftn.types import Face

T = TypeVar("T")

MIN_HALF_WINDOW_S = 1e-6
"""Smallest half-width of the window in seconds; anything less means no smoothing."""


@dataclass(frozen=True, slots=True)
class _Pending(Generic[T]):
    time: float
    faces: tuple[Face, ...]
    carried: T


class CentredSmoother(Generic[T]):
    """Averages each track's probabilities over the frames around every frame.

    Weights fall linearly to 0 at `seconds` before and after the frame, so each frame is returned with that delay.

    Args:
        seconds: Half the window's width; 0 turns smoothing off.
        max_pending: Largest number of waiting frames, 0 for no limit; above it, the window narrows on both sides.
    """

    def __init__(self, seconds: float, max_pending: int = 0) -> None:
        self.seconds, self.max_pending = seconds, max_pending or 100_000
        self._pending: deque[_Pending[T]] = deque()
        self._rows: dict[int, deque[tuple[float, NDArray[np.float64]]]] = defaultdict(deque)

    def push(self, time: float, faces: Sequence[Face], carried: T) -> Iterator[tuple[tuple[Face, ...], T]]:
        """Add a frame and yield the frames that are ready.

        Args:
            time: Its timestamp in seconds, later than the previous frame's.
            faces: Its faces, with tracks and unsmoothed probabilities.
            carried: Returned along with its faces.
        """
        self._pending.append(_Pending(time, tuple(faces), carried))
        for face in faces:
            if face.track is not None:
                self._rows[face.track].append((time, np.fromiter(face.probabilities.values(), float)))
        while self._pending and (time - self._pending[0].time >= self.seconds or len(self._pending) > self.max_pending):
            yield self._smoothed(self._pending.popleft(), time)

    def flush(self) -> Iterator[tuple[tuple[Face, ...], T]]:
        """Yield the remaining frames, at the end."""
        while self._pending:
            frame = self._pending.popleft()
            yield self._smoothed(frame, frame.time + self.seconds)

    def _smoothed(self, frame: _Pending[T], newest: float) -> tuple[tuple[Face, ...], T]:
        half = min(self.seconds, newest - frame.time)
        for track in [track for track, rows in self._rows.items() if rows[-1][0] < frame.time - self.seconds]:
            del self._rows[track]
        return tuple(self._smooth_face(face, frame.time, half) for face in frame.faces), frame.carried

    def _smooth_face(self, face: Face, time: float, half: float) -> Face:
        if face.track is None or half <= MIN_HALF_WINDOW_S:
            return face
        rows = self._rows[face.track]
        while rows[0][0] <= time - self.seconds:
            rows.popleft()
        weights = np.maximum(1 - np.abs(np.array([when for when, _ in rows]) - time) / half, 0)
        mean = weights @ np.stack([row for _, row in rows]) / weights.sum()
        return replace(face, probabilities=dict(zip(face.probabilities, mean.tolist(), strict=True)))
