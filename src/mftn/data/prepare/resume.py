"""What an earlier run left in the folder: refused if its settings differ, updated if its source has changed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mftn.data.manifest import MANIFEST, crop_digest, read_manifest
from mftn.data.prepare.croissant import CROISSANT
from mftn.data.prepare.parts import FOLDER, write_part
from mftn.data.records import SPLITS
from mftn.errors import DataError
from mftn.files import atomic_write, write_bytes

SOURCES = "sources.parquet"
COLUMNS = ("path", "split", "label", "votes", "source", "face", "cut_from", "damaged")
"""Columns of every record that are stored beside the manifest, in the records' order; the split is the owners'."""

MADE = (MANIFEST, SOURCES, CROISSANT, "all", *SPLITS)
"""Files and crop folders that preparation writes besides dataset.json."""


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Check that the folder's content was made with the same settings, and record them.

    Raises:
        DataError: It was made with different settings, or not by this package, and would be overwritten.
    """
    begun = out / FOLDER / "settings.json"
    known = [file for file in (out / "dataset.json", begun) if file.exists()]
    if not known and (others := [name for name in MADE if (out / name).exists()]):
        raise DataError(f"{out}: holds {others[0]} but no dataset.json; choose another folder or remove it")
    for file in known:
        before = _read_settings(file)
        if differing := [key for key in settings if before.get(key) != settings[key]]:
            raise DataError(
                f"{out}: was prepared with a different {' and '.join(differing)}; choose another folder or remove it"
            )
    if not (out / MANIFEST).exists():
        begun.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(begun, json.dumps(settings).encode())
    elif not (out / SOURCES).exists():
        raise DataError(f"{out}: holds {MANIFEST} but no {SOURCES}; choose another folder or remove it")


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise DataError(f"{file}: was not written by `mftn prepare`; choose another folder or remove it")
    return settings


def what_is_outdated(out: Path, now: Sequence[Mapping[str, Any]]) -> str:
    """How a complete folder differs from its source or its manifest; empty if it is up to date.

    Args:
        out: The folder.
        now: Columns of every record, see `source_columns`.
    """
    what, crops = "faces that have changed in the source", _changed_crops(out, now)
    if not crops:
        what, crops = "crops that are missing or damaged", _damaged_crops(out)
    return f"{what}: {len(crops):,}, the first is {crops[0]}" if crops else ""


def _changed_crops(out: Path, now: Sequence[Mapping[str, Any]]) -> list[str]:
    """The crops whose record or source has changed, is new or is gone."""
    before = {row["path"]: row for row in _sources(out)}
    names = [row["path"] for row in now]
    changed = [row["path"] for row in now if any(before.get(row["path"], {}).get(key) != row[key] for key in row)]
    gone = sorted(before.keys() - set(names))
    if not changed and not gone and names != list(before):
        return names  # in a different order
    return changed + gone


def _damaged_crops(out: Path) -> list[str]:
    rows = read_manifest(out, ["path", "sha256"]).to_pylist()
    return [row["path"] for row in rows if crop_digest(out / row["path"]) != row["sha256"]]


def reopen(out: Path, now: Iterable[Mapping[str, Any]], part_size: int) -> None:
    """Turn a complete folder back into parts, and remove crops that no longer have a record."""
    rows = {row["path"]: row for row in read_manifest(out).to_pylist()}
    before = {row["path"]: row for row in _sources(out)}
    names = [row["path"] for row in now]
    for number, start in enumerate(range(0, len(names), part_size)):
        kept = [name for name in names[start : start + part_size] if name in before]
        write_part(out / FOLDER / f"{number:06d}.parquet", [rows.get(name, {}) | before[name] for name in kept])
    for name in before.keys() - set(names):
        (out / name).unlink(missing_ok=True)
    (out / MANIFEST).unlink()  # from here on, the folder counts as incomplete, and what to remove is unknown
    (out / CROISSANT).unlink(missing_ok=True)


def write_sources(out: Path, parts: Iterable[Path]) -> None:
    """Store what `what_is_outdated` compares."""
    with atomic_write(out / SOURCES) as partial:
        pq.write_table(pa.concat_tables(pq.read_table(part, columns=list(COLUMNS)) for part in parts), partial)


def _sources(out: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(out / SOURCES).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{out / SOURCES}: cannot be read ({error}); remove {out} and prepare it again") from error
    return rows
