"""What a record contains, and what its crop depends on, so that a later run detects changes in the source."""

import hashlib
import json
import os
from typing import Any

from mftn.data.records import Record
from mftn.files import readable


def source_columns(record: Record, root: str, suffix: str) -> dict[str, Any]:
    """The columns that come from the current data set, not from its pixels: they are never reused.

    Args:
        record: A face.
        root: Sources are recorded relative to it; empty for their names only.
        suffix: Suffix of the crops' files.
    """
    source = os.path.relpath(record.source, root) if root else record.source.name
    if record.pixels is not None:
        source = f"{source}:{record.where.rpartition(':')[2]}"
    return {
        "path": readable(f"{record.name}.{suffix}"),
        "split": record.split,
        "label": record.label,
        "votes": None if record.votes is None else list(record.votes),
        "source": readable(source),
        "face": record.face,
        "cut_from": _cut_from(record, source),
    }


def _cut_from(record: Record, source: str) -> str:
    """A digest of the source and the box; a file is identified by size and modification time, as in build tools."""
    if record.pixels is not None:
        content: Any = hashlib.sha256(record.pixels).hexdigest()
    else:
        try:
            state = record.source.stat()
            content = (source, state.st_size, state.st_mtime_ns)
        except OSError:
            content = (source, "missing")
    return hashlib.sha256(json.dumps((content, record.box)).encode()).hexdigest()
