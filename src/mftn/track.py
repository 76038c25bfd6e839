"""Faces followed through a video: stable numbers, a close look between detections, smoothed probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from mftn.faces.boxes import detect_near, overlap, turns_upright
from mftn.faces.yunet import YuNet
from mftn.recognize import Recognizer
from mftn.types import Detection, Face, Image

SAME = 0.3
"""Boxes that overlap at least this much (intersection over union) are one person's."""

FORGOTTEN = 1.0
"""Seconds without being seen after which a track ends."""

MARGIN = 0.75
"""The close look reaches this many box sides beyond the last box."""

WHOLE_SIDE = 960
"""Pixels of the longer side at which whole frames are looked at, unless the detector's size was chosen."""

NEAR_SIDE = 160
"""Pixels to which the close look scales what it sees."""


@dataclass(slots=True)
class _Track:
    number: int
    face: Detection
    seen: float
    probabilities: NDArray[np.float64]


class FaceTracker:
    """Turns frames into faces with tracks.

    Args:
        recognizer: Detects and classifies.
        detect_every: Frames from one detection in the whole picture to the next; 1 detects in every frame.
        smooth: Seconds over which probabilities are averaged; 0 is off.
    """

    def __init__(self, recognizer: Recognizer, detect_every: int = 5, smooth: float = 0.3) -> None:
        self.recognizer, self.detect_every, self.smooth = recognizer, detect_every, smooth
        detector = recognizer.detector
        self.whole = self.upright = self.near = detector
        if isinstance(detector, YuNet):
            least, size, threads = detector.min_score, detector.detect_size or WHOLE_SIDE, detector.threads
            self.whole = YuNet(least, detect_size=size, threads=threads)
            self.upright = YuNet(least, detect_size=size, threads=threads, turned=False)
            self.near = YuNet(least, detect_size=NEAR_SIDE, turned=False)
        self.tracks: list[_Track] = []
        self.frames = self.numbers = 0

    def update(self, image: Image, time: float) -> tuple[Face, ...]:
        """The faces of the next frame, each with its track.

        Args:
            image: H×W×3.
            time: Its moment in seconds.
        """
        whole = self.frames % self.detect_every == 0
        self.frames += 1
        self.tracks = [track for track in self.tracks if time - track.seen <= FORGOTTEN]
        if whole:
            found = self.whole.detect(image)
        else:  # frames without anybody are not looked at turned each time
            found = self._look_again(image) if self.tracks else self.upright.detect(image)
        if not found:
            return ()
        labels = self.recognizer.engine.info.labels
        rows = self.recognizer.engine.probabilities(self.recognizer.crops(image, found)).astype(np.float64)  # (n, K)
        faces = []
        for face, row, track in zip(found, rows, self._owners(found), strict=True):
            if track is None:
                self.numbers += 1
                track = _Track(self.numbers, face, time, row)  # noqa: PLW2901 (a new person)
                self.tracks.append(track)
            else:
                weight = 1 - exp(-(time - track.seen) / self.smooth) if self.smooth else 1.0
                track.probabilities = (1 - weight) * track.probabilities + weight * row
                track.face, track.seen = face, time
            shown = dict(zip(labels, track.probabilities.tolist(), strict=True))
            faces.append(Face(face.box, face.score, face.landmarks, shown, track.number))
        return tuple(faces)

    def _look_again(self, image: Image) -> list[Detection]:
        """The tracked faces, each looked for around its last place."""
        found: list[Detection] = []
        for track in self.tracks:
            turns = turns_upright(track.face)
            face = detect_near(self.near, image, track.face.box, margin=MARGIN, min_overlap=SAME, turns=turns)
            if face and all(overlap(face.box, other.box) < SAME for other in found):
                found.append(face)
        return found

    def _owners(self, found: Sequence[Detection]) -> list[_Track | None]:
        """The track of each face: the best overlaps first, each track once."""
        pairs = sorted(
            (
                (float(overlap(face.box, track.face.box)), i, j)
                for i, face in enumerate(found)
                for j, track in enumerate(self.tracks)
            ),
            reverse=True,
        )
        owners: list[_Track | None] = [None] * len(found)
        taken: set[int] = set()
        for value, i, j in pairs:
            if value >= SAME and owners[i] is None and j not in taken:
                owners[i] = self.tracks[j]
                taken.add(j)
        return owners
