"""What a run has computed so far, kept beside its output, so that another run can go on from there.

A journal is a file of JSON lines, NAME.resume: first what makes it; then a line for every image or frame, as in JSONL
output; and after the last one of each source a line that says that it is done, with the source's size and time. The
table itself and the files made of videos are named before they are written. Lines are only ever added. Whatever ends a
run, what follows the last source that is done is left out and computed again.
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
from mftn.output import Provenance, meta_path, open_writer
from mftn.types import Prediction

SYNC_S = 5.0
"""Most seconds of work that a power failure costs."""

KEPT = "what was computed is kept, go on with --resume"
"""Ends the message of what a full disk has stopped."""

State = tuple[int, int]
"""A file's size, and its time of modification in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Where a source's lines are in a journal.

    Attributes:
        start: First byte.
        end: Byte after the last one.
        state: The source's when it was read; None if it has to be computed again.
        saved: Absolute paths of the images and videos that were saved for it.
    """

    start: int
    end: int
    state: State | None
    saved: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier run has left in its journal.

    Attributes:
        done: Sources that it has done.
        saved: Absolute paths of the files that it has written, or was about to.
    """

    done: int
    saved: frozenset[str]


def journal_path(output: Path) -> Path:
    """Where the journal of an output is."""
    return output.parent / f"{output.name}.resume"


class Journal:
    """The journal of one output; close it at the end.

    Args:
        output: The table that it becomes.
        provenance: What makes the table.
        resume: Go on with what an earlier run has computed; otherwise it is begun anew.

    Raises:
        ConfigError: The earlier run had other settings, or another run is writing to the journal now.
        OutputError: The journal cannot be written.
    """

    def __init__(self, output: Path, provenance: Provenance, resume: bool = False) -> None:
        self.output, self.path, self.provenance = output, journal_path(output), provenance
        self._segments: dict[str, Segment] = {}
        self._states: dict[str, State | None] = {}
        self._unfinished: Counter[str] = Counter()  # a source may be given twice
        self._resumed, self._check, self._synced = resume, 0, time.monotonic()
        with disk_errors(self.path, (self.path,), kept=True):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("a+b")
            try:
                lock(self._file, self.path)
                self._begin(resume)
            except BaseException:
                self._file.close()
                raise

    def _begin(self, resume: bool) -> None:
        """Read what is there, cut an unfinished end off, and write the first line if there is none."""
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
        now = _flat(json.loads(self.provenance.to_json()))
        before = _flat(known)
        changed = [
            f"{name} was {before.get(name)} and is {now.get(name)}"
            for name in dict.fromkeys([*before, *now])
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise ConfigError(
                f"--resume: {self.path} was begun with other settings ({'; '.join(changed)}); give the same ones, or "
                "--overwrite in place of --resume to begin anew"
            )

    def has(self, source: str, saved: Collection[str] = ()) -> bool:
        """Whether a source is done: computed from the file as it is now, with all that was saved still there.

        Args:
            source: Its path.
            saved: How the paths of what is saved for it must begin.
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
        """Name files that are about to be written, so that a run that goes on knows them from a user's own."""
        record = {"files": list(map(os.path.abspath, files))}
        self._add(json.dumps(record).encode() + b"\n")
        self._sync()

    def write(self, prediction: Prediction) -> None:
        """Add an image or a frame."""
        line = (json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n").encode()
        self._check = zlib.crc32(line, self._check)
        self._add(line)

    def end(self, source: str, saved: Iterable[str] = (), failed: bool = False) -> None:
        """Say that a source is done.

        Args:
            source: Its path, for which `has` was asked before it was read.
            saved: The images and videos that were saved for it.
            failed: It has to be computed again when a run goes on.
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
        with disk_errors(self.path, (self.path,), kept=True):
            self._file.flush()
        if self._resumed:
            self._segments[source] = segment
        self._start, self._check = self._file.tell(), 0

    def _add(self, line: bytes) -> None:
        with disk_errors(self.path, (self.path,), kept=True):
            self._file.write(line)
        if time.monotonic() - self._synced > SYNC_S:
            self._sync()

    def _sync(self) -> None:
        """Let what is written survive a power failure."""
        with disk_errors(self.path, (self.path,), kept=True):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def write_output(self, kind: str, order: Iterable[str] | None = None) -> None:
        """Write the table of everything that the journal holds.

        Args:
            kind: "jsonl", "csv" or "parquet".
            order: The sources in the order of the table; those that the journal does not hold are left out. None for
                the order in which they were computed.

        Raises:
            OutputError: The table cannot be written; the journal stays.
        """
        outputs = [self.output, meta_path(self.output)]
        self.announce(outputs)
        for path in outputs:
            remove_unfinished(path)  # the journal is locked, so no other run is writing them
        segments: Sequence[Segment] = [Segment(0, self._file.tell(), None, ())]
        if order is not None:
            segments = [self._segments[source] for source in order if source in self._segments]
            segments = [*segments, Segment(self._start, self._file.tell(), None, ())]  # of a source that is unfinished
        try:
            with open_writer(self.output, kind, self.provenance) as writer, self.path.open("rb") as file:
                for segment in segments:
                    for prediction in _predictions(file, segment):
                        writer.write(prediction)
        except OutputError as error:
            raise OutputError(f"{error}; {KEPT}") from error

    def close(self, *, remove: bool = False) -> None:
        """Close the file, and remove it where it is not needed any more."""
        with suppress(OSError):  # a full disk has been told
            self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)


def earlier_run(output: Path) -> Earlier | None:
    """What the journal of an output holds; None where there is no journal.

    Raises:
        ConfigError: A file of the journal's name is there that is none.
    """
    path = journal_path(output)
    try:
        with path.open("rb") as file:
            first = _first_line(file)
            if (first is None and file.tell()) or (first is not None and "mftn_version" not in first):
                raise ConfigError(
                    f"--output {output}: {path} is where what is done would be kept, and it is another file; move it "
                    "away, choose another name, or add --overwrite"
                )
            if first is None:
                return Earlier(0, frozenset())
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
        segments: The sources that are done.
        end: Byte after the last one.
        saved: The files that were written, or announced.
        announced: Those that were announced after the last source that is done.
    """

    segments: dict[str, Segment]
    end: int
    saved: set[str]
    announced: set[str]


def _read(file: BinaryIO) -> _Content:
    """What a journal holds from where the file stands."""
    start = position = file.tell()
    found, check = _Content({}, start, set(), set()), 0
    for line in file:
        position += len(line)
        if not line.startswith((b'{"done"', b'{"files"')):
            check = zlib.crc32(line, check)
            continue
        try:
            record = json.loads(line)
        except ValueError:  # the end of a run that was killed
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


def _flat(provenance: dict[str, object]) -> dict[str, object]:
    settings = provenance.get("settings")
    return provenance | (settings if isinstance(settings, dict) else {}) | {"settings": None}
