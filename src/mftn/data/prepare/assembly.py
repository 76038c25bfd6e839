"""Turns finished parts into a complete folder: splits, sources.parquet, dataset.json and, last, the manifest."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mftn.data.manifest import MANIFEST, SCHEMA
from mftn.data.prepare.resume import write_sources
from mftn.data.records import SPLITS, Split
from mftn.data.splits import Shares, complete_splits
from mftn.data.votes import VOTE_COLUMNS
from mftn.errors import DataError
from mftn.files import atomic_write, json_text, write_text

_COLUMNS = ["path", "split", "label", "source", "phash", "face_found", "damaged"]


def join(out: Path, parts: Sequence[Path], about: Mapping[str, Any], shares: Shares) -> None:
    """Complete the folder; the manifest is written last, because it marks the folder as complete.

    Args:
        out: The folder.
        parts: Files of all parts, in order.
        about: More for dataset.json.
        shares: Shares to split off where the owners give no split.

    Raises:
        DataError: There is no face, none can be read, or two would share a crop.
    """
    if not parts:
        raise DataError(f"{out}: there is no face to prepare")
    every = pa.concat_tables(pq.read_table(part, columns=_COLUMNS) for part in parts)
    kept = every.filter(pc.is_null(every["damaged"])).to_pydict()
    damaged = [reason for reason in every["damaged"].to_pylist() if reason]
    if not kept["path"]:
        raise DataError(f"{out}: none of {len(damaged):,} images can be read; the first: {damaged[0]}")
    _check_names(out, every["path"].to_pylist(), every["source"].to_pylist())
    split = complete_splits(kept["split"], kept["label"], kept["source"], kept["phash"], shares)
    voted = pq.read_table(parts[0], columns=["votes"])["votes"].null_count == 0
    description = {
        **about,
        "classes": about.get("classes_read", 8) if voted else 8 if "contempt" in kept["label"] else 7,
        **({"votes": VOTE_COLUMNS} if voted else {}),
        **counts(split, kept["label"], kept["face_found"]),
        "damaged": damaged,
    }
    write_sources(out, parts)
    write_text(out / "dataset.json", json_text(description, indent=1))
    _write_manifest(out, parts, split)


def _check_names(out: Path, names: Sequence[str], sources: Sequence[str]) -> None:
    """No two crops may be the same file on any disk: some do not distinguish case, or é from e + ´."""
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), index)
        if first != index:
            raise DataError(
                f"{out}: {sources[first]} and {sources[index]} would share the crop {name}; "
                "give the records different names"
            )


def counts(split: Sequence[Split], labels: Sequence[str | None], found: Sequence[bool]) -> dict[str, Any]:
    """Counts for dataset.json: faces by split and expression, and those that the detector did not find.

    Args:
        split: The split of every face.
        labels: Expression of every face; None if it has none.
        found: Whether the detector found it.
    """
    splits = [name for name in SPLITS if name in split]
    expressions = Counter((own, label or "none") for own, label in zip(split, labels, strict=True))
    return {
        "images": {name: split.count(name) for name in splits},
        "expressions": {
            name: {label: count for (own, label), count in sorted(expressions.items()) if own == name}
            for name in splits
        },
        "without_face": dict(Counter(own for own, face in zip(split, found, strict=True) if not face)),
    }


def write_data_set(out: Path, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Write the manifest of crops that exist already, and dataset.json with the counts of its rows."""
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), out / MANIFEST)
    found = counts(*([row[name] for row in rows] for name in ("split", "label", "face_found")))
    write_text(out / "dataset.json", json_text({**about, **found}, indent=1))


def _write_manifest(out: Path, parts: Sequence[Path], split: Sequence[Split]) -> None:
    start = 0
    with atomic_write(out / MANIFEST) as partial, pq.ParquetWriter(partial, SCHEMA) as writer:
        for part in parts:
            table = pq.read_table(part)
            table = table.filter(pc.is_null(table["damaged"])).select(SCHEMA.names)
            column = pa.array(split[start : start + table.num_rows], pa.string())
            writer.write_table(table.set_column(SCHEMA.get_field_index("split"), "split", column))
            start += table.num_rows
