"""Your own faces in a table, CSV (commas, semicolons or tabs) or Parquet: `path`, `label`, optionally `split` and the
face's box in `left`, `top`, `right`, `bottom`. Paths are relative to the table's folder."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mftn.data.readers import DataSet, ReadOptions, open_table
from mftn.data.readers.folder import SPLIT_NAMES
from mftn.data.records import Record
from mftn.errors import DataError
from mftn.files import csv_delimiter
from mftn.labels import find_expression
from mftn.types import Box


def read(root: Path, options: ReadOptions) -> Iterator[Record]:  # noqa: ARG001 (one form only)
    """The rows in order."""
    if not root.is_file():
        raise DataError(f"{root}: not a table; give a .csv or .parquet file")
    boxes: dict[Path, list[Box | None]] = {}
    for line, cells in enumerate(_rows(root), start=2):
        row, where = {str(key or "").strip().lower(): value for key, value in cells.items()}, f"{root}:{line}"
        if not row.get("path") or not row.get("label"):
            raise DataError(
                f"{where}: needs a path and a label; its columns are {', '.join(key for key in row if key)}"
            )
        label = find_expression(str(row["label"]))
        if label is None:
            raise DataError(
                f"{where}: {row['label']!r} is not an expression; known are neutral, happiness, surprise, …"
            )
        split = SPLIT_NAMES.get(str(row.get("split") or "").strip().lower())
        if row.get("split") and split is None:
            raise DataError(f"{where}: {row['split']!r} is not a split; known are train, valid and test")
        path = Path(str(row["path"]))
        stem = "_".join((*path.parts[:-1], path.stem)[-2:])
        name = f"{split or 'all'}/{stem}"
        box, found = _box(row, where), boxes.setdefault(path, [])
        if box not in found:
            found.append(box)
        yield Record(root.parent / path, where, name, split, label, box=box, face=found.index(box))


def _rows(table: Path) -> Iterator[Mapping[str, Any]]:
    if table.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            for batch in pq.ParquetFile(table).iter_batches():
                yield from batch.to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{table}: not a Parquet file ({error})") from error
    else:
        with open_table(table) as file:
            separator = csv_delimiter(file.readline())
            file.seek(0)
            yield from csv.DictReader(file, delimiter=separator, strict=True)


def _box(row: Mapping[str, Any], where: str) -> Box | None:
    values = [row.get(edge) for edge in ("left", "top", "right", "bottom")]
    if all(value in (None, "") for value in values):
        return None
    try:
        left, top, right, bottom = (float(str(value).replace(",", ".")) for value in values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: the box needs numbers for left, top, right and bottom, found {values}") from error
    return left, top, right, bottom


DATA_SET = DataSet("a table", read, {}, "your own: note it where you keep the images")
