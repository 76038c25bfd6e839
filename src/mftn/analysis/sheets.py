"""The study's own tables (people, segments, conditions, baselines), as people write them in a spreadsheet."""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import TypeAlias

import pandas as pd

from mftn.analysis.settings import parse_seconds
from mftn.errors import ConfigError, DataError
from mftn.files import csv_delimiter

Sheet: TypeAlias = str | Path | pd.DataFrame
"""A CSV file or a data frame."""


def read_sheet(sheet: Sheet, what: str, needed: Sequence[str]) -> pd.DataFrame:
    """A table of text: column names in lower case, cells without surrounding spaces, empty cells as "".

    Columns without a name are dropped: spreadsheets write columns that were once used, and pandas its row numbers.

    Args:
        sheet: A CSV file with commas, semicolons or tabs, or a data frame.
        what: Its name in error messages where it has no file name.
        needed: Required columns.

    Raises:
        DataError: The file is missing or unreadable, empty, or lacks a column.
    """
    name = what if isinstance(sheet, pd.DataFrame) else str(sheet)
    frame = sheet.reset_index(drop=True) if isinstance(sheet, pd.DataFrame) else _read_csv(Path(sheet))
    words = frame.astype(object).where(frame.notna(), "").apply(lambda column: column.map(_word))
    words.columns = [normalised(str(column)).lower() for column in frame.columns]
    words = words.loc[:, words.columns != ""]
    missing = [column for column in needed if column not in words]
    if missing:
        raise DataError(
            f"{name}: lacks the column {', '.join(missing)}; it has {', '.join(words.columns) or 'none'} "
            f"({what} need {', '.join(needed)})"
        )
    if len(set(words.columns)) < len(words.columns):
        raise DataError(f"{name}: two columns have the same name: {', '.join(words.columns)}")
    words = words[(words != "").any(axis=1)]  # the index still counts empty rows, as a spreadsheet does
    if words.empty:
        raise DataError(f"{name}: has no rows")
    words.attrs["name"] = name
    return words


def note_unused_columns(table: pd.DataFrame, used: Sequence[str], notes: list[str]) -> None:
    """Note the columns of a sheet that are not used: one with a misspelt name would count as empty without a word."""
    if others := [column for column in table if column not in used]:
        notes.append(f"{table.attrs['name']}: not used: {', '.join(others)} (the columns used are {', '.join(used)})")


def _word(cell: object) -> str:
    """A cell's text; whole numbers have no decimals, though pandas stores 7.0 where a column has missing values."""
    return normalised(f"{cell:.0f}" if isinstance(cell, float) and cell.is_integer() else str(cell))


def normalised(text: str) -> str:
    """The text without surrounding spaces and in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", text).strip()


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = csv_delimiter(file.readline())
            file.seek(0)
            rows = list(csv.reader(file, delimiter=separator, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: not a readable CSV table (save it as CSV UTF-8, and close every quotation mark): {error}"
        ) from error
    header = rows.pop(0) if rows else []
    for number, row in enumerate(rows):
        if any(cell.strip() for cell in row[len(header) :]):
            raise DataError(
                f"{path}: row {number + 2} has {len(row)} cells, the header {len(header)}; put text that contains "
                f"{separator!r} in double quotes"
            )
    width = len(header)
    frame = pd.DataFrame([[*row, *[""] * width][:width] for row in rows], columns=header, dtype=str)
    # where commas do not separate cells, they are decimal commas
    return frame.replace(r"^\s*(-?\d+),(\d+)\s*$", r"\1.\2", regex=True) if separator != "," else frame


def row_name(row: pd.Series, name: str) -> str:
    """Table and number of a row, as a spreadsheet counts."""
    return f"{name}: row {int(str(row.name)) + 2}"


def span(row: pd.Series, name: str) -> tuple[float | None, float | None]:
    """The times in a row's columns start and end; None where a cell is empty or the column is missing.

    Raises:
        DataError: A cell is not a time, or the end does not come after the start.
    """
    start, end = _seconds(row, "start", name), _seconds(row, "end", name)
    if start is not None and end is not None and end <= start:
        what = f"{row['name']} " if row.get("name") else ""
        raise DataError(f"{row_name(row, name)}: {what}ends at {end:g} s, not after its start at {start:g} s")
    return start, end


def _seconds(row: pd.Series, column: str, name: str) -> float | None:
    word = row.get(column, "")
    if word == "":
        return None
    try:
        return parse_seconds(word, column)
    except ConfigError as error:
        raise DataError(f"{row_name(row, name)}: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class TimedRow:
    """A row that applies to a person, a recording or both, for a time.

    Attributes:
        where: Table and number of the row, for messages.
        source: None for every recording.
        person: None for everybody.
        start: Seconds; −∞ where none is given.
        end: Seconds, exclusive; ∞ where none is given.
        cells: All cells, by column.
    """

    where: str
    source: str | None
    person: str | None
    start: float
    end: float
    cells: pd.Series


def timed_rows(table: pd.DataFrame, sources: Sources, notes: list[str]) -> Iterator[TimedRow]:
    """The rows of a table, except those whose source is unknown, which are noted."""
    name = table.attrs["name"]
    for _, row in table.iterrows():
        where, word = row_name(row, name), row.get("source", "")
        source = sources.find(word, name) if word else None
        if word and source is None:
            notes.append(f"{where}: the table has no source {word}")
            continue
        start, end = span(row, name)
        bounds = (-math.inf if start is None else start, math.inf if end is None else end)
        yield TimedRow(where, source, row.get("person") or None, *bounds, row)


def key_columns(table: pd.DataFrame, what: str) -> list[str]:
    """Those of the columns source and person that the table has; DataError if it has neither."""
    keys = [column for column in ("source", "person") if column in table]
    if not keys:
        raise DataError(f"{table.attrs['name']}: needs a column source or person, to say whose {what} each row gives")
    return keys


class RowIndex:
    """The rows of a table, found by the recording and the person that they apply to."""

    def __init__(self) -> None:
        self.rows: list[TimedRow] = []
        self._numbers: dict[tuple[str | None, str | None], list[int]] = {}

    def add(self, row: TimedRow, source: str | None, person: str | None = None) -> None:
        """Add a row; None means every recording, or everybody."""
        self._numbers.setdefault((source, person), []).append(len(self.rows))
        self.rows.append(row)

    def find(self, source: str, person: str | None = None) -> list[TimedRow]:
        """The rows that apply, in the table's order."""
        keys = {(one, other) for one in (source, None) for other in (person, None)}
        numbers = sorted(number for key in keys for number in self._numbers.get(key, ()))
        return [self.rows[number] for number in numbers]


class Sources:
    """Finds a table's source by the name that a person wrote: the path or its end, with or without the suffix.

    Args:
        names: The sources of the table.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._by: dict[str, dict[str, None]] = {}
        for name in self._names:
            path = _pure(normalised(name))
            for key in {path.name, path.stem}:
                self._by.setdefault(key, {})[name] = None

    def find(self, word: str, name: str) -> str | None:
        """The source, or None.

        Raises:
            DataError: The name matches several sources.
        """
        if word in self._names:
            return word
        found = [source for source in self._by.get(_pure(word).name, {}) if _same_folders(normalised(source), word)]
        if len(found) > 1:
            raise DataError(f"{name}: {word} may be {' or '.join(found[:3])}; write the path as it is in the table")
        return found[0] if found else None


def _pure(name: str) -> PurePath:
    r"""A path; one with \, as in tables made on Windows, is understood on every system."""
    return PureWindowsPath(name) if "\\" in name else PurePath(name)


def _same_folders(one: str, other: str) -> bool:
    """Whether two paths agree in the folders that both of them name."""
    first, second = _pure(one).parts[-2::-1], _pure(other).parts[-2::-1]  # the nearest folder first
    return all(a == b for a, b in zip(first, second, strict=False))
