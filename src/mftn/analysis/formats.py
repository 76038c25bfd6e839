"""Read JSONL, CSV, Parquet and data frames in batches of rows with one schema.

Parquet is read directly. JSONL and CSV are first copied to a temporary Parquet file with the columns that are needed.
"""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from mftn.errors import DataError
from mftn.files import csv_delimiter
from mftn.labels import EXPRESSIONS
from mftn.types import Prediction

Table = str | Path | Sequence[str | Path] | Iterable[Prediction] | Any
"""One or more paths, a pandas, polars or pyarrow table, or predictions."""

PROBABILITIES = tuple(f"p_{name}" for name in EXPRESSIONS)
BOX = ("left", "top", "right", "bottom")
TYPES: dict[str, pa.DataType] = {
    "source": pa.string(),
    **dict.fromkeys((*BOX, "score", *PROBABILITIES), pa.float32()),
    "error": pa.string(),
    "time": pa.float64(),
    "track": pa.int32(),
    "model": pa.string(),
}
_NEEDED = ("source",)
_ENDINGS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_ROWS = 1 << 17
_LONGEST_LINE = 1 << 24
"""Maximum bytes in a line of JSONL: 2,000 faces with long paths exceed the reader's usual 1 MiB."""

_SAMPLE = 1000
"""Lines of a CSV table that are examined for decimal points or commas."""


class _Memory:
    """A table that is already in memory."""

    def __init__(self, table: pa.Table) -> None:
        self.name, self.table, self.names = "the table", table, frozenset(table.column_names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for start in range(0, self.table.num_rows, _ROWS):
            yield self.table.select(columns).slice(start, _ROWS)


class _Parquet:
    """A Parquet file."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.file = name, pq.ParquetFile(path, pre_buffer=False)  # else it holds the whole file in memory
        self.names = frozenset(self.file.schema_arrow.names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for batch in self.file.iter_batches(_ROWS, columns=list(columns)):
            yield pa.Table.from_batches([batch])


Part = _Memory | _Parquet


def open_part(part: str | Path | pa.Table, files: ExitStack) -> Part:
    """Open a table whose rows are read in batches.

    Args:
        part: A file or a table in memory.
        files: Removes the temporary file that a CSV or JSONL table is copied to.

    Raises:
        DataError: The file is missing or unreadable, or lacks required columns.
    """
    if isinstance(part, pa.Table):
        return _checked(_Memory(part))
    path = Path(part)
    kind = _ENDINGS.get(path.suffix.lower())
    if not kind:
        raise DataError(f"{path}: unknown suffix; a table of faces ends in .parquet, .csv or .jsonl")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give a file written by `mftn predict --output`")
    try:
        if kind == "parquet":
            return _checked(_Parquet(str(path), path))
        folder = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="mftn-")))
        batches = _csv_batches(path) if kind == "csv" else _jsonl_batches(path)
        return _checked(_Parquet(str(path), _copy(batches, folder / "faces.parquet", str(path))))
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            where = tempfile.gettempdir()
            raise DataError(f"{path}: must be copied to {where}, which is full; set TMPDIR") from error
        raise DataError(f"{path}: not a readable {kind} table: {str(error).splitlines()[0]}") from error


def split_input(table: Table) -> list[str | Path | pa.Table]:
    """Split the input into files or tables in memory.

    Raises:
        DataError: The input is none of the accepted types.
    """
    if isinstance(table, str | Path):
        return [table]
    if isinstance(table, pa.Table):
        return [table]
    if hasattr(table, "__arrow_c_stream__"):  # pandas, polars, duckdb
        return [pa.table(table)]
    items = list(table)
    if items and all(isinstance(item, str | Path) for item in items):
        return items
    if all(isinstance(item, Prediction) for item in items):
        return [pa.Table.from_pylist([row for item in items for row in item.to_rows()])] if items else []
    raise DataError("a table of faces is a path, several paths, a data frame, or predictions")


def _checked(part: Part) -> Part:
    missing = [name for name in _NEEDED if name not in part.names]
    if missing or not any(name in part.names for name in PROBABILITIES):
        missing += [] if any(name in part.names for name in PROBABILITIES) else ["p_neutral … p_contempt"]
        raise DataError(f"{part.name}: lacks the column {', '.join(missing)}; was it written by `mftn predict`?")
    if "time" in part.names and "track" not in part.names:
        raise DataError(f"{part.name}: lacks the column track, which tells people in a video apart")
    return part


def conform(batch: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    """The batch with these columns and types; missing columns are empty.

    Raises:
        DataError: A column has values of another type.
    """
    columns = []
    for field in schema:
        if field.name not in batch.column_names:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        try:
            columns.append(batch[field.name].cast(field.type, safe=False))
        except pa.ArrowException as error:
            raise DataError(f"{name}: column {field.name} does not hold {field.type}: {error}") from error
    return pa.table(columns, schema=schema)


def _copy(batches: Iterator[pa.Table], path: Path, name: str) -> Path:
    """Write the needed columns of the batches to a Parquet file."""
    writer: pq.ParquetWriter | None = None
    schema = pa.schema({})
    for batch in batches:
        if writer is None:
            schema = pa.schema([(column, TYPES[column]) for column in batch.column_names if column in TYPES])
            writer = pq.ParquetWriter(path, schema, compression="lz4")
        writer.write_table(conform(batch, schema, name))
    if writer is None:
        raise DataError(f"{name}: the table is empty")
    writer.close()
    return path


def _csv_batches(path: Path) -> Iterator[pa.Table]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = list(islice(file, _SAMPLE))
    first = lines[0] if lines else ""
    separator = "\t" if path.suffix.lower() == ".tsv" else csv_delimiter(first)
    names = [name.strip().strip('"') for name in first.strip().split(separator)]
    cells = [cell.strip('"\r\n ') for line in lines for cell in line.split(separator)]
    comma = separator != "," and any(re.fullmatch(r"-?\d+,\d+", cell) for cell in cells)
    convert = pa.csv.ConvertOptions(
        column_types=TYPES | {"track": pa.float64()},  # pandas writes whole numbers as 1.0 where some are missing
        include_columns=[name for name in names if name in TYPES],
        strings_can_be_null=True,
        decimal_point="," if comma else ".",
    )
    parse = pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    try:
        for batch in pa.csv.open_csv(path, parse_options=parse, convert_options=convert):
            yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        said = re.sub(r"CSV column #(\d+)", lambda found: f"column {names[int(found[1])]}", str(error).splitlines()[0])
        raise DataError(f"{path}: not a readable csv table (save it as CSV UTF-8): {said}") from error


def _jsonl_batches(path: Path) -> Iterator[pa.Table]:
    number, text = pa.float32(), pa.string()
    face = pa.struct(
        {
            "box": pa.list_(number),
            "score": number,
            "probabilities": pa.struct(dict.fromkeys(EXPRESSIONS, number)),
            "track": pa.int32(),
        }
    )
    image = {"source": text, "faces": pa.list_(face), "error": text, "time": pa.float64(), "model": text}
    parse = pa.json.ParseOptions(explicit_schema=pa.schema(image), unexpected_field_behavior="ignore")
    read = pa.json.ReadOptions(block_size=_LONGEST_LINE)
    for batch in pa.json.open_json(path, read_options=read, parse_options=parse):
        yield _flat(pa.Table.from_batches([batch]))


def _flat(images: pa.Table) -> pa.Table:
    """One row per face; an image without faces has one row without values."""
    faces = images["faces"].combine_chunks()
    lengths = np.diff(faces.offsets.to_numpy()) if len(faces) else np.zeros(0, np.int64)
    lengths = np.where(faces.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    rows = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 1))
    index = np.full(len(rows), -1)
    index[lengths[rows] > 0] = np.arange(lengths.sum())
    flat = faces.flatten().take(pa.array(index, mask=index < 0))
    boxes = flat.field("box")
    columns = {name: images[name].take(pa.array(rows)) for name in ("source", "error", "time", "model")}
    columns |= {name: _element(boxes, number) for number, name in enumerate(BOX)}
    columns |= {"score": _valid(flat, "score"), "track": _valid(flat, "track")}
    known = _valid(flat, "probabilities")
    return pa.table(columns | {f"p_{name}": _valid(known, name) for name in EXPRESSIONS})


def _valid(values: pa.StructArray, name: str) -> pa.Array:
    return pc.struct_field(values, name)


def _element(boxes: pa.ListArray, number: int) -> pa.Array:
    missing = boxes.is_null().to_numpy(zero_copy_only=False)
    filled = pc.list_element(boxes.drop_null(), number) if not missing.all() else pa.array([], pa.float32())
    index = np.cumsum(~missing) - 1
    return filled.take(pa.array(index, mask=missing))
