"""ExpW (Expression in-the-Wild): 91,793 faces in photographs from the web, seven expressions.

`label/label.lst` has one face per line: image, number of the face in it, box top, left, right and bottom, confidence,
expression. There are no official splits. Source: Zhang, Luo, Loy and Tang, 2018.
"""

from collections.abc import Iterator
from pathlib import Path

from mftn.data.readers import DataSet, ReadOptions, read_lines
from mftn.data.records import Record
from mftn.errors import DataError

NUMBERS = dict(enumerate(("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")))


def read(root: Path, options: ReadOptions) -> Iterator[Record]:  # noqa: ARG001 (one form only)
    """The rows of the list in order; images are in `image/` or below it."""
    table = root / "label" / "label.lst"
    if not table.is_file():
        raise DataError(f"{table}: missing; give the folder that holds label/ and image/")
    folder = next((f for f in (root / "image" / "origin", root / "image") if f.is_dir()), None)
    if folder is None:
        raise DataError(f"{root / 'image'}: missing; extract all parts of the images' archive")
    for where, row in read_lines(table):
        try:
            file, *values, label = row.rsplit(maxsplit=7)
            face, top, left, right, bottom = (int(value) for value in values[:5])
            label = NUMBERS[int(label)]
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{where}: expected image, face, top, left, right, bottom, confidence and a number from 0 to 6: {row!r}"
            ) from error
        name = f"all/{Path(file).stem}_face{face}"
        yield Record(folder / file, where, name, None, label, box=(left, top, right, bottom), face=face)


DATA_SET = DataSet(
    "ExpW",
    read,
    {None: dict(zip(NUMBERS.values(), (3671, 3995, 1088, 30537, 10559, 7060, 34883), strict=True))},
    "non-commercial research only; on request from its owners; may not be passed on",
)
