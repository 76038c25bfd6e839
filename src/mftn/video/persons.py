"""A summary of each person in a video, in bounded memory whatever the video's length."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mftn.types import Face, Prediction
from mftn.video.clock import Clock

MAX_BINS = 2048
"""Largest number of time bins; when a video needs more, pairs are merged."""

FIRST_BIN_S = 0.05
"""Initial width of a bin in seconds."""

PRESENCE_GAP_S = 1.0
"""Longest absence in seconds that still counts as presence; at least two and a half frame intervals."""

MAX_PERSONS = 1000
"""Largest number of persons kept separately; beyond it, those seen in the fewest frames are only counted."""

RECENT_S = 60.0
"""Seconds of absence after which a person may be merged into that count."""


@dataclass(slots=True)
class Person:
    """Statistics of one track.

    Attributes:
        first: Time in seconds of the first frame.
        last: Time in seconds of the latest frame.
        frames: Number of frames in which it was seen.
        wins: Number of frames in which each class was the most probable, (K,).
        bins: For each time bin, the sum of the probabilities and the number of frames, (K + 1,).
    """

    first: float
    last: float
    frames: int
    wins: NDArray[np.int64]
    bins: dict[int, NDArray[np.float64]] = field(default_factory=dict)


class Persons:
    """Summarises the predictions of a video, frame by frame.

    Attributes:
        by_track: The persons kept separately, by track number.
        others: Number of further persons.
        width: Width of a time bin in seconds.
        labels: The classes.
        begin: Time in seconds of the first frame; None until then.
        end: Time in seconds of the latest frame.
    """

    def __init__(self) -> None:
        self.by_track: dict[int, Person] = {}
        self.others = 0
        self.width = FIRST_BIN_S
        self.labels: tuple[str, ...] = ()
        self.begin: float | None = None
        self.end = 0.0
        self._clock = Clock(step=0.04, max_gap=float("inf"))

    def add(self, prediction: Prediction) -> None:
        """Add a frame."""
        if prediction.time is None:
            return
        self._clock.tick(prediction.time)
        self.begin = prediction.time if self.begin is None else self.begin
        self.end = prediction.time
        while prediction.time >= MAX_BINS * self.width:
            self._halve()
        for face in prediction.faces:
            if face.track is not None:
                self._add_face(face.track, face, prediction.time)
        if len(self.by_track) > 1.25 * MAX_PERSONS:
            self._merge_rare(prediction.time)

    def _add_face(self, track: int, face: Face, time: float) -> None:
        self.labels = self.labels or tuple(face.probabilities)
        row = np.fromiter(face.probabilities.values(), float)
        person = self.by_track.get(track)
        if person is None:
            person = self.by_track[track] = Person(time, time, 0, np.zeros(len(row), np.int64))
        here = int(time / self.width)
        gap = max(PRESENCE_GAP_S, 2.5 * self._clock.step)
        begin = int(person.last / self.width) + 1 if person.frames and time - person.last <= gap else here
        for k in range(min(begin, here), here + 1):  # also fill the bins between two frames of a slow video
            person.bins.setdefault(k, np.zeros(len(row) + 1))[:] += (*row, 1)
        person.last, person.frames = time, person.frames + 1
        person.wins[row.argmax()] += 1

    def _halve(self) -> None:
        """Merge pairs of bins."""
        self.width *= 2
        for person in self.by_track.values():
            bins: dict[int, NDArray[np.float64]] = {}
            for k, total in person.bins.items():
                bins[k // 2] = bins[k // 2] + total if k // 2 in bins else total
            person.bins = bins

    def _merge_rare(self, now: float) -> None:
        gone = sorted(
            (track for track, person in self.by_track.items() if now - person.last > RECENT_S),
            key=lambda track: self.by_track[track].frames,
        )
        for track in gone[: len(self.by_track) - MAX_PERSONS]:
            del self.by_track[track]
            self.others += 1
