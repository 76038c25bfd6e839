"""FER2013 as one table: `fer2013.csv` with an expression, 48×48 grey values and a usage per row.

Source: Goodfellow et al., Challenges in representation learning, 2013.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mftn.data.readers import DataSet, ReadOptions, read_rows
from mftn.data.records import Record, Split
from mftn.errors import DataError

NUMBERS = dict(enumerate(("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")))
USAGES: Mapping[str, Split] = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
PIXELS = 48 * 48


def read(root: Path, options: ReadOptions) -> Iterator[Record]:  # noqa: ARG001 (one form only)
    """The rows in order; `root` is the table or its folder."""
    tables = [root] if root.is_file() else [root / "fer2013.csv", root / "icml_face_data.csv"]
    table = next((table for table in tables if table.is_file()), None)
    if table is None:
        raise DataError(f"{root}: holds neither fer2013.csv nor icml_face_data.csv")
    for line, row in enumerate(read_rows(table), start=2):
        usage, label, pixels = parse_row(row, f"{table}:{line}")
        split = USAGES[usage]
        yield Record(table, f"{table}:{line}", f"{split}/{line - 2:05d}", split, label, pixels=pixels)


def parse_row(row: Mapping[str, str], where: str) -> tuple[str, str, bytes]:
    """Usage, expression and grey values of a row.

    Raises:
        DataError: The row does not have the expected columns or values.
    """
    values = {key.strip(): value for key, value in row.items() if key and isinstance(value, str)}
    try:
        usage, label = values["Usage"].strip(), NUMBERS[int(values["emotion"])]
        pixels = bytes(map(int, values["pixels"].split()))
    except (KeyError, ValueError) as error:
        raise DataError(f"{where}: expected an emotion from 0 to 6, pixels and a usage ({error})") from error
    if usage not in USAGES:
        raise DataError(f"{where}: usage {usage!r} is not one of {', '.join(USAGES)}")
    if len(pixels) != PIXELS:
        raise DataError(f"{where}: {len(pixels)} grey values, not {PIXELS}")
    return usage, label, pixels


DATA_SET = DataSet(
    "FER2013",
    read,
    {
        "train": dict(zip(NUMBERS.values(), (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
        "valid": dict(zip(NUMBERS.values(), (467, 56, 496, 895, 653, 415, 607), strict=True)),
        "test": dict(zip(NUMBERS.values(), (491, 55, 528, 879, 594, 416, 626), strict=True)),
    },
    "public research data without a clear licence",
    size=96,
    framing="fer2013",
    format="png",
)
