"""Who is who: assign tracks and images to people, each with their own samples over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mftn.analysis.clock import Clock
from mftn.analysis.sheets import Sheet, Sources, note_unused_columns, read_sheet, row_name
from mftn.analysis.table import Floats, Recording
from mftn.analysis.valence import valence_index
from mftn.errors import DataError

PeopleSheet: TypeAlias = Sheet | Literal["one"] | None
"""A table of people, "one" if each recording shows one person, or None."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person in one recording, with n samples.

    Attributes:
        name: Name of the person, the same in every recording in which the study identifies them.
        known: Whether the study identifies the person; False for a track without a name.
        source: The recording.
        tracks: The person's tracks.
        times: (n,) seconds, ascending.
        durations: (n,) seconds for which each sample holds.
        values: (n, 9) probabilities of the eight expressions, then the valence index.
        sizes: (n,) square root of the face box's area in pixels.
        scores: (n,) the detector's confidence.
    """

    name: str
    known: bool
    source: str
    tracks: tuple[int, ...]
    times: Floats
    durations: Floats
    values: Floats
    sizes: NDArray[np.float32]
    scores: NDArray[np.float32]


class People:
    """The people of each recording.

    Args:
        sheet: Columns source and person, and track where a recording shows several; "one" where each recording shows
            one person, its largest face; None where each track counts as a person.
        sources: The sources in the table of faces.
        notes: Receives notes for the reader of the results.
    """

    def __init__(self, sheet: PeopleSheet, sources: Sources, notes: list[str]) -> None:
        self.one = isinstance(sheet, str) and sheet == "one"
        self.given = sheet is not None
        self.notes = notes
        self._names: dict[tuple[str, int | None], str] = {}
        self._by_source: dict[str, list[str]] = {}
        self._unused: set[tuple[str, int | None]] = set()
        self._sheet = "people"
        if sheet is not None and not self.one:
            self._read(sheet, sources)

    def _read(self, sheet: Sheet, sources: Sources) -> None:
        rows = read_sheet(sheet, "people", ["source", "person"])
        note_unused_columns(rows, ("source", "track", "person"), self.notes)
        self._sheet = rows.attrs["name"]
        for _, row in rows.iterrows():
            where = row_name(row, self._sheet)
            if missing := [column for column in ("source", "person") if not row[column]]:
                raise DataError(f"{where}: has no {' and no '.join(missing)}")
            source = sources.find(row["source"], self._sheet)
            if source is None:
                self.notes.append(f"{where}: the table has no source {row['source']}")
                continue
            word = row.get("track", "")
            if word and not word.removesuffix(".0").isdecimal():
                raise DataError(f"{where}: track {word!r} is not a number")
            key = (source, int(float(word)) if word else None)
            if self._names.get(key, row["person"]) != row["person"]:
                raise DataError(f"{where}: {row['source']} {word or ''} is {self._names[key]} in an earlier row")
            self._names[key] = row["person"]
            present = self._by_source.setdefault(source, [])
            if row["person"] not in present:
                present.append(row["person"])
        self._unused = set(self._names)

    def of(self, recording: Recording, clock: Clock) -> list[Person]:
        """Everybody in a recording; tracks with the same name are one person."""
        tracks = recording.tracks if not recording.is_image else np.arange(1, len(recording.tracks) + 1)
        rows: dict[str, list[int]] = {}
        for track in np.unique(tracks).tolist():
            rows.setdefault(self._name(recording.source, track), []).append(track)
        for name in self._expected(recording.source):
            rows.setdefault(name, [])  # somebody who is never seen still has a row, with missing values
        found = []
        for name, owned in rows.items():
            chosen = np.flatnonzero(np.isin(tracks, owned))
            known = name in self._expected(recording.source)
            if unknown := [track for track in owned if self.given and not known]:
                self._note_unknown(recording, tracks, unknown)
            found.append(_person(name, known, recording, tuple(owned), chosen, clock, self.notes))
        return found

    def note_unused(self) -> None:
        """Note tracks that the study lists but the table of faces does not have."""
        self.notes += [
            f"{self._sheet}: {source} has no track {track} ({self._names[source, track]})"
            for source, track in sorted(self._unused, key=str)
            if track is not None
        ]

    def _expected(self, source: str) -> list[str]:
        """The people whom the study expects in a recording."""
        return [source] if self.one else self._by_source.get(source, [])

    def _name(self, source: str, track: int) -> str:
        if self.one:
            return source
        for key in ((source, track), (source, None)):
            if key in self._names:
                self._unused.discard(key)
                return self._names[key]
        return f"{source}#{track}"

    def _note_unknown(self, recording: Recording, tracks: NDArray[Any], unknown: Sequence[int]) -> None:
        for track in unknown:
            times = recording.face_times[tracks == track]
            when = "" if recording.is_image else f", {times[0]:.1f}–{times[-1]:.1f} s"
            self.notes.append(
                f"{recording.source}: track {track} ({len(times)} faces{when}) has no person in {self._sheet}: kept as "
                f"{recording.source}#{track}, left out of comparisons"
            )


def _person(
    name: str,
    known: bool,
    recording: Recording,
    tracks: tuple[int, ...],
    rows: NDArray[np.intp],
    clock: Clock,
    notes: list[str],
) -> Person:
    """One sample per frame: where a person is seen twice at once, their largest face is used."""
    times = recording.face_times[rows]
    order = np.lexsort((-np.nan_to_num(recording.sizes[rows]), times))
    first = np.ones(len(rows), bool)
    first[1:] = np.diff(times[order]) > 0
    if recording.is_image:
        first[1:] = False
    if doubled := int((~first).sum()):
        notes.append(
            f"{recording.source}: {name} is seen twice at once in {doubled} {'faces' if doubled > 1 else 'face'}"
            f" (tracks {', '.join(map(str, tracks[:8]))}): the largest face of each frame is used"
        )
    rows = rows[order][first]
    times = recording.face_times[rows]
    probabilities = recording.probabilities[rows].astype(np.float64)
    return Person(
        name,
        known,
        recording.source,
        tracks,
        times,
        clock.durations[np.searchsorted(clock.times, times)] if len(clock.times) else np.ones(len(rows)),
        np.column_stack([probabilities, valence_index(probabilities)]),
        recording.sizes[rows],
        recording.scores[rows],
    )
