"""The results that a run has computed so far, stored beside its output, so that another run can resume from there.

A journal is a JSONL file, NAME.resume. Its first line holds the provenance. Then it has one line per image or frame, as
in JSONL output, and after the last one of each source a line that marks the source as done, with its size and
modification time. The names of the table itself and of annotated videos are recorded before these are written. The file
is append-only. However a run ends, everything after the last completed source is discarded and computed again.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mftn.errors import ConfigError, OutputError
from mftn.files import disk_errors, lock, remove_unfinished
from mftn.output import Provenance, meta_path, open_writer, setting_changes
from mftn.tags import is_own_copy
from mftn.types import Prediction

SYNC_S = 5.0
"""Seconds between syncs to disk: at most this much work is lost in a power failure."""

KEPT = "the results so far are kept, continue with --resume"
"""The end of the message when a full disk has stopped a run."""

State = tuple[int, int]
"""A file's size, and its modification time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The location of a source's lines in a journal.

    Attributes:
        start: First byte.
        end: Byte after the last one.
        state: The source's state when it was read; None if it has to be computed again.
        saved: Absolute paths of the images and videos that were saved for it.
    """

    start: int
    end: int
    state: State | None
    saved: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the journal of an earlier run holds.

    Attributes:
        done: Number of completed sources.
        saved: Absolute paths of the files that it wrote or was about to write.
    """

    done: int
    saved: frozenset[str]

    def owns(self, path: Path) -> bool:
        """Whether a run that resumes this one may replace a file: this one wrote it, or it is a saved copy."""
        return os.path.abspath(path) in self.saved or is_own_copy(path)  # noqa: PTH100 (as in the journal)


def journal_path(output: Path) -> Path:
    """The path of an output's journal."""
    return output.parent / f"{output.name}.resume"


class Journal:
    """The journal of one output; close it at the end.

    Args:
        output: The table that is made from it.
        provenance: The provenance of the table.
        resume: Continue from what an earlier run computed; otherwise start over.

    Raises:
        ConfigError: The earlier run had other settings, or another run is writing to the journal.
        OutputError: The journal cannot be written.
    """

    def __init__(self, output: Path, provenance: Provenance, resume: bool = False) -> None:
        self.output, self.path, self.provenance = output, journal_path(output), provenance
        self._segments: dict[str, Segment] = {}
        self._states: dict[str, State | None] = {}
        self._unfinished: Counter[str] = Counter()  # a source may be given twice
        self._resumed, self._check, self._synced = resume, 0, time.monotonic()
        with disk_errors(self.path, kept=True):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("a+b")
            try:
                lock(self._file, self.path)
                self._begin(resume)
            except BaseException:
                self._file.close()
                raise

    def _begin(self, resume: bool) -> None:
        """Read the existing lines, truncate an unfinished end, and write the first line if there is none."""
        self._file.seek(0)
        known = _first_line(self._file) if resume else None
        if known is not None:
            self._refuse_other_settings(known)
            content = _read(self._file)
            self._segments = content.segments
            self._file.truncate(content.end)
            if content.announced:
                self.announce(sorted(content.announced))
        else:
            self._file.truncate(0)
            self._file.write(self.provenance.to_json().encode() + b"\n")
            self._file.flush()
        self._start = self._file.seek(0, os.SEEK_END)

    def _refuse_other_settings(self, known: dict[str, object]) -> None:
        if changed := setting_changes(known, json.loads(self.provenance.to_json())):
            raise ConfigError(
                f"--resume: {self.path} was started with other settings ({'; '.join(changed)}); use the same ones, or "
                "--overwrite instead of --resume to start over"
            )

    def has(self, source: str, saved: Collection[str] = ()) -> bool:
        """Whether a source is done: computed from the file in its present state, with all files saved for it intact.

        Args:
            source: Its path.
            saved: The prefixes that the paths of files saved for it must have.
        """
        beginnings = tuple(map(os.path.abspath, saved))
        self._states[source] = state = _state(source)
        known = self._segments.get(source)
        if known is None:
            self._unfinished[source] += 1
            return False
        valid = known.state is not None and known.state == state
        valid = valid and all(path.startswith(beginnings) and Path(path).is_file() for path in known.saved)
        if not valid:
            del self._segments[source]
            self._unfinished[source] += 1
        return valid

    def announce(self, files: Iterable[str | os.PathLike[str]]) -> None:
        """Record files that are about to be written, so that a resumed run can tell them from a user's own files."""
        record = {"files": list(map(os.path.abspath, files))}
        self._add(json.dumps(record).encode() + b"\n")
        self._sync()

    def write(self, prediction: Prediction) -> None:
        """Append an image or a frame."""
        line = (prediction.to_json() + "\n").encode()
        self._check = zlib.crc32(line, self._check)
        self._add(line)

    def end(self, source: str, saved: Iterable[str] = (), failed: bool = False) -> None:
        """Mark a source as done.

        Args:
            source: Its path; `has` was called with it before it was read.
            saved: The images and videos that were saved for it.
            failed: It has to be computed again when the run is resumed.
        """
        state = self._states.get(source)
        self._unfinished[source] -= 1
        if self._unfinished[source] <= 0:
            del self._unfinished[source]
            self._states.pop(source, None)
        paths = tuple(map(os.path.abspath, saved))
        segment = Segment(self._start, self._file.tell(), None if failed else state, paths)
        record = {"done": source, "state": segment.state, "saved": segment.saved, "crc32": self._check}
        self._add(json.dumps(record).encode() + b"\n")
        with disk_errors(self.path, kept=True):
            self._file.flush()
        if self._resumed:
            self._segments[source] = segment
        self._start, self._check = self._file.tell(), 0

    def _add(self, line: bytes) -> None:
        with disk_errors(self.path, kept=True):
            self._file.write(line)
        if time.monotonic() - self._synced > SYNC_S:
            self._sync()

    def _sync(self) -> None:
        """Flush to disk, so that what is written survives a power failure."""
        with disk_errors(self.path, kept=True):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def write_output(self, kind: str, order: Iterable[str] | None = None) -> None:
        """Write the table of everything that the journal holds.

        Args:
            kind: "jsonl", "csv" or "parquet".
            order: The sources in the order of the table; those that are not in the journal are omitted. None for the
                order in which they were computed.

        Raises:
            OutputError: The table cannot be written; the journal is kept.
        """
        outputs = [self.output, meta_path(self.output)]
        self.announce(outputs)
        for path in outputs:
            remove_unfinished(path)  # the journal is locked, so no other run is writing them
        segments: Sequence[Segment] = [Segment(0, self._file.tell(), None, ())]
        if order is not None:
            segments = [self._segments[source] for source in order if source in self._segments]
            segments = [*segments, Segment(self._start, self._file.tell(), None, ())]  # of an unfinished source
        try:
            with open_writer(self.output, kind, self.provenance) as writer, self.path.open("rb") as file:
                for segment in segments:
                    for prediction in _predictions(file, segment):
                        writer.write(prediction)
        except OutputError as error:
            raise OutputError(f"{error}; {KEPT}") from error

    def close(self, *, remove: bool = False) -> None:
        """Close the file, and remove it if it is no longer needed."""
        with suppress(OSError):  # a full disk has been reported already
            self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)


def earlier_run(output: Path) -> Earlier | None:
    """What the journal of an output holds; None if there is no journal.

    Raises:
        ConfigError: A file with the journal's name exists that is not a journal.
    """
    path = journal_path(output)
    try:
        with path.open("rb") as file:
            first = _first_line(file)
            if not file.tell():  # killed before its first line
                return Earlier(0, frozenset())
            if first is None or "mftn_version" not in first:
                raise ConfigError(
                    f"--output {output}: the results so far would be kept in {path}, which is some other file; move "
                    "it away, choose another name, or add --overwrite"
                )
            content = _read(file)
            return Earlier(len(content.segments), frozenset(content.saved))
    except OSError:
        return None


def _first_line(file: BinaryIO) -> dict[str, object] | None:
    line = file.readline()
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if line.endswith(b"\n") and isinstance(values, dict) else None


@dataclass(slots=True)
class _Content:
    """What a journal holds after its first line.

    Attributes:
        segments: The completed sources.
        end: Byte after the last one.
        saved: The files that were written or announced.
        announced: Those announced after the last completed source.
    """

    segments: dict[str, Segment]
    end: int
    saved: set[str]
    announced: set[str]


def _read(file: BinaryIO) -> _Content:
    """Read a journal from the file's current position."""
    start = position = file.tell()
    found, check = _Content({}, start, set(), set()), 0
    for line in file:
        position += len(line)
        if not line.startswith((b'{"done"', b'{"files"')):
            check = zlib.crc32(line, check)
            continue
        try:
            record = json.loads(line)
        except ValueError:  # a killed run's last line
            break
        if "files" in record:
            found.announced.update(record["files"])
            found.saved.update(record["files"])
            continue
        if record["crc32"] == check:
            state = record["state"] and (record["state"][0], record["state"][1])
            found.segments[record["done"]] = Segment(start, position - len(line), state, tuple(record["saved"]))
            found.saved.update(record["saved"])
        start, found.end, check = position, position, 0
        found.announced = set()
    return found


def _predictions(file: BinaryIO, segment: Segment) -> Iterator[Prediction]:
    position = file.seek(segment.start)
    while position < segment.end:
        line = file.readline()
        position += len(line)
        if line.startswith(b'{"source"'):
            yield Prediction.from_dict(json.loads(line))


def _state(path: str) -> State | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (a path may be longer or odder than pathlib likes)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
