"""The tables that `mftn predict` prints: faces in images, persons in videos."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mftn.errors import OutputError
from mftn.files import atomic_write, visible
from mftn.sources import classify
from mftn.types import Prediction
from mftn.video.persons import Persons

WIDTH = 120
"""Width in columns of a table that is not printed to a terminal."""


class ImageTable:
    """One row per face.

    Args:
        top: Expressions shown per face.
    """

    def __init__(self, top: int) -> None:
        self.top = top
        self._table = Table(box=None, header_style="bold", pad_edge=False)
        self._table.add_column("image", overflow="fold")
        self._table.add_column("face", justify="right")
        self._table.add_column("box", justify="right")
        self._table.add_column("expression")
        self._table.add_column("probability", justify="right")
        self._table.add_column("next", style="dim")

    def table(self) -> Table:
        """The table so far."""
        return self._table

    def add(self, prediction: Prediction) -> None:
        """Add an image."""
        name = visible(prediction.source)
        if prediction.error:
            self._table.add_row(Text(name), "–", "", Text("not read", "red"), "", "")
        elif not prediction.faces:
            self._table.add_row(Text(name), "0", "", "no face", "", "")
        for number, face in enumerate(prediction.faces, start=1):
            left, top, right, bottom = (round(edge) for edge in face.box)
            ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])[1 : self.top]
            self._table.add_row(
                Text(name if number == 1 else ""),  # literal: a name may contain brackets
                str(number),
                f"{left}, {top}, {right}, {bottom}",
                face.expression,
                f"{face.probability:.1%}",
                ", ".join(f"{name} {probability:.0%}" for name, probability in ranked),
            )


class PersonsTable:
    """One row per person in each video: when they were seen, and how often each expression was the most probable.

    Args:
        named: Show which video each row belongs to.
    """

    def __init__(self, named: bool) -> None:
        self._table = Table(box=None, header_style="bold", pad_edge=False)
        self._named = named
        if named:
            self._table.add_column("video", overflow="fold")
        for name in ("person", "from", "to", "frames"):
            self._table.add_column(name, justify="right")
        self._table.add_column("expressions")
        self._source: str | None = None
        self._persons = Persons()

    def add(self, prediction: Prediction) -> None:
        """Add a frame, or a video that failed."""
        if prediction.source != self._source:
            self._finish()
            self._source = prediction.source
        self._persons.add(prediction)
        if prediction.error:
            self._add_row(visible(prediction.source), "", "", "", "", Text("not read", "red"))
            self._source = None

    def _add_row(self, name: str, *cells: str | Text) -> None:
        self._table.add_row(*([Text(name)] if self._named else []), *cells)  # literal: a name may contain brackets

    def table(self) -> Table:
        """The table so far."""
        self._finish()
        return self._table

    def _finish(self) -> None:
        """Add the rows of the video that has just ended."""
        if self._source is None:
            return
        name, persons, self._source, self._persons = visible(self._source), self._persons, None, Persons()
        for track, person in persons.by_track.items():
            ranked = [k for k in (-person.wins).argsort(kind="stable") if person.wins[k]][:4]
            shown = ", ".join(f"{persons.labels[k]} {person.wins[k] / person.frames:.0%}" for k in ranked)
            seen = (f"{person.first:.1f} s", f"{person.last:.1f} s", str(person.frames))
            self._add_row(name, str(track), *seen, shown)
            name = ""
        if persons.others:
            self._add_row(name, f"{persons.others} more", "", "", "", "seen in fewer frames")
        if not persons.by_track:
            self._add_row(name, "–", "", "", "", "no face")


class PredictionTables:
    """A table for images, and one for persons in videos.

    Args:
        images: Collects images.
        persons: Collects video frames.
    """

    def __init__(self, images: ImageTable, persons: PersonsTable) -> None:
        self.images, self.persons = images, persons

    def add(self, prediction: Prediction) -> None:
        """Add an image, a frame, or a source that could not be read."""
        moves = prediction.frame is not None or classify(prediction.source).moves
        (self.persons if moves else self.images).add(prediction)

    def print(self, path: Path | None) -> None:
        """Print the tables that are not empty to a file, or to standard output, also if the file cannot be written."""
        tables = [table for table in (self.images.table(), self.persons.table()) if table.row_count]
        try:
            if path:
                with atomic_write(path) as partial, partial.open("w", encoding="utf-8") as file:
                    _print(tables, Console(file=file, width=WIDTH))
                return
        except OutputError:
            _print(tables, Console(width=WIDTH))
            raise
        _print(tables, Console(width=None if sys.stdout.isatty() else WIDTH))


def _print(tables: list[Table], console: Console) -> None:
    for number, table in enumerate(tables):
        if number:
            console.print()
        console.print(table)
