"""Output of predictions: JSONL, CSV and Parquet files, and folders of annotated images and face crops.

Writes are atomic: a file appears under its name only when it is complete.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TextIO

from mftn.errors import ImageError, MissingExtraError
from mftn.files import (
    CsvLines,
    UniqueNames,
    atomic_write,
    file_identity,
    json_text,
    write_encoded,
    write_image,
    write_text,
)
from mftn.images import open_image
from mftn.tags import is_own_copy, read_tags
from mftn.types import ROW_TYPES, Prediction
from mftn.version import __version__

if TYPE_CHECKING:
    from PIL import Image as PillowImage


@dataclass(frozen=True, slots=True)
class Provenance:
    """The provenance of a table: everything besides the images that is needed to reproduce it.

    Attributes:
        model: The model's name.
        model_sha256: SHA-256 of the model's file.
        settings: The options that affect results, by name.
        mftn_version: Version of this package.
    """

    model: str
    model_sha256: str
    settings: Mapping[str, str | float | bool | None]
    mftn_version: str = __version__

    def to_json(self, indent: int | None = None) -> str:
        """The provenance as a JSON object, one key per attribute."""
        return json_text(asdict(self), indent)


def setting_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences between two provenances, as JSON values: "NAME was OLD and is NEW" for each."""
    old, new = ({**values, **(values.get("settings") or {}), "settings": None} for values in (before, now))
    changed = (name for name in old | new if old.get(name) != new.get(name))
    return [f"{name} was {old.get(name)} and is {new.get(name)}" for name in changed]


class Writer(Protocol):
    """Writes predictions one by one."""

    def write(self, prediction: Prediction) -> None:
        """Add one image."""
        ...

    def close(self) -> None:
        """Finish the output."""
        ...


class JsonlWriter:
    """Writes one line of JSON per image (docs/output.md)."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, prediction: Prediction) -> None:
        """Add one image."""
        self.file.write(prediction.to_json() + "\n")

    def close(self) -> None:
        """Hand what is buffered to the system."""
        self.file.flush()


class CsvWriter:
    """Writes one row per face; an image without a face gets one row with empty cells."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.table = csv.DictWriter(CsvLines(file), list(ROW_TYPES))
        self.table.writeheader()

    def write(self, prediction: Prediction) -> None:
        """Add one image."""
        self.table.writerows(prediction.to_rows())

    def close(self) -> None:
        """Hand what is buffered to the system."""
        self.file.flush()


class ParquetWriter:
    """Writes the rows of `CsvWriter` with types, in groups of a thousand, so that memory use stays constant.

    Args:
        path: The file, or an open one.
        provenance: Stored in the file's metadata, as JSON under the key "mftn".
    """

    def __init__(self, path: Path | BinaryIO, provenance: Provenance | None = None) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtraError("Parquet output", "parquet") from error
        self.schema = arrow_schema(provenance)
        self.table_of = pa.Table.from_pylist
        self.file = pq.ParquetWriter(path, self.schema)
        self.rows: list[dict[str, Any]] = []

    def write(self, prediction: Prediction) -> None:
        """Add one image."""
        self.rows += prediction.to_rows()
        if len(self.rows) >= 1000:
            self._flush()

    def _flush(self) -> None:
        self.file.write_table(self.table_of(self.rows, schema=self.schema))
        self.rows.clear()

    def close(self) -> None:
        """Write the last group and the footer."""
        self._flush()
        self.file.close()


def arrow_schema(provenance: Provenance | None = None) -> Any:
    """The columns of `ROW_TYPES` for pyarrow; the provenance is stored as metadata, as JSON under the key "mftn"."""
    import pyarrow as pa

    metadata = {"pandas": _pandas_types()} | ({"mftn": provenance.to_json()} if provenance else {})
    return pa.schema([(name, getattr(pa, kind)()) for name, kind in ROW_TYPES.items()], metadata)


def _pandas_types() -> str:
    """Metadata that lets pandas read integer columns as integers even where values are missing."""
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": kind.capitalize(), "metadata": None}
        for name, kind in ROW_TYPES.items()
        if kind.startswith("int")
    ]
    return json.dumps({"index_columns": [], "column_indexes": [], "columns": columns})


@contextmanager
def open_writer(path: Path, kind: str, provenance: Provenance | None = None) -> Iterator[Writer]:
    """Yield a writer for a file that appears under its name when the block ends without an exception.

    Args:
        path: The file.
        kind: "jsonl", "csv" or "parquet".
        provenance: Stored in the metadata of Parquet, and in `meta_path(path)` for the other formats.

    Raises:
        OutputError: The file cannot be written.
        MissingExtraError: Parquet needs pyarrow, which is not installed.
    """
    with atomic_write(path) as partial:
        if kind == "parquet":
            with closing(ParquetWriter(partial, provenance)) as parquet:
                yield parquet
            return
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield JsonlWriter(file) if kind == "jsonl" else CsvWriter(file)
    if provenance and path.is_file():  # there is nothing beside a pipe
        write_text(meta_path(path), provenance.to_json(indent=2) + "\n")


def meta_path(path: Path) -> Path:
    """The path of the provenance of a JSONL or CSV file: NAME.meta.json beside it."""
    return path.parent / f"{path.name}.meta.json"


class ImageFolder:
    """A folder of images, one or more per source, whose names never collide and never replace a source.

    Args:
        folder: The folder, which is created when needed.
        overwrite: Replace existing files.
        protected: Identities (`files.file_identity`) of files that are never replaced.
        roots: Folders whose subfolders are recreated in this one; several roots get a subfolder each, named after them.
        resume: Replace images that an earlier run made.
    """

    def __init__(
        self,
        folder: Path,
        overwrite: bool = False,
        protected: Collection[tuple[int, int]] = frozenset(),
        roots: Iterable[str | Path] = (),
        resume: bool = False,
    ) -> None:
        self.folder, self.overwrite, self.protected, self.resume = folder, overwrite, protected, resume
        self._unique, folders = UniqueNames(), UniqueNames()
        self._roots = {Path(root): "" for root in roots}
        if len(self._roots) > 1:
            self._roots = {root: folders.name(root.resolve().name) for root in self._roots}
        self._names: dict[str, str] = {}
        self._written: set[Path] = set()

    def path(self, source: str, ending: str) -> Path:
        """The path of a source's image: FOLDERS/STEM_ENDING.jpg, with the source's folders below its root.

        Further sources with the same stem get STEM-2_ENDING.jpg and so on. The first call for a source sets its number.
        """
        if source not in self._names:
            self._names[source] = self._unique.name(self._stem(Path(source)))
        return self.folder / f"{self._names[source]}_{ending}.jpg"

    def _stem(self, source: Path) -> str:
        for root, name in self._roots.items():
            inside = source.relative_to(root) if source.is_relative_to(root) else Path("..")
            if ".." not in inside.parts:
                return (name / inside.parent / inside.stem).as_posix()
        return source.stem

    def save(self, image: PillowImage.Image, source: str, ending: str) -> Path:
        """Write one image to `path`, with the source file's date, author and colour profile.

        Raises:
            FileExistsError: A file with that name already exists.
            ImageError: A JPEG cannot hold the image.
            OutputError: The image cannot be written.
        """
        path = self.path(source, ending)
        if path not in self._written and path.exists():
            if file_identity(path) in self.protected:
                raise FileExistsError(f"{path}: is a source, which is never replaced; choose another folder")
            if not self.overwrite and not (self.resume and is_own_copy(path)):
                raise FileExistsError(f"{path}: already exists; add --overwrite, or choose another folder")
        self._written.add(path)
        tags = read_tags(source, open_image)
        try:
            with write_encoded(path) as content:
                write_image(image, content, "JPEG", quality=92, exif=tags.exif, icc_profile=tags.profile)
        except ImageError as error:
            raise ImageError(f"{source}: its copy cannot be saved: {error}") from error
        if tags.modified_ns is not None:
            with suppress(OSError):  # a shared drive where files belong to somebody else
                os.utime(path, ns=(tags.modified_ns, tags.modified_ns))
        return path
