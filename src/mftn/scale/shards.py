"""Divides items into shards: the units in which sources are read, written and counted, the same in every run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

SHARD_IMAGES = 1000
"""Images per shard: the most that is repeated after a worker is killed, some twenty seconds of work."""


class ItemKind(StrEnum):
    """How an item of a shard is read."""

    IMAGE = "image"
    VIDEO = "video"
    TAR = "tar"
    ROWS = "rows"


class Item(NamedTuple):
    """A part of a shard.

    Attributes:
        kind: How it is read.
        path: Path or address of the file.
        error: Why it cannot be read, if known from the listing.
        start: First row of a Parquet file.
        stop: Row after the last one.
    """

    kind: ItemKind
    path: str
    error: str | None = None
    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """The items of one part of the output.

    Attributes:
        name: Its number and a digest of its items, so that parts of different plans are never confused.
        items: Some images, or a single video, tar file or range of rows.
    """

    name: str
    items: tuple[Item, ...]

    @property
    def size(self) -> int:
        """Number of images, as far as known before reading; a video or a tar file counts as one."""
        return sum(max(item.stop - item.start, 1) for item in self.items)


def into_shards(items: Iterable[Item], shard_images: int = SHARD_IMAGES) -> Iterator[Shard]:
    """Shards of `shard_images` images; each video, tar file and range of rows is a shard of its own."""
    number, waiting = 0, list[Item]()
    for item in items:
        alone = item.kind is not ItemKind.IMAGE
        if waiting and (alone or len(waiting) == shard_images):
            yield _shard(number, waiting)
            number, waiting = number + 1, []
        waiting.append(item)
        if alone:
            yield _shard(number, waiting)
            number, waiting = number + 1, []
    if waiting:
        yield _shard(number, waiting)


def _shard(number: int, items: list[Item]) -> Shard:
    digest = hashlib.sha256(json.dumps(items).encode()).hexdigest()
    return Shard(f"{number:08}-{digest[:8]}", tuple(items))


def shard_of(table: Any) -> Shard:
    """The shard in a table from `table_of`."""
    rows = table.to_pylist()
    items = (
        Item(
            ItemKind(row["kind"]),
            os.fsdecode(row["path"]),
            row["error"] and os.fsdecode(row["error"]),
            row["start"],
            row["stop"],
        )
        for row in rows
    )
    return Shard(rows[0]["shard"], tuple(items))


def table_of(shard: Shard) -> Any:
    """A shard as an Arrow table, one row per item; paths are bytes, because file names need not be UTF-8."""
    import pyarrow as pa

    kinds = {
        "shard": pa.string(),
        "kind": pa.string(),
        "path": pa.binary(),
        "error": pa.binary(),
        "start": pa.int64(),
        "stop": pa.int64(),
    }
    columns = {
        "shard": [shard.name] * len(shard.items),
        "kind": [item.kind.value for item in shard.items],
        "path": [os.fsencode(item.path) for item in shard.items],
        "error": [item.error and os.fsencode(item.error) for item in shard.items],
        "start": [item.start for item in shard.items],
        "stop": [item.stop for item in shard.items],
    }
    return pa.table(columns, pa.schema(list(kinds.items())))
