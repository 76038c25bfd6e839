"""Stretches of a recording: segments (stimuli, questions), windows, and where conditions change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import numpy as np

from mftn.analysis.clock import ROUNDING, Clock
from mftn.analysis.sheets import RowIndex, Sheet, Sources, read_sheet, span
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

    def holds(self, moment: float) -> bool:
        """Whether a time in seconds is in the segment; the end is not, and belongs to the next segment."""
        return self.start - ROUNDING <= moment < self.end - ROUNDING


@dataclass(frozen=True, slots=True)
class _Row:
    source: str | None
    name: str
    start: float | None
    end: float | None


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
        self.rows: list[_Row] = []
        self._index = RowIndex()
        if sheet is None:
            return
        table = read_sheet(sheet, "segments", ["name"])
        self._sheet = table.attrs["name"]
        for number, row in table.iterrows():
            where = f"{self._sheet}: row {int(str(number)) + 2}"
            start, end = span(row, self._sheet)
            if not row["name"]:
                raise DataError(f"{where}: has no name")
            word = row.get("source", "")
            source = sources.find(word, self._sheet) if word else None
            if word and source is None:
                notes.append(f"{where}: the table has no source {word}")
            else:
                self._index.add(len(self.rows), source)
                self.rows.append(_Row(source, row["name"], start, end))

    def of(self, source: str, clock: Clock) -> list[Segment]:
        """The segments of a recording; those of an image have no start and no end."""
        if not self.given:
            return [Segment(WHOLE, clock.start, clock.end) if len(clock.times) else Segment(WHOLE, np.nan, np.nan)]
        rows = [self.rows[number] for number in self._index.find(source)]
        if not rows:
            self.notes.append(f"{source}: has no segment in {self._sheet}, so it is not in the results")
        if not len(clock.times):
            return [Segment(name, np.nan, np.nan) for name in dict.fromkeys(row.name for row in rows)]
        found: list[Segment] = []
        for row in rows:
            start = clock.start if row.start is None else row.start
            end = clock.end if row.end is None else row.end
            if end <= start:
                self.notes.append(f"{source}: segment {row.name} ends at {end:g} s, before it starts: left out")
            elif (segment := Segment(row.name, start, end)) in found:
                self.notes.append(f"{source}: segment {row.name} is given twice, but counts once")
            else:
                found.append(segment)
        self._tell(source, found, clock)
        return found

    def _tell(self, source: str, segments: Sequence[Segment], clock: Clock) -> None:
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
        self.rows: list[tuple[dict[str, str], float, float, dict[str, str], str]] = []
        self._index = RowIndex()
        self._used: set[int] = set()
        if sheet is None:
            return
        table = read_sheet(sheet, "groups", [])
        name = table.attrs["name"]
        keys = [column for column in ("source", "person") if column in table]
        if not keys:
            raise DataError(f"{name}: needs a column source or person, to say whose condition each row gives")
        self.factors = tuple(column for column in table if column not in (*keys, "start", "end"))
        if not self.factors:
            raise DataError(f"{name}: has no column of conditions besides {', '.join(keys)}")
        if clash := set(self.factors) & set(taken):
            raise DataError(f"{name}: rename the column {', '.join(sorted(clash))}: the results use that name")
        for number, row in table.iterrows():
            where = f"{name}: row {int(str(number)) + 2}"
            key = {column: row[column] for column in keys if row[column]}
            if "source" in key:
                source = sources.find(key["source"], name)
                if source is None:
                    notes.append(f"{where}: the table has no source {key['source']}")
                    continue
                key["source"] = source
            start, end = span(row, name)
            self._index.add(len(self.rows), key.get("source"), key.get("person"))
            moments = (-np.inf if start is None else start, np.inf if end is None else end)
            self.rows.append((key, *moments, {factor: row[factor] for factor in self.factors}, where))

    def split(self, segment: Segment, source: str, person: str) -> Iterator[Segment]:
        """The parts of a segment between changes in this person's conditions, with the conditions of each."""
        if not self.factors:
            yield segment
            return
        rows = self._index.find(source, person)
        self._used |= set(rows)
        still = np.isnan(segment.start)
        edges = [] if still else sorted({segment.start, segment.end, *self._edges(rows, segment)})
        for start, end in pairwise(edges) if len(edges) > 1 else [(segment.start, segment.end)]:
            holding = [
                self.rows[number] for number in rows if still or self.rows[number][1] <= start < self.rows[number][2]
            ]
            yield Segment(segment.name, start, end, self._levels(holding))

    def tell_unused(self) -> None:
        """Note the rows that match nobody."""
        self.notes += [
            f"{row[4]}: no {' and '.join(f'{key} {value}' for key, value in row[0].items())} in the table"
            for number, row in enumerate(self.rows)
            if number not in self._used
        ]

    def _edges(self, rows: Sequence[int], segment: Segment) -> Iterator[float]:
        for number in rows:
            for moment in self.rows[number][1:3]:
                if segment.start < moment < segment.end:
                    yield moment

    def _levels(self, rows: Sequence[tuple[dict[str, str], float, float, dict[str, str], str]]) -> dict[str, str]:
        levels = dict.fromkeys(self.factors, "")
        said: dict[str, str] = {}
        for _, _, _, values, where in rows:
            for factor, value in values.items():
                if value and levels[factor] not in ("", value):
                    raise DataError(f"{where}: {factor} is {value}, but {levels[factor]} in {said[factor]}")
                if value:
                    levels[factor], said[factor] = value, where
        return levels


def windows(segment: Segment, width: float) -> Iterator[Segment]:
    """A segment cut into stretches of `width` seconds from its start; the last one may be shorter."""
    count = max(int(np.ceil((segment.end - segment.start) / width - 1e-9)), 1)
    for number in range(count):
        start = segment.start + number * width
        yield Segment(segment.name, start, min(start + width, segment.end), segment.conditions)
