"""Lists sources as items: the images, videos, tar files and rows in files, folders and addresses."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from mftn.download import is_address
from mftn.errors import ConfigError
from mftn.files import without_secrets
from mftn.scale.shards import SHARD_IMAGES, Item, ItemKind
from mftn.scale.storage import DAMAGED, holds_secret, is_final, is_stored, locate, name_at, patiently, walk_store
from mftn.sources import VIDEO_SUFFIXES, Kind, Source, classify, find_sources, listed, read_list, readable_suffixes

PATH_COLUMNS = ("path", "source", "image_path", "file_path", "file", "filename", "url", "uri", "image")
BYTES_COLUMNS = ("bytes", "image", "image_bytes", "content", "jpg", "data")
NAME_COLUMNS = ("source", "path", "image_path", "file_path", "file", "filename", "file_name", "url", "__key__", "id")
"""Columns that are looked for in Parquet sources, in order of preference."""

KINDS = dict.fromkeys(VIDEO_SUFFIXES, ItemKind.VIDEO) | {".tar": ItemKind.TAR}


def find_items(
    sources: Iterable[str | os.PathLike[str] | Source],
    shard_images: int = SHARD_IMAGES,
    *,
    null: bool = False,
    unread: Counter[str] | None = None,
    on_listed: Callable[[str], object] | None = None,
) -> Iterator[Item]:
    """The items of sources, in order; only the names of one folder are held in memory.

    Args:
        sources: Files, folders, globs and lists as in `mftn predict`, but no cameras and streams. Also Parquet files of
            paths or image bytes, WebDataset tar files, and any of these at addresses of stores (s3://, gs:// and those
            of fsspec).
        shard_images: Rows of a Parquet file that are read together.
        null: As in `find_sources`.
        unread: As in `find_sources`.
        on_listed: Called with each path on standard input.

    Raises:
        ConfigError: A given source has no end, or there is no such store. In lists and tables, such a line becomes an
            item with an error.
        OSError: A store remained unreachable.
    """
    yield from map(_without_secrets, _items(sources, shard_images, null, unread, on_listed))


def _without_secrets(item: Item) -> Item:
    """An item as plans store it: an address with a password is not read, and becomes its name and an error."""
    if not holds_secret(item.path):
        return item
    name = without_secrets(name_at(item.path))
    error = (item.error or "").replace(item.path, name)
    return Item(
        ItemKind.IMAGE, name, error or f"{name}: contains a password and is not read; set it in the environment"
    )


def _items(
    sources: Iterable[str | os.PathLike[str] | Source],
    shard_images: int,
    null: bool,
    unread: Counter[str] | None,
    on_listed: Callable[[str], object] | None,
) -> Iterator[Item]:
    for given in sources:
        source = given if isinstance(given, Source) else classify(given)
        if is_stored(source.path) and not source.live:
            yield from _items_of_store(source.path, shard_images)
            continue
        each = _on_standard_input(null, on_listed) if source.kind is Kind.LIST else [source]
        for found in find_sources(each, videos=bool(find_spec("av")), unread=unread):
            if not found.live:
                yield from _items_of_source(found, shard_images)
                continue
            error = f"{found.name}: has no end; read it with `mftn predict` on one machine"
            if source.kind is not Kind.LIST:
                raise ConfigError(error)
            yield Item(ItemKind.IMAGE, found.path, error)


def _on_standard_input(null: bool, on_listed: Callable[[str], object] | None) -> Iterator[Source]:
    """The sources of the list on standard input."""
    for path in read_list(null):
        if on_listed:
            on_listed(path)
        yield listed(path)


def _items_of_source(source: Source, shard_images: int) -> Iterator[Item]:
    """The items of a local file, an http address, or an address in a list."""
    if is_stored(source.path):
        yield from _items_of_file(source.path, shard_images)
    elif source.error:
        yield Item(ItemKind.IMAGE, source.path, source.error)
    elif source.moves:
        yield Item(ItemKind.VIDEO, source.path)
    else:
        yield from _items_of_file(source.path, shard_images)


def _items_of_store(address: str, shard_images: int) -> Iterator[Item]:
    """The items at an address of a store."""
    suffixes, found = readable_suffixes() | VIDEO_SUFFIXES | {".tar", ".parquet"}, False
    for path in walk_store(address):
        if path == address or _suffix(path) in suffixes:
            for item in _items_of_file(path, shard_images, walked=path != address):
                found = True
                yield item
    if not found:
        name = name_at(address)
        yield Item(ItemKind.IMAGE, address, f"{name}: no such file, or a folder without images; check the address")


def _items_of_file(path: str, shard_images: int, *, walked: bool = False) -> Iterator[Item]:
    """The items of one file, by its suffix; none for an output table of this package found in a folder."""
    if _suffix(path) == ".parquet":
        yield from _items_of_table(path, shard_images, walked)
    else:
        yield _item(path)


def _item(path: str) -> Item:
    return Item(KINDS.get(_suffix(path), ItemKind.IMAGE), path)


def _items_of_table(path: str, shard_images: int, walked: bool) -> Iterator[Item]:
    """The items of a Parquet file: its paths, or ranges of its rows; one with an error if there are none."""
    import pyarrow as pa

    try:
        yield from _read_table(path, shard_images, walked)
    except pa.ArrowInvalid as error:
        yield Item(ItemKind.IMAGE, path, f"{name_at(path)}: damaged or not a Parquet file ({error}); write it again")
    except (OSError, ConfigError) as error:
        yield Item(ItemKind.IMAGE, path, lasting(without_secrets(name_at(path)), error))


def _read_table(path: str, shard_images: int, walked: bool) -> Iterator[Item]:
    import pyarrow.parquet as pq

    files, place = locate(path)
    with patiently(lambda: pq.ParquetFile(files.open_input_file(place))) as file:
        if walked and b"mftn" in (file.schema_arrow.metadata or {}):
            return
        if bytes_column(file.schema_arrow):
            for start in range(0, file.metadata.num_rows, shard_images):
                yield Item(ItemKind.ROWS, path, None, start, min(start + shard_images, file.metadata.num_rows))
            return
        column = _first(file.schema_arrow, PATH_COLUMNS, _is_text)
        if column is None:
            error = f"{name_at(path)}: holds neither paths ({PATH_COLUMNS[0]}) nor images ({BYTES_COLUMNS[0]})"
            yield Item(ItemKind.IMAGE, path, error)
            return
        for batch in file.iter_batches(columns=[column]):
            yield from (_item(value or "") for value in batch.column(0).to_pylist())


def lasting(name: str, error: Exception) -> str:
    """Why a file cannot be read, as its row reports it.

    Args:
        name: The file's name in rows.
        error: What reading it raised.

    Raises:
        OSError: A later attempt may succeed.
    """
    if isinstance(error, FileNotFoundError):
        return f"{name}: no such file; check the path"
    if isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error):
        return f"{name}: may not be read ({error}); check its permissions"
    if DAMAGED.match(str(error)):
        return f"{name}: damaged ({' '.join(str(error).split())}); copy or download it again"
    if isinstance(error, ConfigError) or is_final(error):
        return f"{name}: cannot be read ({error}); check the path"
    raise error


def bytes_column(schema: Any) -> str | None:
    """The column of a table with the content of image files: binary, or as `datasets` stores images."""
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
    name = path.partition("?")[0] if is_address(path) else name_at(path)
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (millions of paths, some odder than pathlib likes)
