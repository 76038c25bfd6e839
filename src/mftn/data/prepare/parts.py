"""Work in small parts, in one process or several: a part's rows are written after its crops."""

import io
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mftn.data.manifest import SCHEMA, crop_digest
from mftn.data.prepare.cropping import Cropper
from mftn.data.prepare.framing import Preparation
from mftn.data.prepare.identity import source_columns
from mftn.data.records import Record
from mftn.errors import DataError, ImageError
from mftn.files import readable, write_bytes

FOLDER = ".parts"
PART_SCHEMA = SCHEMA.append(pa.field("cut_from", pa.string())).append(pa.field("damaged", pa.string()))
"""The manifest's columns, what the crop depends on, and why the source cannot be read."""


def in_parts(records: Iterable[Record], size: int) -> Iterator[tuple[str, list[Record]]]:
    """File names and records of the parts."""
    iterator, number = iter(records), 0
    while part := list(islice(iterator, size)):
        yield f"{number:06d}.parquet", part
        number += 1


def read_part(file: Path) -> list[dict[str, Any]]:
    """The rows of a part; none if it is not written yet."""
    return pq.read_table(file).to_pylist() if file.exists() else []


def write_part(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write a part atomically."""
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, PART_SCHEMA), content)
    write_bytes(file, content.getvalue())


@dataclass(frozen=True, slots=True)
class Task:
    """What all workers share.

    Attributes:
        out: The data set's folder.
        root: Sources are recorded relative to it; empty for their names only.
        preparation: How faces are cropped.
        skip_damaged: Record images that cannot be read instead of stopping.
    """

    out: Path
    root: str
    preparation: Preparation
    skip_damaged: bool


class Worker:
    """Brings parts up to date; one per process."""

    def __init__(self, task: Task) -> None:
        self.task, self.crop = task, Cropper(task.out, task.preparation)

    def __call__(self, name: str, records: list[Record]) -> int:
        """Bring a part up to date and return its number of faces; crops are kept if their source has not changed."""
        file = self.task.out / FOLDER / name
        known = {row["path"]: row for row in read_part(file)}
        rows = [self._row(record, known) for record in records]
        if rows != list(known.values()):
            write_part(file, rows)
        return len(records)

    def _row(self, record: Record, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
        row = source_columns(record, self.task.root, self.task.preparation.format)
        crop, before = self.task.out / row["path"], known.get(row["path"])
        if before and before.get("cut_from") == row["cut_from"]:
            if before["damaged"] and self.task.skip_damaged:
                return before | row
            if before["sha256"] and crop_digest(crop) == before["sha256"]:
                return before | row
        crop.parent.mkdir(parents=True, exist_ok=True)
        try:
            return row | self.crop(record, row["path"])
        except ImageError as error:
            if self.task.skip_damaged:
                return row | {"damaged": readable(str(error))}
            raise ImageError(f"{error} (named in {record.where}), or omit it with --skip-damaged") from error


def work(task: Task, parts: Iterator[tuple[str, list[Record]]], workers: int) -> Iterator[tuple[str, int]]:
    """Name and number of faces of every part, in order, once written; few parts are queued, so memory stays flat."""
    if workers <= 1:
        worker = Worker(task)
        for name, records in parts:
            yield name, worker(name, records)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads and locks of this process
    pool = ProcessPoolExecutor(workers, context, _start_worker, (task,))
    waiting: deque[tuple[str, Future[int]]] = deque()
    try:
        for name, records in parts:
            waiting.append((name, pool.submit(_work, name, records)))
            if len(waiting) >= 4 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for name, future in waiting:
            yield name, future.result()
    except BrokenExecutor as error:
        raise DataError(
            f"{task.out}: a worker process died, for example for lack of memory; run the same command again, with "
            "fewer --workers if this happens again: it continues where it stopped"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker: Worker


def _start_worker(task: Task) -> None:
    global _worker  # noqa: PLW0603 (one detector per process)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(task)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        wait([parent.sentinel])
        os._exit(1)


def _work(name: str, records: list[Record]) -> int:
    return _worker(name, records)
