"""One short reader per data set: published files become records, checked against the published counts."""

import csv
import glob
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, TextIO, get_args

from mftn.data.records import CropFormat, Framing, Record
from mftn.errors import ConfigError, DataError, did_you_mean
from mftn.files import UniqueNames, readable
from mftn.sources import HEIC_SUFFIXES, IMAGE_SUFFIXES, RAW_SUFFIXES, is_hidden

DataSetName = Literal["raf-db", "affectnet", "expw", "ferplus", "fer2013", "folder", "table"]
DATA_SETS: tuple[DataSetName, ...] = get_args(DataSetName)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Which form of a data set to read.

    Attributes:
        classes: 7 omits contempt.
        aligned: RAF-DB: read its aligned images; otherwise the original photographs.
        notes: Collects messages about what a reader omits.
    """

    classes: int = 8
    aligned: bool = True
    notes: list[str] = field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A supported data set.

    Attributes:
        title: Its name as its owners write it.
        read: Its reader; raises DataError with file and line where a row makes no sense.
        counts: Published number of faces per expression, by split; the total where only that is known. The split
            None means that there are no official splits.
        licence: The terms, as its owners state them.
        size: Default side of its crops in pixels.
        framing: Default framing of its crops.
        format: Default file format of its crops.
    """

    title: str
    read: Callable[[Path, ReadOptions], Iterator[Record]]
    counts: Mapping[str | None, Mapping[str, int] | int]
    licence: str
    size: int = 112
    framing: Framing = "arcface"
    format: CropFormat = "jpg"


def find_data_set(name: str) -> DataSet:
    """A data set by its name.

    Raises:
        ConfigError: There is no such data set.
    """
    if name not in DATA_SETS:
        raise ConfigError(f"{name}: no such data set; {did_you_mean(name, DATA_SETS)}")
    found: DataSet = import_module(f"mftn.data.readers.{name.replace('-', '_')}").DATA_SET
    return found


def read_records(name: str, root: str | Path, options: ReadOptions | None = None) -> Iterator[Record]:
    """Every face of a data set in a fixed order, with names that are unique on any file system.

    Args:
        name: One of `DATA_SETS`.
        root: The folder (or table) as published.
        options: Which form to read.

    Raises:
        DataError: The root is missing, or a row makes no sense; the message names file and line.
    """
    root, options = Path(root), options or ReadOptions()
    if not root.exists():
        raise DataError(f"{root}: no such file or folder; give what {find_data_set(name).title} was extracted to")
    names = UniqueNames(separator="_")
    for record in find_data_set(name).read(root, options):
        if record.label == "contempt" and options.classes == 7:
            continue
        left, top, right, bottom = record.box or (0, 0, 1, 1)
        if not (-math.inf < left < right < math.inf and -math.inf < top < bottom < math.inf):
            raise DataError(
                f"{record.where}: the box {record.box} is empty; boxes are left, top, right, bottom in pixels"
            )
        yield replace(record, name=names.name(readable(record.name)))


@contextmanager
def open_table(table: Path) -> Iterator[TextIO]:
    """Open a text table as saved on any system: with or without a byte order mark, with any line endings.

    Raises:
        DataError: It is not UTF-8, or not a CSV file.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: is not UTF-8 ({error}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{table}: is not a CSV table ({error}); close every quotation mark") from error


def read_lines(table: Path) -> Iterator[tuple[str, str]]:
    """FILE:LINE and the text of every non-blank line of a list."""
    with open_table(table) as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield f"{table}:{line}", text.rstrip("\r\n")


def read_cells(table: Path) -> Iterator[tuple[str, list[str]]]:
    """FILE:LINE and the cells of every non-blank row of a CSV table."""
    with open_table(table) as file:
        for line, cells in enumerate(csv.reader(file, strict=True), start=1):
            if cells:
                yield f"{table}:{line}", cells


def read_rows(table: Path) -> Iterator[dict[Any, Any]]:
    """The rows of a CSV table with a header, as dictionaries; surplus cells are a list under None."""
    with open_table(table) as file:
        yield from csv.DictReader(file, strict=True)


@dataclass(slots=True)
class Survey:
    """What a data set contains, before any image is opened.

    Attributes:
        total: Faces.
        counts: Faces by split and expression.
        warnings: Differences from what is published, and oddities.
    """

    total: int = 0
    counts: dict[str | None, Counter[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def survey(name: str, root: str | Path, options: ReadOptions | None = None) -> Survey:
    """Read all records once: count, compare with the published counts, look for missing, extra and duplicate files.

    Raises:
        DataError: A row makes no sense, or images are missing.
    """
    found, missing, stems = Survey(), list[Record](), Counter[tuple[str, int]]()
    options = replace(options or ReadOptions(), notes=found.warnings)
    files: dict[Path, set[str]] = {}
    for record in read_records(name, root, options):
        found.total += 1
        found.counts.setdefault(record.split, Counter())[record.label or "unlabelled"] += 1
        if record.pixels is not None:
            continue
        folder = record.source.parent
        if folder not in files:
            files[folder] = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
        if record.source.name not in files[folder]:
            missing.append(record)
        stems[str(record.source), record.face] += 1
    if missing:
        there = _folder_with_namesake(Path(root), missing[0])
        or_else = (
            f"; if all are in {there}, which holds one of that name, move them or correct the paths" if there else ""
        )
        raise DataError(
            f"{root}: {len(missing):,} of {found.total:,} images are missing, the first is {missing[0].source} "
            f"(named in {missing[0].where}); extract the archive again, or the parts of it that are missing{or_else}"
        )
    if not found.total:
        raise DataError(f"{root}: holds no labelled image")
    named, suffixes = {source for source, _ in stems}, IMAGE_SUFFIXES | HEIC_SUFFIXES | RAW_SUFFIXES
    images = (folder / name for folder in files for name in sorted(files[folder]) if not is_hidden(name))
    extra = [str(path) for path in images if path.suffix.lower() in suffixes and str(path) not in named]
    if extra:
        found.warnings.append(f"{len(extra):,} other images are not used, the first is {extra[0]}")
    double = [source for (source, _), count in stems.items() if count > 1]
    if double:
        found.warnings.append(f"{len(double):,} faces are listed more than once, the first in {double[0]}")
    found.warnings += _differences(find_data_set(name), found.counts, options)
    return found


def _folder_with_namesake(root: Path, record: Record) -> Path | None:
    """A folder below the root with a file named like a missing image: archives may contain an additional folder.

    Tables written on Windows have backslashes in their paths.
    """
    name = PureWindowsPath(record.source.name).name
    top = root if root.is_dir() else root.parent
    found = (path for path in top.rglob(glob.escape(name)) if not any(map(is_hidden, path.relative_to(top).parts)))
    return next((path.parent for path in found), None)


def _differences(data_set: DataSet, counts: Mapping[str | None, Counter[str]], options: ReadOptions) -> Iterator[str]:
    """Differences from the published counts, class by class."""
    for split, published in data_set.counts.items():
        if split not in counts:
            yield f"{split}: missing"
        elif isinstance(published, int):
            total = counts[split].total()
            if total != published and options.classes == 8:  # how many of them show contempt is not published
                yield f"{split}: {total:,} images, {published:,} published ({total - published:+,})"
        else:
            for expression, expected in published.items():
                if expression == "contempt" and options.classes == 7:
                    continue
                if (count := counts[split][expression]) != expected:
                    yield f"{split or 'all'}: {count:,} {expression}, {expected:,} published ({count - expected:+,})"
