"""What an earlier run left in the folder: refused if of other settings, brought up to date if of an older source."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mftn.data.manifest import MANIFEST, crop_digest, read_manifest
from mftn.data.prepare.croissant import CROISSANT
from mftn.data.prepare.parts import FOLDER, write_part
from mftn.errors import DataError
from mftn.files import atomic_write, write_bytes

SOURCES = "sources.parquet"
COLUMNS = ("path", "split", "label", "votes", "source", "face", "cut_from", "damaged")
"""What is kept of every record beside the manifest, in the records' order; the split is the owners'."""


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """See that what lies in the folder came from the same settings, and note them.

    Raises:
        DataError: It came from others.
    """
    begun = out / FOLDER / "settings.json"
    for file in (out / "dataset.json", begun):
        if file.exists():
            before = json.loads(file.read_text(encoding="utf-8"))
            if differing := [key for key in settings if before.get(key) != settings[key]]:
                raise DataError(
                    f"{out}: was prepared with another {' and '.join(differing)}; choose another folder or remove it"
                )
    if (out / MANIFEST).exists():
        for name in ("dataset.json", SOURCES):
            if not (out / name).exists():
                raise DataError(f"{out}: holds a manifest but no {name}; choose another folder or remove it")
    else:
        begun.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(begun, json.dumps(settings).encode())


def changes(out: Path, now: Sequence[Mapping[str, Any]]) -> list[str]:
    """The crops of a complete folder whose record or source has changed, is new or is gone.

    Args:
        out: The folder.
        now: What is given of every record, see `given`.
    """
    before = {row["path"]: row for row in _sources(out)}
    names = [row["path"] for row in now]
    changed = [row["path"] for row in now if any(before.get(row["path"], {}).get(key) != row[key] for key in row)]
    gone = sorted(before.keys() - set(names))
    if not changed and not gone and names != list(before):
        return names  # in another order
    return changed + gone


def lost(out: Path) -> list[str]:
    """The crops of a complete folder whose files are missing or not what the manifest says."""
    rows = read_manifest(out, ["path", "sha256"]).to_pylist()
    return [row["path"] for row in rows if crop_digest(out / row["path"]) != row["sha256"]]


def reopen(out: Path, now: Iterable[Mapping[str, Any]], part_size: int) -> None:
    """Turn a complete folder back into parts, and remove crops that no record names any more."""
    rows = {row["path"]: row for row in read_manifest(out).to_pylist()}
    before = {row["path"]: row for row in _sources(out)}
    names = [row["path"] for row in now]
    for number, start in enumerate(range(0, len(names), part_size)):
        kept = [name for name in names[start : start + part_size] if name in before]
        write_part(out / FOLDER / f"{number:06d}.parquet", [rows.get(name, {}) | before[name] for name in kept])
    (out / MANIFEST).unlink()  # from here on the folder counts as begun
    (out / CROISSANT).unlink(missing_ok=True)
    for name in before.keys() - set(names):
        (out / name).unlink(missing_ok=True)


def write_sources(out: Path, parts: Iterable[Path]) -> None:
    """Keep what `changes` compares."""
    with atomic_write(out / SOURCES) as partial:
        pq.write_table(pa.concat_tables(pq.read_table(part, columns=list(COLUMNS)) for part in parts), partial)


def _sources(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / SOURCES).to_pylist()
    return rows
