"""The images of a shard, read ahead: files, members of tar files, rows of Parquet files."""

from __future__ import annotations

import errno
import tarfile
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from mftn.download import is_address
from mftn.errors import ConfigError, ImageError
from mftn.files import without_secrets
from mftn.recognize import Recognizer
from mftn.scale.listing import bytes_column, lasting, name_column
from mftn.scale.settings import Settings
from mftn.scale.shards import Item, ItemKind, Shard
from mftn.scale.storage import is_stored, locate, name_at, patiently, read_stored
from mftn.sources import Kind, Source, is_hidden, listed, readable_suffixes
from mftn.types import Prediction

READERS = 16
"""Files that are read at once: stores and network drives respond slowly, but to many requests at a time."""

READ_AHEAD_BYTES = 64_000_000
"""Largest number of bytes of files that wait for prediction, besides those being read."""

OUT_OF_REACH = {
    number
    for name in ("ESTALE", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENOTCONN")
    if (number := getattr(errno, name, None)) is not None
}
"""Error numbers of network drives that are temporary."""


def predictions_of(shard: Shard, recognizer: Recognizer, settings: Settings, notes: list[str]) -> Iterator[Prediction]:
    """The predictions of a shard, in order, as `mftn predict` makes them for its files.

    Args:
        shard: The shard to read.
        recognizer: Detects and classifies.
        settings: Only the options for videos are used.
        notes: Collects messages about videos that could not be read, or not to their end.

    Raises:
        OSError: A store remained unreachable; what cannot be read for another reason is a prediction with `error`.
    """
    first = shard.items[0]
    if first.kind is ItemKind.VIDEO:
        yield from _video(first.path, recognizer, settings, notes)
    elif first.kind is ItemKind.TAR:
        yield from recognizer.stream(members(first.path))
    elif first.kind is ItemKind.ROWS:
        yield from recognizer.stream(rows(first))
    else:
        yield from recognizer.stream(fetched(shard.items))


def fetched(items: Iterable[Item]) -> Iterator[Source]:
    """Images with their content, in order, read ahead by several threads."""
    waiting: deque[Future[Source]] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(fetch, item))
                while len(waiting) >= 2 * READERS or _held(waiting) > READ_AHEAD_BYTES:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _held(waiting: Iterable[Future[Source]]) -> int:
    return sum(each.result().nbytes for each in waiting if each.done() and not each.exception())


def fetch(item: Item) -> Source:
    """An image with its content; a path that cannot be read is left to `Recognizer.stream`, as in a list.

    Raises:
        OSError: The store or the network drive remained unreachable.
    """
    source = Source(name_at(item.path), Kind.IMAGE, item.error)
    if item.error or is_address(item.path):
        return source
    try:
        if is_stored(item.path):
            return replace(source, content=read_stored(item.path))
        return replace(source, content=patiently(lambda: _read_file(item.path)))
    except (OSError, ValueError, ConfigError) as error:
        if not is_stored(item.path) and getattr(error, "errno", None) not in OUT_OF_REACH:
            return listed(item.path)
        return replace(source, error=lasting(source.name, error))


def _name(path: str) -> str:
    """A path as written in rows."""
    return without_secrets(name_at(path))


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a path may be longer or odder than pathlib likes)
            return file.read()
    except OSError as error:
        if error.errno in OUT_OF_REACH:
            raise
        raise ValueError(str(error)) from error  # permanent: waiting would not help


CUT_OFF = (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]


class _Member(tarfile.TarInfo):
    """A member that distinguishes a truncated archive from a complete one; tarfile treats both as the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Member:
        """The next member.

        Raises:
            tarfile.ReadError: The archive ends without the block of zeros that closes it.
        """
        try:
            return super().fromtarfile(archive)
        except CUT_OFF as error:
            raise tarfile.ReadError("it ends before its closing block") from error


def members(path: str) -> Iterator[Source]:
    """The images in a tar file, as PATH/MEMBER, in order; the file is read once, from start to end."""
    name, suffixes, found = _name(path), readable_suffixes(), False
    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as archive:
            for member in archive:
                inside = PurePosixPath(member.name)
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or inside.suffix.lower() not in suffixes or any(map(is_hidden, inside.parts)):
                    continue
                found = True
                yield Source(f"{name}/{member.name}", Kind.IMAGE, content=content.read())
        if not found:
            yield Source(name, Kind.IMAGE, f"{name}: the archive holds no image")
    except (tarfile.TarError, EOFError) as error:
        yield Source(name, Kind.IMAGE, f"{name}: damaged or incomplete ({error}); copy or download it again")
    except (OSError, ValueError, ConfigError) as error:
        yield Source(name, Kind.MISSING, lasting(name, error))


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    files, place = locate(path)
    with patiently(lambda: files.open_input_stream(place, buffer_size=1_000_000)) as file:
        yield file


def rows(item: Item) -> Iterator[Source]:
    """The images in rows of a Parquet file, named by its name column, or as PATH#ROW."""
    try:
        yield from _rows(item)
    except (OSError, ValueError, ConfigError) as error:
        yield Source(_name(item.path), Kind.MISSING, lasting(_name(item.path), error))


def _rows(item: Item) -> Iterator[Source]:
    import pyarrow.parquet as pq

    files, place = locate(item.path)
    with patiently(lambda: pq.ParquetFile(files.open_input_file(place))) as file:
        column, named = bytes_column(file.schema_arrow), name_column(file.schema_arrow)
        assert column is not None
        groups, first = _groups(file.metadata, item)
        number = first
        for batch in file.iter_batches(64, row_groups=groups, columns=[column, *([named] if named else [])]):
            for row in batch.to_pylist():
                if item.start <= number < item.stop:
                    name = without_secrets(str((named and row[named]) or f"{_name(item.path)}#{number}"))
                    yield _source(name, row[column])
                number += 1
            if number >= item.stop:
                return


def _groups(metadata: Any, item: Item) -> tuple[list[int], int]:
    """The row groups with an item's rows, and the number of their first row."""
    groups, first, start = list[int](), 0, 0
    for group in range(metadata.num_row_groups):
        stop = start + metadata.row_group(group).num_rows
        if start < item.stop and stop > item.start:
            first = first if groups else start
            groups.append(group)
        start = stop
    return groups, first


def _source(name: str, value: Any) -> Source:
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        return Source(name, Kind.MISSING, f"{name}: the row holds no image")
    return Source(name, Kind.IMAGE, content=content)


def _video(path: str, recognizer: Recognizer, settings: Settings, notes: list[str]) -> Iterator[Prediction]:
    """The frames of a video; one that cannot be read is a prediction with `error`."""
    name = _name(path)
    if not is_stored(path):
        yield from _frames(path, name, recognizer, settings, notes)
        return
    try:
        content = read_stored(path)
    except (OSError, ValueError, ConfigError) as error:
        yield _unread(name, lasting(name, error), recognizer, notes)
        return
    with tempfile.NamedTemporaryFile(suffix=PurePosixPath(name).suffix) as copy:  # FFmpeg reads files
        copy.write(content)
        copy.flush()
        del content
        for prediction in _frames(copy.name, name, recognizer, settings, notes):
            said = prediction.error and prediction.error.replace(copy.name, name)
            yield replace(prediction, source=name, error=said)


def _frames(path: str, name: str, recognizer: Recognizer, settings: Settings, notes: list[str]) -> Iterator[Prediction]:
    """The rows of `mftn predict` for a video: frames before an error, or a row with the error if there are none."""
    from mftn.track_video import TrackedFrames
    from mftn.video import Clip

    count, failure, frames = 0, None, None
    try:
        with closing(Clip(path, settings.start, settings.end, settings.every, fps=settings.fps)) as clip:
            frames = TrackedFrames(clip, recognizer, settings.detect_every, settings.smooth, keep_images=False)
            for frame in clip:
                for prediction, _ in frames.push(frame):
                    count += 1
                    yield prediction
            failure = (cut_off := clip.cut_off()) and f"{name}: {cut_off}"
    except ImageError as error:
        failure = str(error)
    for prediction, _ in frames.flush() if frames else ():
        count += 1
        yield prediction
    if failure and count:
        notes.append(failure)
    elif failure:
        yield _unread(name, failure, recognizer, notes)


def _unread(name: str, error: str, recognizer: Recognizer, notes: list[str]) -> Prediction:
    notes.append(error)
    return Prediction(name, 0, 0, (), error, model=recognizer.engine.spec.name)
