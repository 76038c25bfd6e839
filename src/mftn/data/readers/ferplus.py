"""FERPlus: the FER2013 images with ten raters' votes each, in either of its two forms.

The folder form has `FER2013Train`, `FER2013Valid` and `FER2013Test`, each with 48×48 grey PNG files and `label.csv`:
file, box (not in the tables that Microsoft's generate_training_data.py writes), then ten vote counts. The table form
has `fer2013new.csv` (votes) beside `fer2013.csv` (pixels), joined by row order. Source: Barsoum et al., 2016.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from mftn.data.readers import DataSet, ReadOptions, read_cells, read_rows
from mftn.data.readers.fer2013 import USAGES, parse_row
from mftn.data.records import Record, Split
from mftn.data.votes import VOTE_COLUMNS, hard_labels
from mftn.errors import DataError
from mftn.labels import EXPRESSIONS

TABLE_COLUMNS = (*VOTE_COLUMNS[:-1], "NF")
"""Names of the vote columns in fer2013new.csv."""

FOLDERS: Mapping[str, Split] = {"FER2013Train": "train", "FER2013Valid": "valid", "FER2013Test": "test"}


def read(root: Path, options: ReadOptions) -> Iterator[Record]:  # noqa: ARG001 (votes keep all classes)
    """Every image of the splits found under `root`, in the order of the tables.

    The label is the argmax protocol's; images that the raters gave no expression are kept without a label.
    """
    present = [folder for folder in FOLDERS if (root / folder).is_dir()]
    if present:
        for folder in present:
            yield from _read_folder(root / folder, FOLDERS[folder])
    elif (root / "fer2013new.csv").is_file():
        yield from _read_tables(root / "fer2013new.csv", root / "fer2013.csv")
    else:
        raise DataError(f"{root}: contains neither the folders {', '.join(FOLDERS)} nor fer2013new.csv and fer2013.csv")


def _read_folder(folder: Path, split: Split) -> Iterator[Record]:
    table = folder / "label.csv"
    if not table.is_file():
        raise DataError(f"{table}: missing; FERPlus keeps one beside the images of every split")
    for where, row in read_cells(table):
        if len(row) < 2:
            raise DataError(f"{where}: expected a file name, a box and vote counts: {row}")
        votes = _votes(row[1 if len(row) == 1 + len(VOTE_COLUMNS) else 2 :], where)
        name = f"{split}/{Path(row[0]).stem}"
        yield Record(folder / row[0], where, name, split, _label(votes), votes)


def _read_tables(votes_table: Path, pixels_table: Path) -> Iterator[Record]:
    if not pixels_table.is_file():
        raise DataError(f"{pixels_table}: missing; {votes_table.name} has the votes, this table the pixels")
    rows = zip_longest(read_rows(votes_table), read_rows(pixels_table))
    for line, (row, pixels_row) in enumerate(rows, start=2):
        where = f"{votes_table}:{line}"
        if row is None or pixels_row is None:
            raise DataError(f"{where}: {votes_table.name} and {pixels_table.name} differ in length")
        if row.get("Usage") is None or row.get("Image name") is None:
            raise DataError(f"{where}: expected a usage, an image name and vote counts: {list(row.values())}")
        if missing := [column for column in TABLE_COLUMNS if column not in row]:
            raise DataError(f"{votes_table}: lacks the columns {', '.join(missing)}; votes are read by column name")
        usage, _, pixels = parse_row(pixels_row, f"{pixels_table}:{line}")
        if row["Usage"] != usage:
            raise DataError(f"{where}: {row['Usage']} here but {usage} in {pixels_table.name}: the rows do not match")
        if row["Image name"]:  # images without a name are not faces, and not in FERPlus's folders either
            votes = _votes([*(row[column] for column in TABLE_COLUMNS), *row.get(None, ())], where)
            name = f"{USAGES[usage]}/{Path(row['Image name']).stem}"
            yield Record(pixels_table, where, name, USAGES[usage], _label(votes), votes, pixels=pixels)


def _votes(columns: Sequence[str], where: str) -> tuple[int, ...]:
    try:
        values = [float(vote) for vote in columns]  # a table that was saved again may contain 3.0
        votes = tuple(map(int, values))
    except (ValueError, TypeError, OverflowError) as error:  # a row that is too short has None
        raise DataError(f"{where}: expected a file name, a box and vote counts: {columns}") from error
    if len(votes) != len(VOTE_COLUMNS) or min(votes) < 0 or list(votes) != values:
        raise DataError(f"{where}: expected {len(VOTE_COLUMNS)} vote counts, found {columns}")
    return votes


def _label(votes: tuple[int, ...]) -> str | None:
    label = int(hard_labels(np.array([votes]), "argmax")[0])
    return EXPRESSIONS[label] if label >= 0 else None


DATA_SET = DataSet(
    "FERPlus",
    read,
    {"train": 28_558, "valid": 3_579, "test": 3_573},
    "labels MIT (Microsoft); the images are FER2013's: public research data without a clear licence",
    size=96,
    framing="fer2013",
    format="png",
)
