"""Read tables of faces one recording at a time, so that a hundred hours need only the memory of one video.

A scan of the `source` column finds each recording's last row; its rows are kept in memory from the first to the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mftn.analysis.formats import BOX, PROBABILITIES, TYPES, Table, conform, open_part, split_input
from mftn.errors import ConfigError, DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One source in a table, with N faces.

    Attributes:
        source: Its name in the table.
        times: (F,) seconds of its frames, ascending, each once; empty for an image.
        face_times: (N,) seconds of the frame of each face; NaN in an image.
        tracks: (N,) the person's number in the recording; 0 where there is none, as in images.
        probabilities: (N, 8) in the package's order of expressions; NaN for an expression that the model does not know.
        sizes: (N,) square root of the box's area in pixels; NaN where the table has no boxes.
        scores: (N,) the detector's confidence; NaN where there is none.
        errors: Number of rows that say why the source could not be read.
    """

    source: str
    times: Floats
    face_times: Floats
    tracks: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    sizes: NDArray[np.float32]
    scores: NDArray[np.float32]
    errors: int

    @property
    def is_image(self) -> bool:
        """Whether its rows have no time."""
        return not len(self.times)


@dataclass(frozen=True, slots=True)
class Scan:
    """What is known of a table before its rows are read.

    Attributes:
        sources: The sources, in order of appearance.
        absent: Documented columns that no file has.
        models: Names of the models that made the table, where it says so.
        rows: Number of rows.
    """

    sources: tuple[str, ...]
    absent: tuple[str, ...]
    models: tuple[str, ...]
    rows: int


class Tables:
    """The rows of one or more tables, as recordings; use it as a context manager, since it may hold temporary files.

    Args:
        table: What to read.

    Raises:
        ConfigError: There is no table.
        DataError: A file is missing or unreadable, or lacks required columns.
    """

    def __init__(self, table: Table) -> None:
        self._stack = ExitStack()
        with ExitStack() as cleanup:
            cleanup.push(self._stack)
            self._parts = [open_part(part, self._stack) for part in split_input(table)]
            self._stack = cleanup.pop_all()
        if not self._parts:
            raise ConfigError("no table was given; give a file written by `mftn predict`")
        self._last: dict[str, int] = {}
        self.scan = self._scan()

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def recordings(self) -> Iterator[Recording]:
        """Every recording once, complete, in the order of their last rows."""
        held: dict[str, list[pa.Table]] = {}
        offset = 0
        for batch in self._batches(list(TYPES)):
            sources = batch["source"].combine_chunks()
            starts = _run_starts(sources)
            for start, end in zip(starts, [*starts[1:], len(sources)], strict=True):
                source = sources[start].as_py()
                held.setdefault(source, []).append(batch.slice(start, end - start))
                if self._last[source] < offset + end:
                    yield _recording(source, pa.concat_tables(held.pop(source)))
            offset += batch.num_rows

    def _scan(self) -> Scan:
        models: dict[str, None] = {}
        offset = 0
        for batch in self._batches(["source", "model"]):
            sources = batch["source"].combine_chunks()
            starts = _run_starts(sources)
            for start, end in zip(starts, [*starts[1:], len(sources)], strict=True):
                self._last[sources[start].as_py()] = offset + end - 1
            models |= dict.fromkeys(name for name in batch["model"].unique().to_pylist() if name)
            offset += batch.num_rows
        names = {name for part in self._parts for name in part.names}
        expected = [name for name in TYPES if name not in ("model", "error")]
        absent = tuple(name for name in expected if name not in names)
        return Scan(tuple(self._last), absent, tuple(models), offset)

    def _batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        schema = pa.schema([(name, TYPES[name]) for name in columns])
        for part in self._parts:
            row = 1
            for batch in part.batches([name for name in columns if name in part.names]):
                if batch.num_rows:
                    if batch["source"].null_count:
                        row += pc.index(pc.is_null(batch["source"]), True).as_py()
                        raise DataError(
                            f"{part.name}: row {row} below the header has no source; each row must name the file "
                            "that it comes from"
                        )
                    yield conform(batch, schema, part.name)
                row += batch.num_rows


def _run_starts(sources: pa.Array) -> list[int]:
    """The rows at which a new source begins."""
    codes = sources.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist()]


def _recording(source: str, rows: pa.Table) -> Recording:
    times = rows["time"].to_numpy()
    probabilities = np.column_stack([rows[name].to_numpy() for name in PROBABILITIES])
    face = ~np.isnan(probabilities).all(axis=1)
    failed = pc.fill_null(pc.greater(pc.utf8_length(rows["error"]), 0), False).to_numpy(zero_copy_only=False)
    missing = np.isnan(times[~failed])  # an error that ends a video early has its own row, without a time
    if missing.any() and not missing.all():
        raise DataError(f"{source}: some of its rows have a time and some have none; predict it again")
    if missing.all() and (tracked := pc.sum(pc.is_valid(rows["track"])).as_py()):
        raise DataError(f"{source}: {tracked} faces have a track and no time; videos need the column time (seconds)")
    left, top, right, bottom = (rows[name].to_numpy() for name in BOX)
    order = np.flatnonzero(face)
    order = order[np.argsort(times[order], kind="stable")]
    return Recording(
        source,
        np.unique(times[~np.isnan(times)]),
        times[order],
        rows["track"].fill_null(0).to_numpy()[order],
        probabilities[order],
        np.sqrt(np.maximum((right - left) * (bottom - top), 0))[order],
        rows["score"].to_numpy()[order],
        int(failed.sum()),
    )
