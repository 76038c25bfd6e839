"""Turns a data set as published into aligned crops, a manifest and a description.

Every face is kept: where the detector finds none, the annotated box or the whole image is used and flagged, so that
splits keep their size. Work is done in small parts, so a run that was stopped at any time continues where it stopped
and writes the same bytes. Labels, votes and splits always come from the current source; a crop is kept if its source
has not changed.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mftn.data.manifest import MANIFEST
from mftn.data.prepare.assembly import join
from mftn.data.prepare.croissant import CROISSANT, write_croissant
from mftn.data.prepare.framing import Preparation, arcface_preparation, ferplus_preparation
from mftn.data.prepare.identity import source_columns
from mftn.data.prepare.parts import FOLDER, Task, in_parts, work
from mftn.data.prepare.resume import check_settings, reopen, what_is_outdated
from mftn.data.records import Record
from mftn.data.splits import Shares
from mftn.errors import DataError, OutputError
from mftn.files import locked_folder

__all__ = ["PART", "Preparation", "Shares", "arcface_preparation", "ferplus_preparation", "prepare"]

PART = 64
"""Faces per part: the most that is repeated after a run was stopped."""


def prepare(
    records: Iterable[Record],
    out: str | Path,
    preparation: Preparation,
    *,
    root: str | Path = "",
    shares: Shares | None = None,
    about: dict[str, Any] | None = None,
    warnings: Sequence[str] = (),
    workers: int = 2,
    part_size: int = PART,
    skip_damaged: bool = False,
    on_part: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Path:
    """Write crops, `manifest.parquet`, `dataset.json` and `croissant.json`, or bring them up to date.

    Args:
        records: The faces, in the same order in every run.
        out: The folder to make, to complete, or to bring up to date.
        preparation: How faces are cropped.
        root: Source files are recorded relative to it.
        shares: Shares to split off where the owners give no split.
        about: More for `dataset.json`: name, licence, options; a folder made with different ones is refused.
        warnings: Warnings about the source, also for `dataset.json`.
        workers: Processes; 1 works in this one.
        part_size: Faces per part.
        skip_damaged: Omit images that cannot be read and name them in `dataset.json`, instead of stopping.
        on_part: Called with the number of faces done, after each part.
        on_note: Called with a message if a complete folder no longer matches its source.

    Returns:
        The manifest's path.

    Raises:
        ConfigError: Another run is writing to `out`.
        DataError: `out` was prepared with different settings, or cannot be written to.
        ImageError: An image cannot be read.
    """
    out, shares = Path(out), shares or Shares()
    settings = (about or {}) | {"preparation": asdict(preparation), "shares": asdict(shares)}
    settings = json.loads(json.dumps(settings))  # as it will be read back
    with _explained(out), _alone(out):
        check_settings(out, settings)
        if (out / MANIFEST).exists():
            records = list(records)
            now = [source_columns(record, str(root), preparation.format) for record in records]
            if outdated := what_is_outdated(out, now):
                if on_note:
                    on_note(outdated)
                reopen(out, now, part_size)
        if not (out / MANIFEST).exists():
            names = []
            task = Task(out, str(root), preparation, skip_damaged)
            for name, done in work(task, in_parts(records, part_size), workers):
                names.append(name)
                if on_part:
                    on_part(done)
            more = settings | {"skip_damaged": skip_damaged, "warnings": list(warnings)}
            join(out, [out / FOLDER / name for name in names], more, shares)
            write_croissant(out)
        elif not (out / CROISSANT).exists():
            write_croissant(out)
        shutil.rmtree(out / FOLDER, ignore_errors=True)
    return out / MANIFEST


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Create and lock the folder: of two runs, the first to end would remove the parts of the other."""
    out.mkdir(parents=True, exist_ok=True)
    with locked_folder(out):
        yield


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn operating system errors into errors that say what to do."""
    try:
        yield
    except OSError as error:
        reason = str(error) if isinstance(error, OutputError) else f"{error.filename or out}: {error.strerror or error}"
        raise DataError(f"{reason}; fix this and run the same command again: it continues where it stopped") from error
