"""Stretches of a recording: segments (stimuli, questions), windows, and where conditions change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import numpy as np

from mftn.analysis.clock import ROUNDING, Clock
from mftn.analysis.sheets import (
    RowIndex,
    Sheet,
    Sources,
    TimedRow,
    key_columns,
    note_unused_columns,
    read_sheet,
    timed_rows,
)
from mftn.errors import DataError

WHOLE = "all"
"""Name of the only segment where none are given."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A named stretch of one recording.

    Attributes:
        name: Name in the study.
        start: Seconds; NaN for an image.
        end: Seconds, exclusive; NaN for an image.
        conditions: The levels of the study's factors that apply in it; "" where none is given.
    """

    name: str
    start: float
    end: float
    conditions: Mapping[str, str] = field(default_factory=dict)

    def holds(self, time: float) -> bool:
        """Whether a time in seconds is in the segment; the end is not, and belongs to the next segment."""
        return self.start - ROUNDING <= time < self.end - ROUNDING


class Segments:
    """The segments of each recording.

    Args:
        sheet: Columns name, source (empty for every recording), start and end (empty for the whole recording); None for
            one segment that spans the whole recording.
        sources: The sources in the table of faces.
        notes: Receives notes for the reader of the results.
    """

    def __init__(self, sheet: Sheet | None, sources: Sources, notes: list[str]) -> None:
        self.given = sheet is not None
        self.notes = notes
        self._rows = RowIndex()
        if sheet is None:
            return
        table = read_sheet(sheet, "segments", ["name"])
        note_unused_columns(table, ("name", "source", "start", "end"), notes)
        self._sheet = table.attrs["name"]
        for row in timed_rows(table, sources, notes):
            if not row.cells["name"]:
                raise DataError(f"{row.where}: has no name")
            self._rows.add(row, row.source)

    @property
    def names(self) -> set[str]:
        """Names of the segments in the study's table."""
        return {row.cells["name"] for row in self._rows.rows}

    def of(self, source: str, clock: Clock) -> list[Segment]:
        """The segments of a recording; those of an image have no start and no end."""
        if not self.given:
            return [Segment(WHOLE, clock.start, clock.end) if len(clock.times) else Segment(WHOLE, np.nan, np.nan)]
        rows = self._rows.find(source)
        if not rows:
            self.notes.append(f"{source}: has no segment in {self._sheet}, so it is not in the results")
        if not len(clock.times):
            return [Segment(name, np.nan, np.nan) for name in dict.fromkeys(row.cells["name"] for row in rows)]
        found: list[Segment] = []
        for row in rows:
            name, start, end = row.cells["name"], row.start, row.end
            start = start if np.isfinite(start) else clock.start
            end = end if np.isfinite(end) else clock.end
            if end <= start:
                self.notes.append(f"{source}: segment {name} ends at {end:g} s, before it starts: left out")
            elif (segment := Segment(name, start, end)) in found:
                self.notes.append(f"{source}: segment {name} is given twice, but counts once")
            else:
                found.append(segment)
        self._note_problems(source, found, clock)
        return found

    def _note_problems(self, source: str, segments: Sequence[Segment], clock: Clock) -> None:
        most = max(0.1, 2 * float(clock.durations[-1]))
        for one in segments:
            if min(clock.start, one.end) - one.start > most:
                self.notes.append(
                    f"{source}: segment {one.name} begins at {one.start:g} s, the recording at {clock.start:.2f} s: "
                    "the time before is missing time"
                )
            beyond = one.end - max(clock.end, one.start)
            if beyond > most:
                self.notes.append(
                    f"{source}: segment {one.name} ends at {one.end:g} s, the recording at {clock.end:.2f} s: "
                    "the rest is missing time"
                )
        for one, other in combinations(segments, 2):
            shared = min(one.end, other.end) - max(one.start, other.start)
            if shared > 1e-6:
                self.notes.append(
                    f"{source}: segments {one.name} and {other.name} overlap for {shared:.2f} s, which counts in both"
                )


class Conditions:
    """The conditions of each person in each stretch.

    Args:
        sheet: Columns source or person or both, start and end where a condition applies for a time, and one column per
            factor; None for no conditions.
        sources: The sources in the table of faces.
        taken: Column names of the results, which no factor may have.
        notes: Receives notes for the reader of the results.
    """

    def __init__(self, sheet: Sheet | None, sources: Sources, taken: Sequence[str], notes: list[str]) -> None:
        self.factors: tuple[str, ...] = ()
        self.notes = notes
        self._rows = RowIndex()
        self._used: set[str] = set()
        if sheet is None:
            return
        table = read_sheet(sheet, "groups", [])
        name = table.attrs["name"]
        keys = key_columns(table, "condition")
        self.factors = tuple(column for column in table if column not in (*keys, "start", "end"))
        if not self.factors:
            raise DataError(f"{name}: has no column of conditions besides {', '.join(keys)}")
        if clash := set(self.factors) & set(taken):
            raise DataError(f"{name}: rename the column {', '.join(sorted(clash))}: the results use that name")
        for row in timed_rows(table, sources, notes):
            self._rows.add(row, row.source, row.person)

    def split(self, segment: Segment, source: str, person: str) -> Iterator[Segment]:
        """The parts of a segment between changes in this person's conditions, with the conditions of each."""
        if not self.factors:
            yield segment
            return
        rows = self._rows.find(source, person)
        self._used |= {row.where for row in rows}
        still = np.isnan(segment.start)
        changes = {time for row in rows for time in (row.start, row.end) if segment.start < time < segment.end}
        edges = [] if still else sorted({segment.start, segment.end, *changes})
        for start, end in pairwise(edges) if len(edges) > 1 else [(segment.start, segment.end)]:
            holding = [row for row in rows if still or row.start <= start < row.end]
            yield Segment(segment.name, start, end, self._levels(holding))

    def note_unused(self) -> None:
        """Note the rows that match nobody."""
        for row in self._rows.rows:
            if row.where not in self._used:
                keys = [f"{key} {name}" for key, name in (("source", row.source), ("person", row.person)) if name]
                self.notes.append(f"{row.where}: no {' and '.join(keys)} in the table")

    def _levels(self, rows: Sequence[TimedRow]) -> dict[str, str]:
        levels = dict.fromkeys(self.factors, "")
        said: dict[str, str] = {}
        for row in rows:
            for factor in filter(row.cells.get, self.factors):
                value = row.cells[factor]
                if levels[factor] not in ("", value):
                    raise DataError(f"{row.where}: {factor} is {value}, but {levels[factor]} in {said[factor]}")
                levels[factor], said[factor] = value, row.where
        return levels


def windows(segment: Segment, width: float) -> Iterator[Segment]:
    """A segment cut into stretches of `width` seconds from its start; the last one may be shorter."""
    count = max(int(np.ceil((segment.end - segment.start) / width - 1e-9)), 1)
    for number in range(count):
        start = segment.start + number * width
        yield Segment(segment.name, start, min(start + width, segment.end), segment.conditions)
