"""Where `mftn predict` sends predictions: a file, standard output, or a table for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mftn.errors import OutputError
from mftn.files import atomic_write, readable
from mftn.output import CsvWriter, JsonlWriter, open_writer
from mftn.types import Prediction

WIDTH = 120
"""Width in columns of a table that is not printed to a terminal."""


class Rows(Protocol):
    """Collects predictions into a table, such as `ImageTable`."""

    def add(self, prediction: Prediction) -> None:
        """Add an image or a frame."""
        ...

    def table(self) -> Table:
        """The table so far."""
        ...


@contextmanager
def sink(path: Path | None, kind: str, rows: Rows) -> Iterator[Callable[[Prediction], None]]:
    """A function that writes predictions; the output is complete when the block ends, even by Ctrl-C.

    Args:
        path: The file; None for standard output.
        kind: "table", "jsonl", "csv" or "parquet" (with a file only).
        rows: Collects the predictions for the kind "table".
    """
    if kind == "table":
        try:
            yield rows.add
        finally:
            print_table(rows.table(), path)
    elif path:
        with open_writer(path, kind) as writer:
            yield writer.write
    else:
        writer = JsonlWriter(sys.stdout) if kind == "jsonl" else CsvWriter(sys.stdout)

        def write(prediction: Prediction) -> None:
            writer.write(prediction)
            writer.close()  # flush: a reader at the other end sees each image at once

        yield write


def print_table(table: Table, path: Path | None) -> None:
    """Print a table to a file, or to standard output unless it is empty; also where the file cannot be written."""
    try:
        if path:
            with atomic_write(path) as partial, partial.open("w", encoding="utf-8") as file:
                Console(file=file, width=WIDTH).print(table)
            return
    except OutputError:
        _show(table)
        raise
    _show(table)


def _show(table: Table) -> None:
    if table.row_count:
        Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


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
        name = readable(prediction.source)
        if prediction.error:
            self._table.add_row(Text(name), "–", "", Text("not read", "red"), "", "")
        elif not prediction.faces:
            self._table.add_row(Text(name), "0", "", "no face", "", "")
        for number, face in enumerate(prediction.faces, start=1):
            left, top, right, bottom = (round(edge) for edge in face.box)
            ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])[1 : self.top]
            self._table.add_row(
                Text(name if number == 1 else ""),  # as it is: a name may hold brackets
                str(number),
                f"{left}, {top}, {right}, {bottom}",
                face.expression,
                f"{face.probability:.1%}",
                ", ".join(f"{name} {probability:.0%}" for name, probability in ranked),
            )
