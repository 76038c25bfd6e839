"""Face tracking in videos: stable numbers, local detection between full detections, smoothed probabilities."""

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

MATCH_IOU = 0.3
"""Intersection over union above which two boxes may belong to one person."""

TRACK_TIMEOUT_S = 1.0
"""Seconds after which the track of an unseen person ends; two and a half frames where that is longer."""

DETECTION_MAX_AGE_S = 0.5
"""Seconds after which the whole image is searched again, instead of only the surroundings of the last boxes."""

DOUBTFUL_CUT_GAP_S = 0.3
"""Seconds between frames above which a changed view need not be a cut: a person or the camera may have moved."""

SHOT_RETURN_S = 0.5
"""Seconds within which a shot that returns after a cut resumes its tracks."""

NEAR_MARGIN = 0.75
"""Width of the border around the last box that is also searched, as a fraction of the box's side."""

WHOLE_FRAME_SIDE = 960
"""Length in pixels of the longer side at which whole frames are searched, unless a detection size was chosen."""

NEAR_SIDE = 160
"""Length in pixels of the longer side to which the surroundings of the last box are scaled."""

SAME_PERSON_CORRELATION = 0.75
"""Correlation above which two appearances show the same person where the rest of the image has changed."""


@dataclass(slots=True)
class _Track:
    number: int
    face: Detection
    seen: float
    probabilities: NDArray[np.float64]
    appearance: Appearance


@dataclass(frozen=True, slots=True)
class _Change:
    """How the scene changed from one frame to the next.

    Attributes:
        cut: A new shot begins, so all tracks have ended.
        doubtful: Two frames far apart in time look different: it may be a cut, or a person moved.
        shift: Movement of the scene in pixels, (x, y).
    """

    cut: bool = False
    doubtful: bool = False
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Shot:
    """The shot before a cut, in its last frame."""

    view: Thumbnail
    tracks: list[_Track]
    time: float


class FaceTracker:
    """Assigns the faces of each frame to tracks.

    Args:
        recognizer: Detects and classifies.
        detect_every: Interval in frames between detections in the whole image; 1 detects in every frame.
        smooth: Time constant in seconds of the average over earlier frames; 0 turns smoothing off.
    """

    def __init__(self, recognizer: Recognizer, detect_every: int = 5, smooth: float = 0.3) -> None:
        self.recognizer, self.detect_every, self.smooth = recognizer, detect_every, smooth
        detector = recognizer.detector
        self.whole = self.upright = self.near = detector
        if isinstance(detector, YuNet):
            least, size, threads = detector.min_score, detector.detect_size or WHOLE_FRAME_SIDE, detector.threads
            self.whole = YuNet(least, detect_size=size, threads=threads)
            self.upright = YuNet(least, detect_size=size, threads=threads, turned=False)
            self.near = YuNet(least, detect_size=NEAR_SIDE, turned=False)
        self.clock = Clock(step=0.04, max_gap=float("inf"))
        self.tracks: list[_Track] = []
        self.numbers = self.cuts = 0
        self._frames_since_full, self._full_at = 0, float("-inf")  # the last detection in the whole image
        self._size: tuple[int, ...] | None = None
        self._view: Thumbnail | None = None
        self._before: _Shot | None = None

    def update(self, image: Image, time: float) -> tuple[Face, ...]:
        """The faces of the next frame, each with its track.

        Args:
            image: H×W×3.
            time: Its timestamp in seconds; if it decreases, the clock is taken to have restarted.
        """
        last = self.clock.time
        now = self.clock.tick(time)
        self._fit_size(image)
        change = self._compare_view(image, last, now)
        keep = max(TRACK_TIMEOUT_S, 2.5 * self.clock.step)
        self.tracks = [track for track in self.tracks if now - track.seen <= keep]
        found = self._find(image, last, now, change.cut)
        if not found:
            return ()
        labels = self.recognizer.engine.spec.labels
        crops = self.recognizer.crops(image, found)
        rows = self.recognizer.probabilities(crops).astype(np.float64)  # (n, K)
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
        """Scale the tracks' boxes if the frame size has changed."""
        if self._size and self._size != image.shape[:2]:
            height, width = image.shape[0] / self._size[0], image.shape[1] / self._size[1]
            for track in self.tracks:
                left, top, right, bottom = track.face.box
                track.face = replace(track.face, box=(left * width, top * height, right * width, bottom * height))
        self._size = image.shape[:2]

    def _compare_view(self, image: Image, last: float | None, now: float) -> _Change:
        """How the view changed since the last frame; a cut ends the tracks, or resumes those of the previous shot."""
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
        if now - last >= DOUBTFUL_CUT_GAP_S:
            return _Change(doubtful=True)
        self.cuts += 1
        ended, self._before = self._before, _Shot(before, self.tracks, last)
        back = ended and now - ended.time <= SHOT_RETURN_S and compare(ended.view, view).same
        self.tracks = ended.tracks if ended and back else []
        return _Change(cut=True)

    def _find(self, image: Image, last: float | None, now: float, cut: bool) -> list[Detection]:
        """Detect near the last frame's faces, or in the whole image if a full detection is due or a face was lost."""
        due = cut or self._frames_since_full + 1 >= self.detect_every or now - self._full_at >= DETECTION_MAX_AGE_S
        if due:
            self._frames_since_full, self._full_at = 0, now
            # If all faces are upright, do not search for faces in quarter turns: a flash causes false detections.
            turned = not self.tracks or any(turns_upright(track.face) for track in self.tracks)
            return (self.whole if turned else self.upright).detect(image)
        self._frames_since_full += 1
        if self.tracks:
            found, lost = self._detect_near(image, last)
            if not lost:
                return sorted(found, key=lambda face: face.score or 0.0, reverse=True)  # in the order of a detector
        return self.upright.detect(image)  # turned faces wait for the next full detection

    def _detect_near(self, image: Image, last: float | None) -> tuple[list[Detection], bool]:
        """Search for each tracked face around its last location; also whether a face of the last frame is missing."""
        found: list[Detection] = []
        lost = False
        for track in self.tracks:
            turns = turns_upright(track.face)
            face = detect_near(self.near, image, track.face.box, margin=NEAR_MARGIN, min_overlap=MATCH_IOU, turns=turns)
            if face is None:
                lost = lost or track.seen == last
            elif all(overlap(face.box, other.box) < MATCH_IOU for other in found):
                found.append(face)
        return found, lost

    def _owners(
        self, found: Sequence[Detection], looks: Sequence[Appearance], image: Image, change: _Change
    ) -> list[_Track | None]:
        """Assign a track to each face, the likeliest pairs first; each track is used once."""
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
        """A score for how likely a face belongs to a track; None if it does not.

        A face may move by three quarters of its side, further the longer it was unseen, and with the camera. It must
        look similar: from one frame to the next a face hardly changes, but within seconds it may turn or smile.
        """
        away = (self.clock.time or 0.0) - track.seen
        size = max(_side(track.face.box), 1.0)
        distance = min(_distance(track.face.box, face.box, moved) for moved in ((0.0, 0.0), change.shift)) / size
        shared = float(overlap(track.face.box, face.box))
        near = distance <= min(0.75 + 2 * away, 3.0) and 0.4 < _side(face.box) / size < 2.5
        if shared < MATCH_IOU and not near:
            return None
        likeness = alike(track.appearance, look, image)
        least = SAME_PERSON_CORRELATION if change.doubtful else 0.3 + 0.4 * exp(-away / 0.5)
        if likeness is not None and likeness < least * min(_side(face.box) / 60, 1.0):  # small faces have little detail
            return None
        return shared + (0.5 if likeness is None else likeness) - 0.2 * distance


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _distance(first: Box, second: Box, moved: tuple[float, float]) -> float:
    """Distance in pixels between the centres of two boxes, the first one shifted by `moved`."""
    x = (second[0] + second[2] - first[0] - first[2]) / 2 - moved[0]
    y = (second[1] + second[3] - first[1] - first[3]) / 2 - moved[1]
    return float(np.hypot(x, y))
