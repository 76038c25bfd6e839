"""The tidy tables, made from one row per person and stretch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mftn.analysis.measures import MEASURES
from mftn.analysis.segments import Segment
from mftn.analysis.table import Floats
from mftn.labels import EXPRESSIONS

K = len(EXPRESSIONS)

KEYS = ("source", "person", "segment", "start", "end")
TAKEN = (*KEYS, *MEASURES, "expression", "share", "baseline", "difference", "events", "events_per_minute", "seen")
TAKEN += ("missing", "unrecorded", "duration", "frames", "frames_missing", "face_size", "score", "tracks", "valence")
TAKEN += ("window", "window_start", "window_end", "known", "expression_events")
TAKEN += tuple(f"valence_{name}" for name in (*MEASURES, "baseline", "difference", "index"))

BaselineOf = Callable[[str, str], Floats]
"""(person, source) → (9,)"""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One person in one stretch.

    Attributes:
        person: Name.
        known: Whether the study identifies the person.
        source: The recording; "" for several images.
        tracks: The person's tracks in it.
        segment: The stretch.
        measures: (8, 9) statistics in the order of `MEASURES` × expressions, then the valence index.
        shares: (8,) share of seen time as the most probable expression.
        events: (8,) number of events that begin in the stretch; NaN for images.
        seen: Seconds in which the person is seen; NaN for images.
        recorded: Seconds of the stretch that have frames; NaN for images.
        frames: Number of frames or images in which the person is seen.
        frames_missing: Number in which they are not.
        face_size: Median of the square root of the box's area in pixels.
        score: Median of the detector's confidence.
    """

    person: str
    known: bool
    source: str
    tracks: tuple[int, ...]
    segment: Segment
    measures: Floats
    shares: Floats
    events: Floats
    seen: float
    recorded: float
    frames: int
    frames_missing: int
    face_size: float
    score: float

    @property
    def weight(self) -> float:
        """The row's weight in a person's mean: seconds seen, or images."""
        return float(self.frames) if np.isnan(self.seen) else self.seen

    @property
    def missing(self) -> float:
        """Seconds of the stretch in which the person is not seen."""
        return max(self.segment.end - self.segment.start - self.seen, 0.0) if not np.isnan(self.seen) else np.nan


def expression_frame(rows: Sequence[Row], factors: Sequence[str], baseline: BaselineOf | None) -> pd.DataFrame:
    """One row per person × segment × expression."""
    frame = _identity(rows, factors, K)
    frame["expression"] = list(EXPRESSIONS) * len(rows)
    _add_measures(frame, rows)
    _add_baseline(frame, rows, baseline)
    events = np.array([row.events for row in rows]).reshape(-1, K)
    seen = np.array([row.seen for row in rows])
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(seen[:, None] > 0, 60 * events / seen[:, None], np.nan)
    frame["events"] = pd.array(events.ravel()).astype("Int64")
    frame["events_per_minute"] = rate.ravel()
    for name in ("seen", "missing", "face_size", "score"):
        frame[name] = np.repeat([getattr(row, name) for row in rows], K)
    return frame


def window_frame(rows: Sequence[Row], factors: Sequence[str], baseline: BaselineOf | None) -> pd.DataFrame:
    """One row per person × window × expression."""
    frame = _identity(rows, factors, K)
    frame["expression"] = list(EXPRESSIONS) * len(rows)
    _add_measures(frame, rows)
    _add_baseline(frame, rows, baseline)
    frame["valence_index"] = np.repeat([row.measures[0, K] for row in rows], K)
    for name in ("seen", "missing"):
        frame[name] = np.repeat([getattr(row, name) for row in rows], K)
    return frame


def person_frame(rows: Sequence[Row], factors: Sequence[str], baseline: BaselineOf | None) -> pd.DataFrame:
    """One row per person × segment: time, quality and the valence index."""
    frame = _identity(rows, factors, 1)
    frame.insert(2, "tracks", [" ".join(f"#{track}" for track in row.tracks) or None for row in rows])
    frame.insert(2, "known", [row.known for row in rows])
    frame["duration"] = [row.segment.end - row.segment.start for row in rows]
    frame["seen"] = [row.seen for row in rows]
    frame["missing"] = [row.missing for row in rows]
    unrecorded = np.array([row.segment.end - row.segment.start - row.recorded for row in rows], float)
    frame["unrecorded"] = unrecorded.clip(0)
    for name in ("frames", "frames_missing", "face_size", "score"):
        frame[name] = [getattr(row, name) for row in rows]
    for index, name in enumerate(MEASURES):
        frame[f"valence_{name}"] = [row.measures[index, K] for row in rows]
    if baseline:
        frame["valence_baseline"] = [baseline(row.person, row.source)[K] for row in rows]
        frame["valence_difference"] = frame["valence_mean"] - frame["valence_baseline"]
    return frame


def _identity(rows: Sequence[Row], factors: Sequence[str], times: int) -> pd.DataFrame:
    def repeat(values: list[object]) -> list[object]:
        return [value for value in values for _ in range(times)]

    columns = {
        "source": repeat([row.source or None for row in rows]),
        "person": repeat([row.person for row in rows]),
        "segment": repeat([row.segment.name for row in rows]),
    }
    columns |= {factor: repeat([row.segment.conditions.get(factor) or None for row in rows]) for factor in factors}
    frame = pd.DataFrame(columns, dtype="str")
    frame["start"] = np.repeat([row.segment.start for row in rows], times).astype(float)
    frame["end"] = np.repeat([row.segment.end for row in rows], times).astype(float)
    return frame


def _add_measures(frame: pd.DataFrame, rows: Sequence[Row]) -> None:
    values = np.array([row.measures[:, :K] for row in rows]).reshape(-1, len(MEASURES), K)
    shares = np.array([row.shares for row in rows]).ravel()
    for index, name in enumerate(MEASURES):
        frame[name] = values[:, index].ravel()
        if name == "sd":
            frame["share"] = shares


def _add_baseline(frame: pd.DataFrame, rows: Sequence[Row], baseline: BaselineOf | None) -> None:
    if baseline:
        frame["baseline"] = np.array([baseline(row.person, row.source)[:K] for row in rows]).ravel()
        frame["difference"] = frame["mean"] - frame["baseline"]
