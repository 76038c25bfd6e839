"""Faces followed through a video: stable numbers, second looks between detections, smoothed probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

import numpy as np
from numpy.typing import NDArray

from mftn.faces.boxes import detect_near, overlap, turns_upright
from mftn.faces.yunet import YuNet
from mftn.recognize import Recognizer
from mftn.types import Box, Detection, Face, Image
from mftn.video.appearance import Appearance, alike, appearance
from mftn.video.clock import Clock
from mftn.video.cuts import Thumbnail, compare, thumbnail

SAME = 0.3
"""Boxes that overlap at least this much (intersection over union) may be one person's."""

FORGOTTEN = 1.0
"""Seconds without being seen after which a track ends; two and a half frames where these are further apart."""

STALE = 0.5
"""Seconds after which the last look at the whole image is too old to look near the last boxes only."""

APART = 0.3
"""Seconds between frames from which another view is no sure cut: somebody moved, or the camera did."""

RETURN = 0.5
"""Seconds within which a scene that comes back after a cut takes up its tracks again."""

MARGIN = 0.75
"""The second look reaches this many box sides beyond the last box."""

WHOLE_SIDE = 960
"""Pixels of the longer side at which whole frames are looked at, unless the detector's size was chosen."""

NEAR_SIDE = 160
"""Pixels to which the second look scales what it sees."""

AGAIN = 0.75
"""Correlation of two appearances from which a face is the same person's where little else in the image stayed."""


@dataclass(slots=True)
class _Track:
    number: int
    face: Detection
    seen: float
    probabilities: NDArray[np.float64]
    appearance: Appearance


@dataclass(frozen=True, slots=True)
class _Change:
    """What happened to the scene from one frame to the next.

    Attributes:
        cut: A new shot begins, which ended all tracks.
        doubtful: Frames this far apart look different; it may be a cut, or somebody moved.
        shift: By how many pixels (x, y) the scene moved.
    """

    cut: bool = False
    doubtful: bool = False
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Shot:
    """The shot before a cut, as it was last seen."""

    view: Thumbnail
    tracks: list[_Track]
    time: float


class FaceTracker:
    """Turns frames into faces with tracks.

    Args:
        recognizer: Detects and classifies.
        detect_every: Frames from one detection in the whole image to the next; 1 detects in every frame.
        smooth: Seconds over which probabilities are averaged with those before; 0 is off.
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
        self.clock = Clock(step=0.04, max_gap=float("inf"))
        self.tracks: list[_Track] = []
        self.numbers = self.cuts = 0
        self._since_look, self._looked = 0, float("-inf")  # frames and time since the whole image was looked at
        self._size: tuple[int, ...] | None = None
        self._view: Thumbnail | None = None
        self._before: _Shot | None = None

    def update(self, image: Image, time: float) -> tuple[Face, ...]:
        """The faces of the next frame, each with its track.

        Args:
            image: H×W×3.
            time: Its timestamp in seconds; one that falls counts as a restarted clock.
        """
        last = self.clock.time
        now = self.clock.tick(time)
        self._fit_size(image)
        change = self._compare_view(image, last, now)
        keep = max(FORGOTTEN, 2.5 * self.clock.step)
        self.tracks = [track for track in self.tracks if now - track.seen <= keep]
        found = self._find(image, last, now, change.cut)
        if not found:
            return ()
        labels = self.recognizer.engine.spec.labels
        crops = self.recognizer.crops(image, found)
        rows = self.recognizer.engine.probabilities(crops).astype(np.float64)  # (n, K)
        looks = [appearance(image, face, crop) for face, crop in zip(found, crops, strict=True)]
        owners = self._owners(found, looks, image, change)
        faces = []
        for face, row, look, track in zip(found, rows, looks, owners, strict=True):
            if track is None:
                self.numbers += 1
                track = _Track(self.numbers, face, now, row, look)  # noqa: PLW2901 (a new person)
                self.tracks.append(track)
            else:
                weight = 1 - exp(-(now - track.seen) / self.smooth) if self.smooth else 1.0
                track.probabilities = (1 - weight) * track.probabilities + weight * row
                track.face, track.seen, track.appearance = face, now, look
            shown = dict(zip(labels, track.probabilities.tolist(), strict=True))
            faces.append(Face(face.box, face.score, face.landmarks, shown, track.number))
        return tuple(faces)

    def _fit_size(self, image: Image) -> None:
        """Where the clip changes its size, the boxes change theirs."""
        if self._size and self._size != image.shape[:2]:
            height, width = image.shape[0] / self._size[0], image.shape[1] / self._size[1]
            for track in self.tracks:
                left, top, right, bottom = track.face.box
                track.face = replace(track.face, box=(left * width, top * height, right * width, bottom * height))
        self._size = image.shape[:2]

    def _compare_view(self, image: Image, last: float | None, now: float) -> _Change:
        """What changed since the last frame; a cut ends the tracks, or brings back those of the shot before."""
        view, before = thumbnail(image), self._view
        if before is None or last is None:
            self._view = view
            return _Change()
        compared = compare(before, view)
        if compared.same:
            if not view.plain:
                self._view = view
            return _Change(shift=(compared.shift[0] * image.shape[1], compared.shift[1] * image.shape[0]))
        self._view = view
        if now - last >= APART:
            return _Change(doubtful=True)
        self.cuts += 1
        ended, self._before = self._before, _Shot(before, self.tracks, last)
        back = ended and now - ended.time <= RETURN and compare(ended.view, view).same
        self.tracks = ended.tracks if ended and back else []
        return _Change(cut=True)

    def _find(self, image: Image, last: float | None, now: float, cut: bool) -> list[Detection]:
        """Faces near those of the last frame, or in the whole image where that is too old or misses one of them."""
        due = cut or self._since_look + 1 >= self.detect_every or now - self._looked >= STALE
        if due:
            self._since_look, self._looked = 0, now
            # Where all are upright nobody is looked for turned: a flash would otherwise show faces that are none.
            turned = not self.tracks or any(turns_upright(track.face) for track in self.tracks)
            return (self.whole if turned else self.upright).detect(image)
        self._since_look += 1
        if self.tracks:
            found, lost = self._look_near(image, last)
            if not lost:
                return found
        return self.upright.detect(image)  # turned faces are left to the frames that are due

    def _look_near(self, image: Image, last: float | None) -> tuple[list[Detection], bool]:
        """The tracked faces, each looked for around its last location; whether one of the last frame's is missing."""
        found: list[Detection] = []
        lost = False
        for track in self.tracks:
            turns = turns_upright(track.face)
            face = detect_near(self.near, image, track.face.box, margin=MARGIN, min_overlap=SAME, turns=turns)
            if face is None:
                lost = lost or track.seen == last
            elif all(overlap(face.box, other.box) < SAME for other in found):
                found.append(face)
        return found, lost

    def _owners(
        self, found: Sequence[Detection], looks: Sequence[Appearance], image: Image, change: _Change
    ) -> list[_Track | None]:
        """The track of each face: the likeliest first, each track once."""
        pairs = sorted(
            (
                (likelihood, i, j)
                for i, (face, look) in enumerate(zip(found, looks, strict=True))
                for j, track in enumerate(self.tracks)
                if (likelihood := self._likelihood(track, face, look, image, change)) is not None
            ),
            reverse=True,
        )
        owners: list[_Track | None] = [None] * len(found)
        taken: set[int] = set()
        for _, i, j in pairs:
            if owners[i] is None and j not in taken:
                owners[i] = self.tracks[j]
                taken.add(j)
        return owners

    def _likelihood(
        self, track: _Track, face: Detection, look: Appearance, image: Image, change: _Change
    ) -> float | None:
        """How likely a face is a track's, higher is likelier; None where it is not.

        A face may move by three quarters of a side, further the longer it was not seen, and with the camera. It must
        look like it did: from frame to frame a face hardly changes, over seconds it may turn and smile.
        """
        away = (self.clock.time or 0.0) - track.seen
        size = max(_side(track.face.box), 1.0)
        distance = min(_distance(track.face.box, face.box, moved) for moved in ((0.0, 0.0), change.shift)) / size
        shared = float(overlap(track.face.box, face.box))
        near = distance <= min(0.75 + 2 * away, 3.0) and 0.4 < _side(face.box) / size < 2.5
        if shared < SAME and not near:
            return None
        likeness = alike(track.appearance, look, image)
        least = AGAIN if change.doubtful else 0.3 + 0.4 * exp(-away / 0.5)
        if likeness is not None and likeness < least * min(_side(face.box) / 60, 1.0):  # small faces are vague
            return None
        return shared + (0.5 if likeness is None else likeness) - 0.2 * distance


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _distance(first: Box, second: Box, moved: tuple[float, float]) -> float:
    """Pixels between the centres of two boxes, the first one moved."""
    x = (second[0] + second[2] - first[0] - first[2]) / 2 - moved[0]
    y = (second[1] + second[3] - first[1] - first[3]) / 2 - moved[1]
    return float(np.hypot(x, y))
