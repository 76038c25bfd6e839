"""From a table of faces and the study's own tables to results: data frames, notes, and what the page draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mftn.analysis.baseline import Baseline
from mftn.analysis.collect import Collector, Presence
from mftn.analysis.conditions import Comparison, Units, compare, correct, named_people
from mftn.analysis.courses import Course
from mftn.analysis.events import Event
from mftn.analysis.formats import Table
from mftn.analysis.people import People, PeopleSheet
from mftn.analysis.rows import TAKEN, Row, expression_frame, person_frame, window_frame
from mftn.analysis.segments import WHOLE, Conditions, Segments
from mftn.analysis.settings import Settings, parse_seconds
from mftn.analysis.sheets import Sheet, Sources
from mftn.analysis.synchrony import Synchrony, synchronise
from mftn.analysis.table import Tables
from mftn.errors import ConfigError, DataError

TABLES = ("expressions", "persons", "windows", "events", "transitions", "synchrony", "conditions")

MISSING = {"NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan"}
"""Text that R or pandas reads from a CSV table as a missing value."""

SEGMENT = "segment"
"""Name of the factor whose levels are the segments, where there are several."""


@dataclass(frozen=True, slots=True)
class Study:
    """What was summarised, for the methods paragraph.

    Attributes:
        recordings: Number of videos.
        images: Number of images.
        people: Number of people; where the study identifies people, only those.
        unnamed: Number of tracks and images of others, where the study identifies people.
        rows: Number of rows in the table.
        models: Models that made the table, where it says so.
        baseline: Description of the baseline; "" where there is none.
        window: Length of the windows in seconds; None for no windows.
        factors: Factors whose levels are compared.
        people_given: Whether the study identifies people.
    """

    recordings: int
    images: int
    people: int
    unnamed: int
    rows: int
    models: tuple[str, ...]
    baseline: str
    window: float | None
    factors: tuple[str, ...]
    people_given: bool


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What a study's recordings show.

    Attributes:
        expressions: One row per person × segment × expression.
        persons: One row per person × segment: time, quality, valence index.
        windows: One row per person × window × expression; empty without windows.
        events: One row per event.
        transitions: One row per person × segment × pair of expressions that follow each other.
        synchrony: One row per pair or viewer × signal; empty unless asked for.
        conditions: One row per factor × contrast × signal; empty without people to compare.
        notes: What the reader must know: unmatched rows, overlaps, gaps, what could not be tested.
        settings: Settings with which it was made.
        study: What was summarised.
        units: What was compared, by factor.
        courses: What is drawn over time.
        presence: Who was seen when.
    """

    expressions: pd.DataFrame
    persons: pd.DataFrame
    windows: pd.DataFrame
    events: pd.DataFrame
    transitions: pd.DataFrame
    synchrony: pd.DataFrame
    conditions: pd.DataFrame
    notes: tuple[str, ...]
    settings: Settings
    study: Study
    units: Mapping[str, Units]
    courses: tuple[Course, ...]
    presence: tuple[Presence, ...]

    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables by name, without optional ones that are empty."""
        found = {name: getattr(self, name) for name in TABLES}
        return {name: frame for name, frame in found.items() if len(frame) or name in ("events", "transitions")}

    def write(self, folder: str | Path, *, elan: bool = False, bids: bool = False) -> Path:
        """Write the tables as CSV and Parquet, the figures as PNG and PDF, and the page, and return the page's path.

        Args:
            folder: Created if missing; an earlier summary in it is replaced.
            elan: Whether each recording's events are also written for ELAN.
            bids: Whether events are also written under BIDS-like names.

        Raises:
            OutputError: The folder has a file with the name of a result that no summary wrote.
        """
        from mftn.analysis.output import write_summary

        return write_summary(self, Path(folder), elan=elan, bids=bids)


def summarize(
    table: Table,
    *,
    groups: Sheet | None = None,
    segments: Sheet | None = None,
    people: PeopleSheet = None,
    baseline: Sheet | None = None,
    window: float | str | None = None,
    settings: Settings | None = None,
) -> Summary:
    """Turn the output of `mftn predict` into the numbers of a study.

    Args:
        table: Path or paths of JSONL, CSV or Parquet; a pandas, polars or pyarrow table; or predictions.
        groups: Conditions: a CSV file or frame with source or person or both, start and end where a condition applies
            for a time, and a column for each factor.
        segments: Stretches: name, source (empty for every recording), start, end.
        people: Who is who: source, track (empty where the recording shows one person), person; or "one" where each
            recording shows one person.
        baseline: Each person's own: "0:10" in seconds, a segment's name, or a file with source or person, start, end.
        window: Length of the windows into which segments are also cut, in seconds (10, "10s").
        settings: Thresholds, tests, permutations.

    Raises:
        DataError: A table is missing, unreadable, lacks a column or contradicts itself.
        ConfigError: A setting is out of range, or there is no table.
    """
    settings = settings or Settings()
    width = None if window is None else parse_seconds(window, "window")
    if width is not None and width <= 0:
        raise ConfigError(f"window is {window}; it must be more than 0 seconds")
    notes: list[str] = []
    with Tables(table) as tables:
        sources = Sources(tables.scan.sources)
        if tables.scan.absent:
            notes.append(f"the table has no column {', '.join(tables.scan.absent)}: results that need it are empty")
        stretches = Segments(segments, sources, notes)
        rest = Baseline(baseline, sources, notes)
        _check_baseline(rest, stretches)
        collector = Collector(
            People(people, sources, notes),
            stretches,
            Conditions(groups, sources, TAKEN, notes),
            rest,
            width,
            settings,
            notes,
        )
        for recording in tables.recordings():
            collector.add(recording)
    collector.finish()
    return _results(collector, tables)


def _check_baseline(baseline: Baseline, segments: Segments) -> None:
    if baseline.segment is not None and baseline.segment not in segments.names:
        there = f"; there are {', '.join(sorted(segments.names))}" if segments.names else ", and there are no segments"
        raise ConfigError(
            f"baseline {baseline.segment}: no segment has this name{there}; 0:10 means the first ten seconds"
        )


def _results(collector: Collector, tables: Tables) -> Summary:
    rows, settings, notes = collector.rows, collector.settings, collector.notes
    if not rows:
        why = "; ".join(["no face was found, or no segment applies to the recordings", *notes[:3]])
        raise DataError(f"nobody is in the results: {why}")
    factors = collector.conditions.factors
    baseline = collector.baseline.of if collector.baseline.spec is not None else None
    units = _units(collector)
    comparisons = [row for factor, values in units.items() for row in compare(factor, values, settings, notes)]
    synchrony = synchronise(collector.stretches, settings, notes)
    words = {word for row in rows for word in (row.person, row.segment.name, *row.segment.conditions.values())}
    if absent := sorted(words & MISSING):
        notes.append(
            f"a person, segment or condition is called {' or '.join(absent)}, which CSV readers treat as missing: "
            "use the .parquet tables"
        )
    named = {row.person for row in rows if row.known or not collector.people.given}
    events = pd.DataFrame(collector.events, columns=["source", "person", "segment", *_columns(Event)])
    return Summary(
        expressions=expression_frame(rows, factors, baseline),
        persons=person_frame(rows, factors, baseline),
        windows=window_frame(collector.window_rows, factors, baseline) if collector.window_rows else pd.DataFrame(),
        events=events.astype(dict.fromkeys(("source", "person", "segment", "expression"), "str")),
        transitions=_transition_frame(collector.transitions),
        synchrony=pd.DataFrame([asdict(row) for row in synchrony], columns=_columns(Synchrony)),
        conditions=correct(pd.DataFrame([asdict(row) for row in comparisons], columns=_columns(Comparison))),
        notes=tuple(dict.fromkeys(notes)),
        settings=settings,
        study=Study(
            recordings=collector.recordings,
            images=collector.images,
            people=len(named),
            unnamed=len({row.person for row in rows} - named),
            rows=tables.scan.rows,
            models=tables.scan.models,
            baseline=collector.baseline.text,
            window=collector.window,
            factors=factors,
            people_given=collector.people.given,
        ),
        units=units,
        courses=tuple(collector.courses),
        presence=tuple(collector.presence),
    )


def _columns(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def _transition_frame(counts: dict[tuple[str, ...], int]) -> pd.DataFrame:
    """Counts of transitions, and each one's share of the transitions from the same expression."""
    columns = ["source", "person", "segment", "before", "after"]
    frame = pd.DataFrame(list(counts), columns=columns, dtype="str")
    frame["count"] = np.array(list(counts.values()), dtype=np.int64)
    frame["share"] = frame["count"] / frame.groupby(columns[:4])["count"].transform("sum")
    return frame


def _units(collector: Collector) -> dict[str, Units]:
    """What is compared: each factor's levels, and segments where there are several."""
    rows = [row for row in collector.rows if row.segment.name != collector.baseline.segment]
    _note_unseen([row for row in rows if row.known], collector.notes)
    usable = _units_known(collector, [row for row in rows if row.weight > 0])
    found = {}
    for factor in collector.conditions.factors:
        chosen = [row for row in usable if row.segment.conditions.get(factor)]
        lacking = sorted({row.person for row in usable} - {row.person for row in chosen})
        if lacking:
            collector.notes.append(f"{factor}: no condition is given for {named_people(lacking)}")
        if chosen:
            found[factor] = _make_units(chosen, [row.segment.conditions[factor] for row in chosen], collector)
    if len({row.segment.name for row in usable}) > 1 and SEGMENT not in collector.conditions.factors:
        found[SEGMENT] = _make_units(usable, [row.segment.name for row in usable], collector)
    return found


def _note_unseen(rows: Sequence[Row], notes: list[str]) -> None:
    """Note people who are never seen in a segment, and so are missing from its means and comparisons."""
    seen: dict[str, dict[str, float]] = {}
    for row in rows:
        weights = seen.setdefault(row.segment.name, {})
        weights[row.person] = weights.get(row.person, 0.0) + row.weight
    for segment, weights in seen.items():
        if unseen := [person for person, weight in weights.items() if not weight]:
            where = "" if segment == WHOLE else f"{segment}: "
            notes.append(f"{where}never seen, so not compared: {named_people(unseen)}")


def _units_known(collector: Collector, rows: Sequence[Row]) -> list[Row]:
    """The rows whose person is known: a test on tracks would count anyone lost and found again as two people."""
    if collector.people.given:
        return [row for row in rows if row.known]
    several = [source for source, people in _people_of(rows).items() if len(people) > 1]
    wanted = collector.conditions.factors or len({row.segment.name for row in rows if row.segment.name != WHOLE}) > 1
    if not wanted:
        return []
    if several:
        collector.notes.append(
            "conditions are not compared: without --people a track counts as a person, and anyone lost and found "
            f"again counts as two ({several[0]} has {len(_people_of(rows)[several[0]])} tracks); give a table of "
            'people, or "one" where each recording shows one person (--people)'
        )
        return []
    collector.notes.append("people are not named, so each recording counts as a different person in the comparisons")
    return list(rows)


def _people_of(rows: Sequence[Row]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.source, set()).add(row.person)
    return found


def _make_units(rows: Sequence[Row], levels: Sequence[str], collector: Collector) -> Units:
    """The rows' means, or their differences from each person's baseline; rows without a baseline are omitted."""
    values = np.array([row.measures[0] for row in rows])
    known = np.ones(len(rows), bool)
    if collector.baseline.spec is not None:
        values = values - np.array([collector.baseline.of(row.person, row.source) for row in rows])
        known = ~np.isnan(values).all(axis=1)
    return Units(
        np.array([row.person for row in rows], object)[known],
        np.array(levels, object)[known],
        values[known],
        np.array([row.weight for row in rows])[known],
    )
