"""Sources → shards: the parts in which they are read, written and counted, the same in every run."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from mftn.errors import ConfigError
from mftn.scale.storage import Store, is_stored, locate, name_at, patiently, walk_store
from mftn.sources import VIDEO_SUFFIXES, Source, classify, find_sources, readable_suffixes

SHARD_IMAGES = 1000
"""Images of a shard: what a killed worker does again at most, some twenty seconds of work."""

PLAN_FILE_SHARDS = 100
"""Shards in a file of a plan."""

PATH_COLUMNS = ("path", "source", "image_path", "file_path", "file", "filename", "url", "uri", "image")
BYTES_COLUMNS = ("bytes", "image", "image_bytes", "content", "jpg", "data")
NAME_COLUMNS = ("source", "path", "image_path", "file_path", "file", "filename", "file_name", "url", "__key__", "id")
"""Columns of Parquet sources that are looked for, the first one first."""


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
        path: Of the file, or its address.
        error: Why it cannot be read, where the listing knows.
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
    """What becomes one part of the output.

    Attributes:
        name: Its number and a digest of its items, so that a part is never taken for that of another plan.
        items: Some images, or a single video, tar file or range of rows.
    """

    name: str
    items: tuple[Item, ...]

    @property
    def size(self) -> int:
        """Images that are known before they are read; a video or a tar file counts as one."""
        return sum(max(item.stop - item.start, 1) for item in self.items)


def find_items(
    sources: Iterable[str | os.PathLike[str] | Source],
    shard_images: int = SHARD_IMAGES,
    *,
    null: bool = False,
    unread: Counter[str] | None = None,
) -> Iterator[Item]:
    """What sources stand for, in their order; nothing is held in memory but the names of one folder.

    Args:
        sources: What `mftn predict` takes, but cameras and streams: files, folders, globs and lists. Also Parquet files
            of paths or image bytes, tar files of WebDataset, and addresses of stores (s3://, gs:// and those of
            fsspec) of any of these.
        shard_images: Rows of a Parquet file that are read together.
        null: As in `find_sources`.
        unread: As in `find_sources`.

    Raises:
        ConfigError: A source has no end, or a Parquet file holds neither paths nor images.
    """
    for given in sources:
        path = given.path if isinstance(given, Source) else os.fspath(given)
        if is_stored(path) and not classify(path).live:
            yield from _stored(path, shard_images)
            continue
        for source in find_sources([given], null=null, videos=bool(find_spec("av")), unread=unread):
            if source.live:
                raise ConfigError(f"{source.name}: has no end; read it with `mftn predict` on one machine")
            yield from _listed(source, shard_images)


def _listed(source: Source, shard_images: int) -> Iterator[Item]:
    """The items of a local file, an http address, or an address in a list."""
    if is_stored(source.path):
        yield from _one(source.path, shard_images)
    elif source.error:
        yield Item(ItemKind.IMAGE, source.path, source.error)
    elif source.moves:
        yield Item(ItemKind.VIDEO, source.path)
    else:
        yield from _one(source.path, shard_images)


def _stored(address: str, shard_images: int) -> Iterator[Item]:
    """The items at an address of a store."""
    suffixes, found = readable_suffixes() | VIDEO_SUFFIXES | {".tar", ".parquet"}, False
    for path in walk_store(address):
        if path == address or _suffix(path) in suffixes:
            found = True
            yield from _one(path, shard_images)
    if not found:
        name = name_at(address)
        yield Item(ItemKind.IMAGE, address, f"{name}: no such file, or a folder without images; check the address")


def _one(path: str, shard_images: int) -> Iterator[Item]:
    """The items of one file, by its suffix."""
    suffix = _suffix(path)
    if suffix == ".parquet":
        yield from _rows(path, shard_images)
    elif suffix == ".tar":
        yield Item(ItemKind.TAR, path)
    else:
        yield Item(ItemKind.VIDEO if suffix in VIDEO_SUFFIXES else ItemKind.IMAGE, path)


def _rows(path: str, shard_images: int) -> Iterator[Item]:
    """The items of a Parquet file: the paths in it, or ranges of its rows."""
    import pyarrow.parquet as pq

    files, place = locate(path)
    with patiently(lambda: pq.ParquetFile(files.open_input_file(place))) as file:
        if bytes_column(file.schema_arrow):
            for start in range(0, file.metadata.num_rows, shard_images):
                yield Item(ItemKind.ROWS, path, None, start, min(start + shard_images, file.metadata.num_rows))
            return
        column = _first(file.schema_arrow, PATH_COLUMNS, _is_text)
        if column is None:
            raise ConfigError(
                f"{name_at(path)}: holds neither paths ({PATH_COLUMNS[0]}) nor images ({BYTES_COLUMNS[0]})"
            )
        for batch in file.iter_batches(columns=[column]):
            for value in batch.column(0).to_pylist():
                yield from _one(value or "", shard_images) if _suffix(value or "") != ".parquet" else ()


def bytes_column(schema: Any) -> str | None:
    """The column of a table that holds the content of image files: binary, or as `datasets` stores images."""
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(k).name == "bytes" for k in range(kind.num_fields))
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    return _first(schema, BYTES_COLUMNS, holds_bytes)


def name_column(schema: Any) -> str | None:
    """The column of a table that names its images."""
    return _first(schema, NAME_COLUMNS, _is_text)


def _first(schema: Any, names: Sequence[str], fits: Any) -> str | None:
    return next((name for name in names if name in schema.names and fits(schema.field(name).type)), None)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _suffix(path: str) -> str:
    return PurePosixPath(name_at(path)).suffix.lower() if is_stored(path) else os.path.splitext(path)[1].lower()  # noqa: PTH122


def cut(items: Iterable[Item], shard_images: int = SHARD_IMAGES) -> Iterator[Shard]:
    """Shards of so many images; a video, a tar file and a range of rows is one of its own."""
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
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(item).encode())
    return Shard(f"{number:08}-{digest.hexdigest()[:8]}", tuple(items))


class Entry(NamedTuple):
    """A shard in a plan.

    Attributes:
        name: The shard's.
        size: Its images, as far as they are known.
    """

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The shards of a run, kept with its output: every later run goes on with them, without listing the sources again.

    Attributes:
        sources: As they were given.
        folder: The working folder, from which relative paths count.
        made_by: What makes the rows, as JSON values.
        unread: Files that are not read, by kind.
        entries: The shards, in the order of the sources.
    """

    sources: tuple[str, ...]
    folder: str
    made_by: dict[str, Any]
    unread: dict[str, int]
    entries: tuple[Entry, ...]


PLAN = "_mftn/plan.json"


def write_plan(
    store: Store,
    sources: Sequence[str | os.PathLike[str] | Source],
    made_by: dict[str, Any],
    shard_images: int = SHARD_IMAGES,
    *,
    null: bool = False,
) -> Plan:
    """List the sources and keep their shards; the memory for it does not grow with their paths."""
    unread: Counter[str] = Counter()
    entries, pending = list[Entry](), list[Shard]()

    def flush() -> None:
        if pending:
            number = (len(entries) - 1) // PLAN_FILE_SHARDS
            store.put(f"_mftn/plan/{number:06}.parquet", _to_parquet(pending))
            pending.clear()

    for shard in cut(find_items(sources, shard_images, null=null, unread=unread), shard_images):
        entries.append(Entry(shard.name, shard.size))
        pending.append(shard)
        if len(pending) == PLAN_FILE_SHARDS:
            flush()
    flush()
    plan = Plan(_given(sources), os.getcwd(), made_by, dict(unread), tuple(entries))  # noqa: PTH109
    store.put(PLAN, json.dumps({name: getattr(plan, name) for name in Plan.__dataclass_fields__}).encode())
    return plan


def _given(sources: Sequence[str | os.PathLike[str] | Source]) -> tuple[str, ...]:
    """Sources as a plan names them; of a long list its length and its digest."""
    names = [source.path if isinstance(source, Source) else os.fspath(source) for source in sources]
    if len(names) <= 100:
        return tuple(names)
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return (f"{len(names)} sources, sha256 {digest[:16]}",)


def read_plan(store: Store, sources: Sequence[str | os.PathLike[str] | Source], made_by: dict[str, Any]) -> Plan | None:
    """The plan of an earlier run into the same folder; None if there is none.

    Raises:
        ConfigError: The earlier run had other sources or settings.
    """
    content = store.get(PLAN)
    if content is None:
        return None
    values = json.loads(content)
    entries = tuple(Entry(*entry) for entry in values["entries"])
    plan = Plan(tuple(values["sources"]), values["folder"], values["made_by"], values["unread"], entries)
    before = plan.made_by | plan.made_by["settings"] | {"sources": list(plan.sources), "settings": None}
    now = made_by | made_by["settings"] | {"sources": list(_given(sources)), "settings": None}
    changed = [f"{name} was {before.get(name)} and is {now[name]}" for name in now if before.get(name) != now[name]]
    if changed:
        raise ConfigError(
            f"{store.address}: was begun otherwise ({'; '.join(changed)}); give the same, or choose another folder"
        )
    return plan


def read_shard(store: Store, number: int) -> Shard:
    """A shard of the plan, by its number."""
    import pyarrow.parquet as pq

    with store.open(f"_mftn/plan/{number // PLAN_FILE_SHARDS:06}.parquet") as file:
        table = pq.ParquetFile(file).read_row_group(number % PLAN_FILE_SHARDS)
    return shard_of(table)


def shard_of(table: Any) -> Shard:
    """The shard of a table that `table_of` gave."""
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
    """A shard as an Arrow table, one row per item; paths are bytes, as names of files need not be UTF-8."""
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


def _to_parquet(shards: Sequence[Shard]) -> bytes:
    """A row group per shard."""
    import pyarrow.parquet as pq

    content = io.BytesIO()
    tables = [table_of(shard) for shard in shards]
    with pq.ParquetWriter(content, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(len(table), 1))
    return content.getvalue()
