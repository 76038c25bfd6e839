"""The plan of a run, stored with its output: every later run continues with the same shards."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mftn.errors import ConfigError
from mftn.files import without_secrets
from mftn.output import setting_changes
from mftn.scale.listing import find_items
from mftn.scale.shards import SHARD_IMAGES, Shard, into_shards, shard_of, table_of
from mftn.scale.storage import Store
from mftn.sources import Source, read_list

PLAN_FILE_SHARDS = 100
"""Shards per file of a plan."""


class Entry(NamedTuple):
    """A shard in a plan.

    Attributes:
        name: The shard's name.
        size: Number of its images, as far as known.
    """

    name: str
    size: int

    @property
    def part(self) -> str:
        """The name of its file in the output."""
        return f"{self.name}.parquet"


@dataclass(frozen=True, slots=True)
class Plan:
    """The shards of a run: every later run continues with them, without listing the sources again.

    Attributes:
        sources: The sources as given.
        listed: A digest of the list on standard input; empty if there was none.
        folder: The working folder that paths are relative to.
        made_by: Provenance of the rows, as JSON values.
        unread: Number of files that are not read, by kind.
        entries: The shards, in the order of the sources.
    """

    sources: tuple[str, ...]
    listed: str
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
    """List the sources and store their shards; memory does not grow with the number of paths.

    Args:
        store: The output folder.
        sources: As in `find_items`.
        made_by: Provenance of the rows, as JSON values.
        shard_images: Images per shard.
        null: As in `find_sources`.

    Raises:
        OSError: The sources or the output remained unreachable.
    """
    unread, listed = Counter[str](), _ListDigest()
    entries, pending = list[Entry](), list[Shard]()

    def flush() -> None:
        if pending:
            number = (len(entries) - 1) // PLAN_FILE_SHARDS
            store.put(f"_mftn/plan/{number:06}.parquet", _to_parquet(pending))
            pending.clear()

    items = find_items(sources, shard_images, null=null, unread=unread, on_listed=listed.add)
    for shard in into_shards(items, shard_images):
        entries.append(Entry(shard.name, shard.size))
        pending.append(shard)
        if len(pending) == PLAN_FILE_SHARDS:
            flush()
    flush()
    plan = Plan(_given(sources), listed.digest, os.getcwd(), made_by, dict(unread), tuple(entries))  # noqa: PTH109
    store.put(PLAN, json.dumps({name: getattr(plan, name) for name in Plan.__dataclass_fields__}).encode())
    return plan


class _ListDigest:
    """A digest of the paths on standard input, made absolute."""

    def __init__(self) -> None:
        self.digest, self._hash = "", hashlib.sha256()

    def add(self, path: str) -> None:
        """Add a path."""
        self._hash.update(os.fsencode(path if "://" in path else os.path.abspath(path)) + b"\0")  # noqa: PTH100
        self.digest = self._hash.hexdigest()


def _names(sources: Sequence[str | os.PathLike[str] | Source]) -> list[str]:
    """Sources as they are stored: without passwords."""
    paths = (source.path if isinstance(source, Source) else os.fspath(source) for source in sources)
    return [without_secrets(path) for path in paths]


def _given(sources: Sequence[str | os.PathLike[str] | Source]) -> tuple[str, ...]:
    """Sources as a plan stores them; of a long list, its length and digest."""
    names = _names(sources)
    if len(names) <= 100:
        return tuple(names)
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return (f"{len(names)} sources, sha256 {digest[:16]}",)


def read_plan(
    store: Store,
    sources: Sequence[str | os.PathLike[str] | Source],
    made_by: dict[str, Any],
    *,
    null: bool = False,
) -> Plan | None:
    """The plan of an earlier run into the same folder; None if there is none.

    Args:
        store: The output folder.
        sources: As in `write_plan`, like the others.
        made_by: Provenance of the rows of this run.
        null: As in `find_sources`.

    Raises:
        ConfigError: The earlier run had different sources or settings, another working folder for relative paths, or
            another list on standard input.
    """
    content = store.get(PLAN)
    if content is None:
        return None
    values = json.loads(content)
    entries = tuple(Entry(*entry) for entry in values["entries"])
    plan = Plan(**values | {"sources": tuple(values["sources"]), "entries": entries})
    changed = setting_changes(
        plan.made_by | {"sources": list(plan.sources), "working folder": plan.folder},
        made_by | {"sources": list(_given(sources)), "working folder": _folder(sources) or plan.folder},
    )
    if not changed and "-" in _names(sources):
        listed = _ListDigest()
        for path in read_list(null):
            listed.add(path)
        if listed.digest != plan.listed:
            changed = ["the list on standard input has changed"]
    if changed:
        raise ConfigError(
            f"{store.address}: an earlier run into it differed ({'; '.join(changed)}); use the same, or another folder"
        )
    return plan


def _folder(sources: Sequence[str | os.PathLike[str] | Source]) -> str | None:
    """The working folder, if a source is relative to it."""
    relative = (name for name in _names(sources) if name != "-" and "://" not in name and not Path(name).is_absolute())
    return os.getcwd() if any(relative) else None  # noqa: PTH109


def read_shard(store: Store, number: int) -> Shard:
    """A shard of the plan, by its number."""
    import pyarrow.parquet as pq

    with store.open(f"_mftn/plan/{number // PLAN_FILE_SHARDS:06}.parquet") as file:
        table = pq.ParquetFile(file).read_row_group(number % PLAN_FILE_SHARDS)
    return shard_of(table)


def _to_parquet(shards: Sequence[Shard]) -> bytes:
    """A row group per shard."""
    import pyarrow.parquet as pq

    content = io.BytesIO()
    tables = [table_of(shard) for shard in shards]
    with pq.ParquetWriter(content, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(len(table), 1))
    return content.getvalue()
