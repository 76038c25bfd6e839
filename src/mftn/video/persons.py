"""What a video shows of each person, in bounded memory however long it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mftn.types import Face, Prediction
from mftn.video.clock import Clock

BINS = 2048
"""Time bins at most; when a video outgrows them, two become one."""

FIRST_WIDTH = 0.05
"""Seconds of a bin at first."""

GAP = 1.0
"""Seconds without a person that are no gap yet; two and a half frames where these are further apart."""

MOST = 1000
"""Persons that are told apart; of more, those seen in the fewest frames are counted together."""

RECENT = 60.0
"""Seconds after which a person who is gone may be counted with the others."""


@dataclass(slots=True)
class Person:
    """What was seen of one track.

    Attributes:
        first: Seconds of the first frame.
        last: Seconds of the latest frame.
        frames: In how many it was seen.
        wins: For every class, in how many frames it was the most probable, (K,).
        bins: For every time bin, the sum of the probabilities in it and their number, (K + 1,).
    """

    first: float
    last: float
    frames: int
    wins: NDArray[np.int64]
    bins: dict[int, NDArray[np.float64]] = field(default_factory=dict)


class Persons:
    """Takes in predictions of a video, frame by frame.

    Attributes:
        by_track: The persons that are told apart.
        others: How many more there were.
        width: Seconds of a time bin.
        labels: The classes.
    """

    def __init__(self) -> None:
        self.by_track: dict[int, Person] = {}
        self.others = 0
        self.width = FIRST_WIDTH
        self.labels: tuple[str, ...] = ()
        self._clock = Clock(step=0.04, max_gap=float("inf"))

    def add(self, prediction: Prediction) -> None:
        """Take in a frame."""
        if prediction.time is None:
            return
        self._clock.tick(prediction.time)
        while prediction.time >= BINS * self.width:
            self._halve()
        for face in prediction.faces:
            if face.track is not None:
                self._add_face(face.track, face, prediction.time)
        if len(self.by_track) > 1.25 * MOST:
            self._merge_rare(prediction.time)

    def _add_face(self, track: int, face: Face, time: float) -> None:
        self.labels = self.labels or tuple(face.probabilities)
        row = np.fromiter(face.probabilities.values(), float)
        person = self.by_track.get(track)
        if person is None:
            person = self.by_track[track] = Person(time, time, 0, np.zeros(len(row), np.int64))
        here = int(time / self.width)
        gap = max(GAP, 2.5 * self._clock.step)
        begin = int(person.last / self.width) + 1 if person.frames and time - person.last <= gap else here
        for k in range(min(begin, here), here + 1):  # bins between two frames of a slow video are seen too
            person.bins.setdefault(k, np.zeros(len(row) + 1))[:] += (*row, 1)
        person.last, person.frames = time, person.frames + 1
        person.wins[row.argmax()] += 1

    def _halve(self) -> None:
        """Make two bins one."""
        self.width *= 2
        for person in self.by_track.values():
            bins: dict[int, NDArray[np.float64]] = {}
            for k, total in person.bins.items():
                bins[k // 2] = bins[k // 2] + total if k // 2 in bins else total
            person.bins = bins

    def _merge_rare(self, now: float) -> None:
        gone = sorted(
            (track for track, person in self.by_track.items() if now - person.last > RECENT),
            key=lambda track: self.by_track[track].frames,
        )
        for track in gone[: len(self.by_track) - MOST]:
            del self.by_track[track]
            self.others += 1
