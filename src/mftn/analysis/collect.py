"""Collect what each person shows in each stretch: measures, events, transitions and courses, recording by recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mftn.analysis.baseline import Baseline
from mftn.analysis.clock import ROUNDING, Clock, Integral, make_clock, overlaps, smooth
from mftn.analysis.courses import Course, make_course
from mftn.analysis.events import Event, find_events, new_spans
from mftn.analysis.measures import measure, top_shares
from mftn.analysis.people import People, Person
from mftn.analysis.rows import K, Row
from mftn.analysis.segments import Conditions, Segment, Segments, windows
from mftn.analysis.settings import Settings
from mftn.analysis.table import Recording
from mftn.analysis.transitions import find_transitions
from mftn.labels import EXPRESSIONS


@dataclass(frozen=True, slots=True)
class Presence:
    """When a person is seen in a recording.

    Attributes:
        source: The recording.
        person: Name.
        length: The recording's end in seconds.
        spans: (start, end) in seconds.
    """

    source: str
    person: str
    length: float
    spans: tuple[tuple[float, float], ...]


class Collector:
    """Takes recordings one by one and keeps only their results.

    Args:
        people: Who is who.
        segments: The segments of each recording.
        conditions: The conditions of each person.
        baseline: The baseline of each person.
        window: Length of the windows in seconds; None for no windows.
        settings: How events are found.
        notes: Receives notes for the reader of the results.
    """

    def __init__(
        self,
        people: People,
        segments: Segments,
        conditions: Conditions,
        baseline: Baseline,
        window: float | None,
        settings: Settings,
        notes: list[str],
    ) -> None:
        self.people, self.segments, self.conditions, self.baseline = people, segments, conditions, baseline
        self.window, self.settings, self.notes = window, settings, notes
        self.rows: list[Row] = []
        self.window_rows: list[Row] = []
        self.events: list[dict[str, object]] = []
        self.transitions: dict[tuple[str, ...], int] = {}
        self.courses: list[Course] = []
        self.stretches: list[Course] = []
        self.presence: list[Presence] = []
        self.stills: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[tuple[Person, Segment]]] = {}
        self.recordings = self.images = self.unread = 0

    def add(self, recording: Recording) -> None:
        """Add one recording."""
        self.unread += bool(recording.errors)
        clock = make_clock(recording.times, self.settings.max_gap)
        if clock.gaps > ROUNDING:
            self.notes.append(f"{recording.source}: {clock.gaps:.2f} s in gaps between frames count as missing time")
        segments = self.segments.of(recording.source, clock)
        people = self.people.of(recording, clock)
        if recording.is_image:
            self.images += not recording.errors  # an image that could not be read was not classified
        else:
            self.recordings += 1
            if not people:
                self.notes.append(f"{recording.source}: nobody is seen in it")
        for person in people:
            self.baseline.add(person, segments)
            own = segments
            if self.segments.given:
                self.baseline.note_overlaps(person, segments)
            else:
                own = self.baseline.outside(person, segments)
            if recording.is_image:
                self._add_image(person, own)
            else:
                integral = Integral(person.times, person.durations, person.values)
                self._add_person(person, own, clock, integral)
                self._add_stretches(person, segments, integral)

    def _add_image(self, person: Person, segments: Sequence[Segment]) -> None:
        for segment in segments:
            for part in self.conditions.split(segment, person.source, person.name):
                key = (person.name, part.name, tuple(part.conditions.items()))
                self.stills.setdefault(key, []).append((person, part))

    def _add_stretches(self, person: Person, segments: Sequence[Segment], integral: Integral) -> None:
        """Keep whole segments: synchrony compares people over the same time, whatever their conditions are."""
        if self.settings.synchrony:
            rate = self.settings.synchrony_rate
            found = [make_course(person, integral, segment, rate) for segment in segments if len(person.times)]
            self.stretches += [course for course in found if course]

    def _add_person(self, person: Person, segments: Sequence[Segment], clock: Clock, integral: Integral) -> None:
        smoothed = smooth(person.times, person.durations, person.values[:, :K], self.settings.smooth)
        events = find_events(person.times, person.durations, smoothed, self.settings)
        self._keep_events(person, segments, events)
        self._keep_transitions(person, segments, smoothed)
        self.presence.append(Presence(person.source, person.name, clock.end, _spans(person, self.settings.bridge)))
        for segment in segments:
            for part in self.conditions.split(segment, person.source, person.name):
                self.rows.append(_row(person, part, clock, events))
                if len(person.times) and (course := make_course(person, integral, part, self.settings.synchrony_rate)):
                    self.courses.append(course)
                if self.window:
                    self.window_rows += [_row(person, one, clock, events) for one in windows(part, self.window)]

    def _keep_events(self, person: Person, segments: Sequence[Segment], events: Iterable[Event]) -> None:
        for event in events:
            inside = [segment.name for segment in segments if segment.holds(event.onset)]
            names = "; ".join(dict.fromkeys(inside)) or None
            self.events.append({"source": person.source, "person": person.name, "segment": names, **asdict(event)})

    def _keep_transitions(self, person: Person, segments: Sequence[Segment], smoothed: np.ndarray) -> None:
        for change in find_transitions(person.times, person.durations, smoothed, self.settings):
            for segment in segments:
                if segment.holds(change.time):
                    key = (person.source, person.name, segment.name, change.before, change.after)
                    self.transitions[key] = self.transitions.get(key, 0) + 1

    def finish(self) -> None:
        """Once all recordings are added, measure each person over their images and note what was never used."""
        for group in self.stills.values():
            self.rows.append(_image_row([person for person, _ in group], group[0][1]))
        if self.unread:
            self.notes.append(f"{self.unread} sources could not be read at prediction time; the table says why")
        self.people.note_unused()
        self.conditions.note_unused()
        self.baseline.note_missing(list(dict.fromkeys(row.person for row in self.rows)))


def _row(person: Person, segment: Segment, clock: Clock, events: Sequence[Event]) -> Row:
    part, begins, weights = overlaps(person.times, person.durations, segment.start, segment.end)
    recorded = overlaps(clock.times, clock.durations, segment.start, segment.end)[2]
    counts = np.zeros(K)
    for event in events:
        if segment.holds(event.onset):
            counts[EXPRESSIONS.index(event.expression)] += 1
    seen = weights > 0
    return Row(
        person=person.name,
        known=person.known,
        source=person.source,
        tracks=person.tracks,
        segment=segment,
        measures=measure(person.values[part], weights, begins).stack(),
        shares=top_shares(person.values[part, :K], weights),
        events=counts,
        seen=float(weights.sum()),
        recorded=float(recorded.sum()),
        frames=int(seen.sum()),
        frames_missing=int((recorded > 0).sum() - seen.sum()),
        face_size=_median(person.sizes[part][seen]),
        score=_median(person.scores[part][seen]),
    )


def _image_row(people: Sequence[Person], segment: Segment) -> Row:
    values = np.concatenate([person.values for person in people])
    weights = np.ones(len(values))
    return Row(
        person=people[0].name,
        known=people[0].known,
        source=people[0].source if len(people) == 1 else "",
        tracks=(),
        segment=segment,
        measures=measure(values, weights, None).stack(),
        shares=top_shares(values[:, :K], weights),
        events=np.full(K, np.nan),
        seen=float("nan"),
        recorded=float("nan"),
        frames=len(values),
        frames_missing=sum(not len(person.times) for person in people),
        face_size=_median(np.concatenate([person.sizes for person in people])),
        score=_median(np.concatenate([person.scores for person in people])),
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _spans(person: Person, bridge: float) -> tuple[tuple[float, float], ...]:
    if not len(person.times):
        return ()
    first = np.flatnonzero(new_spans(person.times, person.durations, bridge))
    last = np.append(first[1:] - 1, len(person.times) - 1)
    ends = (person.times + person.durations)[last]
    return tuple(zip(person.times[first].tolist(), ends.tolist(), strict=True))
