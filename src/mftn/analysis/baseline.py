"""Each person's own baseline: what their face shows at rest, to be subtracted from everything else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from mftn.analysis.clock import overlaps
from mftn.analysis.people import Person
from mftn.analysis.segments import Segment
from mftn.analysis.settings import parse_seconds
from mftn.analysis.sheets import (
    RowIndex,
    Sheet,
    Sources,
    key_columns,
    normalised,
    note_unused_columns,
    read_sheet,
    timed_rows,
)
from mftn.analysis.table import Floats
from mftn.errors import ConfigError, DataError

SHORT = 1.0
"""A baseline that is seen for fewer seconds than this gets a note."""


class Baseline:
    """Collects each person's baseline while recordings are read, and returns it once all of them are.

    Args:
        spec: FROM:TO in seconds, the name of a segment, or a table with the columns source or person, start and end
            (empty for the whole recording or an image); None for no baseline.
        sources: The sources in the table of faces.
        notes: Receives notes for the reader of the results.
    """

    def __init__(self, spec: Sheet | None, sources: Sources, notes: list[str]) -> None:
        self.spec, self.notes = spec, notes
        self.text = ""
        self.segment: str | None = None
        self._span: tuple[float, float] | None = None
        self._rows = RowIndex()
        self._found: dict[str, dict[str, tuple[Floats, float]]] = {}  # person → recording → mean, weight
        if spec is None:
            return
        if isinstance(spec, str) and (match := re.fullmatch(r"([\d.]+)(?:s|):([\d.]+)(?:s|)", spec.strip())):
            self._span = parse_seconds(match[1]), parse_seconds(match[2])
            if self._span[1] <= self._span[0]:
                raise ConfigError(f"baseline {spec}: it must end after it starts, as in 0:10")
            self.text = f"from {self._span[0]:g} to {self._span[1]:g} s of each recording"
        elif isinstance(spec, str) and Path(spec).suffix.lower() not in (".csv", ".tsv", ".txt"):
            self.segment = normalised(spec)
            self.text = f"the segment {self.segment}"
        else:
            table = read_sheet(spec, "baseline", [])
            note_unused_columns(table, ("source", "person", "start", "end"), notes)
            key_columns(table, "baseline")
            for row in timed_rows(table, sources, notes):
                self._rows.add(row, row.source, row.person)
            self.text = "the stretches given in a table of the study"

    def add(self, person: Person, segments: Sequence[Segment]) -> None:
        """Add one person of one recording, with the recording's segments."""
        if self.spec is None or not len(person.times):
            return
        total, weight = np.zeros(person.values.shape[1]), 0.0
        for start, end in self._spans(person, segments):
            part, seen = slice(None), person.durations
            if not np.isnan(start):
                part, _, seen = overlaps(person.times, person.durations, start, end)
            total += seen @ person.values[part]
            weight += float(seen.sum())
        if weight > 0:
            self._found.setdefault(person.name, {})[person.source] = (total / weight, weight)
            if not np.isnan(person.times[0]) and weight < SHORT:
                self.notes.append(f"{person.source}: the baseline of {person.name} is only {weight:.2f} s long")

    def outside(self, person: Person, segments: Sequence[Segment]) -> list[Segment]:
        """The segments without the person's baseline: what is compared with the baseline must not contain it."""
        spans = self._spans(person, segments)
        if any(np.isnan(start) for start, _ in spans):
            return []
        parts = list(segments)
        for start, end in spans:
            before = [replace(part, end=min(part.end, start)) for part in parts]
            after = [replace(part, start=max(part.start, end)) for part in parts]
            parts = [part for part in (*before, *after) if part.end - part.start > 1e-9]
        return sorted(parts, key=lambda part: part.start)

    def note_overlaps(self, person: Person, segments: Sequence[Segment]) -> None:
        """Note the study's own segments that contain part of the person's baseline but are not the baseline itself."""
        if self.segment is not None:
            return
        for (start, end), one in product(self._spans(person, segments), segments):
            shared = min(end, one.end) - max(start, one.start)
            if np.isnan(shared):
                self.notes.append(f"{person.source}: is both a baseline and part of {one.name}, and counts in both")
            elif shared > 1e-6:
                what = f"the baseline and segment {one.name} overlap for {shared:.2f} s"
                self.notes.append(f"{person.source}: {what}, which counts in both")

    def of(self, person: str, source: str) -> Floats:
        """(9,) the person's baseline in this recording; failing that, the mean over their recordings; else NaN."""
        own = self._found.get(person, {})
        if source in own:
            return own[source][0]
        if not own:
            return np.full(9, np.nan)
        weights = np.array([weight for _, weight in own.values()])
        return weights @ np.array([mean for mean, _ in own.values()]) / weights.sum()

    def note_missing(self, people: Sequence[str]) -> None:
        """Note the people who have no baseline.

        Raises:
            DataError: Nobody has one.
        """
        if self.spec is None:
            return
        if not self._found:
            raise DataError(f"baseline {self.spec if isinstance(self.spec, str) else ''}: nobody is seen in it")
        self.notes += [f"{person}: is never seen in the baseline" for person in people if person not in self._found]

    def _spans(self, person: Person, segments: Sequence[Segment]) -> list[tuple[float, float]]:
        still = bool(np.isnan([*person.times[:1], *(one.start for one in segments)]).any())
        if self._span:
            return [] if still else [self._span]
        if self.segment is not None:
            spans = [(one.start, one.end) for one in segments if one.name == self.segment]
        else:
            spans = [(row.start, row.end) for row in self._rows.find(person.source, person.name)]
        return [(np.nan, np.nan)][: len(spans)] if still else _joined(spans)


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spans in order, with overlapping ones merged, so that no time counts twice."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
