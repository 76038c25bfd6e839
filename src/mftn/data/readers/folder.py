"""Your own images in one folder per expression, optionally inside a folder per split: `[train/]anger/a.jpg`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mftn.data.readers import DataSet, ReadOptions
from mftn.data.records import Record, Split
from mftn.errors import DataError
from mftn.labels import find_expression
from mftn.sources import Kind, advice, describe, is_hidden, walk

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}


def read(root: Path, options: ReadOptions) -> Iterator[Record]:
    """Sorted by split, expression and file name; the order of the classes is the package's, not the folders'."""
    folders = _subfolders(root)
    if folders and all(folder.name.lower() in SPLIT_NAMES for folder in folders):
        for folder in folders:
            yield from _read_classes(folder, SPLIT_NAMES[folder.name.lower()], options.notes)
    else:
        yield from _read_classes(root, None, options.notes)


def _read_classes(root: Path, split: Split | None, notes: list[str]) -> Iterator[Record]:
    folders = _subfolders(root)
    if not folders:
        raise DataError(f"{root}: holds no folders; put the images of each expression into a folder named after it")
    for folder in folders:
        label = find_expression(folder.name)
        if label is None:
            raise DataError(f"{folder}: its name is not an expression; name it neutral, happiness, surprise, …")
        unread = Counter[str]()
        found = list(walk(str(folder), unread=unread))
        if errors := [source.error for source in found if source.error and source.kind is not Kind.FOLDER]:
            raise DataError(errors[0])
        if empty := [source.error for source in found if source.error]:  # it says what is there instead
            notes += empty
        elif unread:
            notes.append(f"{folder}: not read: {describe(unread)}; {advice(unread)}")
        for path in sorted(Path(source.path) for source in found if source.kind is Kind.IMAGE):
            stem = "_".join(path.relative_to(folder).with_suffix("").parts)
            yield Record(path, str(folder), f"{split or 'all'}/{label}_{stem}", split, label)


def _subfolders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: not a folder; for a CSV or Parquet file use `mftn prepare table`")
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))


DATA_SET = DataSet("a folder of class folders", read, {}, "your own: note it where you keep the images")
