"""Destinations of predictions in `mftn predict`: a file, standard output, or a table for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mftn.errors import OutputError
from mftn.journal import KEPT, Journal
from mftn.output import CsvWriter, JsonlWriter, Provenance, open_writer
from mftn.types import Prediction


class Rows(Protocol):
    """Collects predictions into tables, as `mftn.cli.tables.PredictionTables` does."""

    def add(self, prediction: Prediction) -> None:
        """Add an image or a frame."""
        ...

    def print(self, path: Path | None) -> None:
        """Print the tables to a file or to standard output."""
        ...


@dataclass
class Sink:
    """Receives the predictions of a command.

    Attributes:
        write: Writes an image or a frame.
        journal: Keeps the results so far, if the output is a file.
        complete: Whether nothing is left to resume.
    """

    write: Callable[[Prediction], None]
    journal: Journal | None = None
    complete: bool = False

    def announce(self, files: Iterable[Path]) -> None:
        """Record files that are about to be written; see `Journal.announce`."""
        if self.journal:
            self.journal.announce(files)

    def end(self, source: str, saved: Iterable[str] = (), failed: bool = False) -> None:
        """Mark a source as done; see `Journal.end`."""
        if self.journal:
            self.journal.end(source, saved, failed)


@contextmanager
def open_sink(
    path: Path | None, kind: str, rows: Rows | None, made_by: Provenance, order: Sequence[str] | None = None
) -> Iterator[Sink]:
    """Open the destination; the output is complete when the block ends, even by Ctrl-C.

    Args:
        path: The file; None for standard output.
        kind: "table", "jsonl", "csv" or "parquet" (with a file only).
        rows: Collects the predictions for the kind "table"; not needed for other kinds.
        made_by: The provenance, stored with the file.
        order: The names of all sources, to resume an earlier run; None to start over.

    Raises:
        ConfigError: The earlier run had other settings, or another run is writing to the file.
        OutputError: The file or its journal cannot be written.
    """
    if rows:
        try:
            yield Sink(rows.add)
        finally:
            rows.print(path)
    elif path and is_file_to_be(path):
        journal = Journal(path, made_by, order is not None)
        taken = Sink(journal.write, journal)
        try:
            yield taken
        except OutputError as error:  # the disk is full: the journal keeps the results
            journal.close()
            if str(journal.path) in str(error):
                raise  # the message says so already
            raise OutputError(f"{error}; {KEPT}") from error
        except BaseException:
            _finish(taken, kind, order)
            raise
        _finish(taken, kind, order)
    elif path:
        with open_writer(path, kind) as writer:
            yield Sink(writer.write)
    else:
        shown = JsonlWriter(sys.stdout) if kind == "jsonl" else CsvWriter(sys.stdout)

        def write(prediction: Prediction) -> None:
            shown.write(prediction)
            shown.close()  # flush, so that a reader of the pipe gets each image at once

        yield Sink(write)


def _finish(taken: Sink, kind: str, order: Sequence[str] | None) -> None:
    """Write the file, and remove the journal if nothing is left to resume and --resume was not given."""
    assert taken.journal
    written = False
    try:
        taken.journal.write_output(kind, order)
        written = True
    finally:
        taken.journal.close(remove=written and taken.complete and order is None)


def is_file_to_be(path: Path) -> bool:
    """Whether a path is or will be a regular file, not a pipe or a device."""
    return path.is_file() or not path.exists()
