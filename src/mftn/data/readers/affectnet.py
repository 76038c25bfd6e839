"""AffectNet: photographs from the web in eight expressions, in either of its two forms.

The CSV form has tables with `subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks,
expression, valence, arousal` and images in subfolders. The folder form has `train_set/` and `val_set/` with
`images/ID.jpg` and `annotations/ID_exp.npy`. The val split is used as test, as in the literature. Source:
Mollahosseini, Hasani and Mahoor, 2017.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mftn.data.readers import DataSet, ReadOptions, read_cells
from mftn.data.records import Record, Split
from mftn.errors import DataError
from mftn.sources import is_hidden

NUMBERS = dict(
    enumerate(("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"), start=0)
)
NOT_EXPRESSIONS = (8, 9, 10)  # none, uncertain, no face
COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression")
FOLDERS: dict[str, Split] = {"train_set": "train", "val_set": "test"}
OUT = {"train": "train", "test": "valid"}


def read(root: Path, options: ReadOptions) -> Iterator[Record]:  # noqa: ARG001 (the classes are chosen later)
    """Either form, train first; faces without an expression are omitted."""
    present = [folder for folder in FOLDERS if (root / folder).is_dir()]
    tables = sorted(path for path in root.glob("*.csv") if not is_hidden(path.name))
    if present:
        for folder in present:
            yield from _read_folder(root / folder, FOLDERS[folder])
    elif tables:
        for table in tables:
            yield from _read_table(table)
    else:
        raise DataError(f"{root}: contains neither the folders {', '.join(FOLDERS)} nor CSV tables")


def _read_folder(folder: Path, split: Split) -> Iterator[Record]:
    found = (path for path in (folder / "annotations").glob("*_exp.npy") if not is_hidden(path.name))
    annotations = sorted(found, key=lambda path: (len(path.name), path.name))
    if not annotations:
        raise DataError(
            f"{folder / 'annotations'}: holds no *_exp.npy; if {folder.name} holds another {folder.name}, move its "
            "content up, otherwise extract the archive again"
        )
    for annotation in annotations:
        try:
            number = int(np.load(annotation, allow_pickle=False).item())
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{annotation}: not an expression number ({error}); extract the archive again") from error
        label = _label(number, str(annotation))
        if label:
            stem = annotation.name.removesuffix("_exp.npy")
            image = folder / "images" / f"{stem}.jpg"
            yield Record(image, str(annotation), f"{OUT[split]}/{stem}", split, label)


def _read_table(table: Path) -> Iterator[Record]:
    split = _split_of(table)
    images = None
    for where, row in read_cells(table):
        if row[0] == COLUMNS[0]:
            continue
        try:
            path, left, top, width, height, _landmarks, number = row[: len(COLUMNS)]
            label = _label(int(number), where)
            if not label:  # its box may be empty
                continue
            x, y, w, h = (float(value) for value in (left, top, width, height))
        except ValueError as error:
            raise DataError(f"{where}: not the columns {', '.join(COLUMNS)}, …: {row[:8]}") from error
        images = images or _find_images(table, path, where)
        name = f"{OUT[split]}/{path.replace('/', '_').rsplit('.', 1)[0]}"
        yield Record(images / path, where, name, split, label, box=(x, y, x + w, y + h))


def _split_of(table: Path) -> Split:
    if table.stem.lower().startswith("train"):
        return "train"
    if table.stem.lower().startswith("val"):
        return "test"
    raise DataError(f"{table}: its name starts neither with train nor with val; move other tables elsewhere")


def _find_images(table: Path, path: str, where: str) -> Path:
    """The folder that the table's paths are relative to: the table's own, or one up to two levels below."""
    for pattern in ("", "*/", "*/*/"):
        for folder in [table.parent] if not pattern else sorted(table.parent.glob(pattern)):
            if (folder / path).is_file() and not any(map(is_hidden, folder.relative_to(table.parent).parts)):
                return folder
    raise DataError(f"{where}: {path} is neither in {table.parent} nor up to two folders below; extract the images")


def _label(number: int, where: str) -> str | None:
    if number not in NUMBERS and number not in NOT_EXPRESSIONS:
        raise DataError(f"{where}: expression {number} is not from 0 to 10")
    return NUMBERS.get(number)


DATA_SET = DataSet(
    "AffectNet",
    read,
    {
        "train": dict(zip(NUMBERS.values(), (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750), strict=True)),
        "test": dict.fromkeys(NUMBERS.values(), 500),
    },
    "non-commercial research only; on request from its owners; may not be passed on",
)
