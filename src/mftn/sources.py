"""Classification of paths, and the images that files, folders, globs and lists on standard input stand for.

A bad path becomes one `Source` with an error and never ends the listing. No file is opened here.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mftn.errors import ConfigError, ImageError


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


IMAGE_SUFFIXES = _suffixes("jpg jpeg jpe jfif mpo png webp bmp dib gif tif tiff ppm pgm pbm pnm avif jp2 j2k")
"""Suffixes of images in a folder; a file that is named explicitly is tried whatever its suffix."""

VIDEO_SUFFIXES = _suffixes("mp4 mov m4v mkv webm avi mpg mpeg wmv ts mts 3gp")

UNREAD = {
    "HEIC image": _suffixes("heic heif hif"),
    "RAW image": _suffixes("cr2 cr3 nef arw dng orf rw2 raf pef srw"),
    "video": VIDEO_SUFFIXES,
}
"""Other files in a folder, which are counted and not read."""

SYSTEM_NAMES = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini")
)
"""Files and folders that systems create among images; hidden like names that begin with a dot."""

IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF87a", b"GIF89a", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0")
"""First bytes of image files."""


class Kind(StrEnum):
    """What a path is."""

    IMAGE = "image"
    VIDEO = "video"
    CAMERA = "camera"
    STREAM = "stream"
    FOLDER = "folder"
    GLOB = "glob"
    LIST = "list"
    SPECIAL = "special"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Source:
    """A path and its kind.

    Attributes:
        path: As it was given or found; bytes that are not UTF-8 are lone surrogates, as in Python's file functions.
        kind: Its kind; that of a regular file is taken from its name.
        error: Why it cannot be read, beginning with the path; None if it may be tried.
    """

    path: str
    kind: Kind
    error: str | None = None


def classify(path: str | os.PathLike[str]) -> Source:
    """Classify a path without opening it; existing files take precedence over camera numbers and globs."""
    path = os.fspath(path)
    if path == "-":
        return Source(path, Kind.LIST)
    if re.match(r"[a-z][a-z0-9+]+://", path, re.IGNORECASE):
        return Source(path, Kind.STREAM, f"{path}: network addresses are not read; download the file first")
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (a path may be longer or odder than pathlib likes)
    except (OSError, ValueError) as error:
        return _without_file(path, error)
    if stat.S_ISDIR(mode):
        return Source(path, Kind.FOLDER)
    if stat.S_ISREG(mode):
        return Source(path, Kind.VIDEO if _suffix(path) in VIDEO_SUFFIXES else Kind.IMAGE)
    if re.fullmatch(r"/dev/video\d+", path):
        return Source(path, Kind.CAMERA)
    what = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    return Source(path, Kind.SPECIAL, f"{path}: is {what}; give a regular file")


def _without_file(path: str, error: OSError | ValueError) -> Source:
    """Classify a path that names no file."""
    if path.isascii() and path.isdigit():
        return Source(path, Kind.CAMERA)
    if isinstance(error, PermissionError):
        return Source(path, Kind.UNREADABLE, f"{path}: may not be read; check its permissions")
    if glob.has_magic(path):
        return Source(path, Kind.GLOB)
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        long = getattr(error, "errno", None) == errno.ENAMETOOLONG
        reason = "the name is too long" if long else getattr(error, "strerror", None) or str(error)
        return Source(path, Kind.MISSING, f"{path}: no such file: {reason}; check the path")
    if os.path.islink(path):  # noqa: PTH114
        return Source(path, Kind.MISSING, f"{path}: is a link to a file that does not exist")
    return Source(path, Kind.MISSING, f"{path or '(an empty name)'}: no such file or folder; check the path")


def find_sources(
    sources: Iterable[str | os.PathLike[str] | Source],
    *,
    null: bool = False,
    skip: Collection[Path] = (),
    unread: Counter[str] | None = None,
) -> Iterator[Source]:
    """The images of files, folders (with subfolders, sorted), globs and "-"; each failure has an error of its own.

    A path that is reached twice is given twice. A video or camera is an error: image readers cannot read it.

    Args:
        sources: Paths, or results of this function.
        null: Paths on standard input are separated by NUL bytes, as `find -print0` writes them.
        skip: Resolved folders that are not walked.
        unread: Counts the files in folders that are not read, by kind.

    Raises:
        ConfigError: Standard input holds no list of paths.
    """
    for given in sources:
        source = given if isinstance(given, Source) else classify(given)
        if source.kind is Kind.LIST:
            for path in _read_list(null):
                listed = classify(path)
                yield from _expand(Source(path, Kind.IMAGE) if path == "-" else listed, skip, unread)
        else:
            yield from _expand(source, skip, unread)


def _expand(source: Source, skip: Collection[Path], unread: Counter[str] | None) -> Iterator[Source]:
    if source.kind is Kind.FOLDER:
        yield from walk(source.path, skip, unread)
    elif source.kind is Kind.GLOB:
        yield from _matches(source.path)
    elif source.kind in (Kind.VIDEO, Kind.CAMERA) and not source.error:
        command = f"give it by itself, as in `mftn predict {source.path}`"
        yield Source(source.path, source.kind, f"{source.path}: is a {source.kind}, not an image; {command}")
    else:
        yield source


def find_images(sources: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Paths of the images of `sources`, for callers that stop at the first failure.

    Raises:
        ImageError: A path cannot be read, or a folder or glob holds no image.
    """
    for source in find_sources(sources):
        if source.error:
            raise ImageError(source.error)
        yield source.path


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is skipped where a folder is walked."""
    return name.startswith(".") or name in SYSTEM_NAMES


def walk(folder: str, skip: Collection[Path] = (), unread: Counter[str] | None = None) -> Iterator[Source]:
    """The images in a folder and its subfolders: a folder's own, sorted, then those of its subfolders.

    Hidden files and folders are skipped. Links to folders are counted and not followed, so that there are no loops.
    A folder without images, or one that cannot be read, is one source with an error.

    Args:
        folder: The top folder.
        skip: Resolved folders that are not walked.
        unread: Counts what is not read, by kind.
    """
    counts, found = Counter[str](), False
    waiting = [Path(folder)]
    while waiting:
        directory = waiting.pop()
        try:
            entries = _entries(directory)
        except OSError as error:
            found, reason = True, f"the folder cannot be read: {error.strerror or error}"
            yield Source(str(directory), Kind.UNREADABLE, f"{directory}: {reason}")
            continue
        subfolders = []
        for entry in entries:
            path = directory / entry.name
            if _is_folder(entry):
                if entry.is_symlink():
                    counts["linked folder"] += 1
                elif not skip or path.resolve() not in skip:
                    subfolders.append(path)
            elif _suffix(entry.name) in IMAGE_SUFFIXES:
                found = True
                yield classify(path)
            else:
                counts.update(name for name, suffixes in UNREAD.items() if _suffix(entry.name) in suffixes)
        waiting += reversed(subfolders)
    if unread is not None:
        unread.update(counts)
    if not found:
        but = f", but {describe(counts)}" if counts else ""
        yield Source(folder, Kind.FOLDER, f"{folder}: the folder holds no image{but}")


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted, without hidden names."""
    return sorted((each for each in os.scandir(directory) if not is_hidden(each.name)), key=lambda each: each.name)


def describe(unread: Counter[str]) -> str:
    """The counts of `walk` as text: 3 HEIC images, 1 video."""
    return ", ".join(f"{count:,} {name}{'s' if count > 1 else ''}" for name, count in unread.items())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _matches(pattern: str) -> Iterator[Source]:
    """The files that match a glob, sorted; as with `*`, no hidden ones unless they are named."""
    hidden = SYSTEM_NAMES - set(Path(pattern).parts)
    try:
        paths = sorted(glob.glob(pattern, recursive=True))
    except (OSError, ValueError, re.error):
        paths = []
    shown = (path for path in paths if hidden.isdisjoint(Path(path).parts))
    files = [source for source in map(classify, shown) if source.kind is not Kind.FOLDER]
    if not files:
        yield Source(pattern, Kind.GLOB, f"{pattern}: no file matches; check the pattern")
    for source in files:
        yield from _expand(source, (), None)


def _read_list(null: bool) -> Iterator[str]:
    """Paths on standard input, each as soon as it arrives, in any encoding."""
    start = True
    for piece in _pieces(b"\0" if null else b"\n"):
        if start and piece.startswith(IMAGE_STARTS):
            raise ConfigError(
                "standard input holds an image, not a list of paths; give the file's name: mftn predict photo.jpg"
            )
        path = piece.removeprefix(b"\xef\xbb\xbf") if start else piece
        start = False
        if b"\0" in path:
            raise ConfigError("the paths on standard input hold NUL bytes; for those of find -print0 add --null")
        if not null:
            path = path.rstrip(b"\r\n")
        if path.strip():
            yield path.decode(sys.getfilesystemencoding(), "surrogateescape")


def _pieces(separator: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := _read_input():
        *pieces, rest = (rest + chunk).split(separator)
        yield from pieces
    if rest:
        yield rest


def _read_input() -> bytes:
    """The bytes available on standard input; waits for the first one, and is empty at the end.

    Python's own buffer is bypassed: a thread that waits in it holds a lock that the interpreter needs when it ends.
    """
    try:
        number = sys.stdin.fileno()
    except OSError:  # no real file
        return sys.stdin.buffer.read(65536)
    return os.read(number, 65536)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 (a path may be longer or odder than pathlib likes)
