"""Classification of paths, and expansion of folders, globs and lists on standard input to images and videos.

An invalid path becomes a `Source` with an error and never stops the listing. No file is opened here except those that
are named like copies saved by this package.
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
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from mftn.errors import EMPTY_NAME, ConfigError, ImageError
from mftn.files import without_secrets
from mftn.tags import is_own_copy


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


IMAGE_SUFFIXES = _suffixes("jpg jpeg jpe jfif mpo png webp bmp dib gif tif tiff ppm pgm pbm pnm avif jp2 j2k")
"""Suffixes of images in a folder; a file that is given explicitly is read whatever its suffix."""

VIDEO_SUFFIXES = _suffixes("mp4 mov m4v mkv webm avi mpg mpeg vob wmv asf ts mts m2ts 3gp 3g2 flv f4v ogv mxf")

HEIC_SUFFIXES = _suffixes("heic heif hif")

RAW_SUFFIXES = _suffixes("cr2 cr3 nef nrw arw dng orf rw2 raf pef srw")

OPTIONAL = {"HEIC image": (HEIC_SUFFIXES, "pillow_heif", "heif"), "RAW image": (RAW_SUFFIXES, "rawpy", "raw")}
"""Images that need an optional package: their suffixes, the package, and the extra that installs it."""

_UNFINISHED_VIDEO = re.compile(r"\.partial\.(mp4|mov|mkv)$", re.IGNORECASE)  # an unfinished annotated copy

_CLIP, _BESIDE = "clip of a live photo", "RAW image beside its JPEG"
_IRREGULAR = {_CLIP: "clips of live photos", _BESIDE: "RAW images beside their JPEGs"}

LIVE_PHOTO_BYTES = 16_000_000
"""Size of the largest .mov that counts as the clip of a live photo of the same name: phones store three seconds."""

LIVE_SCHEMES = frozenset(("rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp", "mms", "mmsh"))
"""URL schemes of live streams; an http(s) address is also a stream unless it names an image or a video."""

STILL_SUFFIXES = _suffixes("jpg jpeg heic heif")
"""Suffixes of the still images of live photos."""

SYSTEM_NAMES = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini")
)
"""Files and folders that operating systems create; ignored like names that begin with a dot."""

IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF87a", b"GIF89a", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0")
"""First bytes of image files."""


_DENIED = "cannot be read; check its permissions"

_SEPARATORS = re.escape(os.sep + (os.altsep or ""))
_ANY_DEPTH = re.compile(rf"(?:^|(?<=[{_SEPARATORS}]))\*\*(?:[{_SEPARATORS}]+|$)")  # ** in a glob


class Kind(StrEnum):
    """The kind of a path."""

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


VIDEO_KINDS = (Kind.VIDEO, Kind.CAMERA, Kind.STREAM)


@dataclass(frozen=True, slots=True)
class Source:
    """A path and its kind.

    Attributes:
        path: As given or found; bytes that are not UTF-8 are lone surrogates, as in Python's file functions.
        kind: Its kind; for a regular file it is inferred from the name.
        error: Why it cannot be read, beginning with the path; None if there is no known obstacle.
        content: The file's bytes, if they have been read already.
    """

    path: str
    kind: Kind
    error: str | None = None
    content: bytes | None = field(default=None, repr=False)

    @property
    def moves(self) -> bool:
        """Whether it is read frame by frame: a video, a camera or a live stream."""
        return self.kind in VIDEO_KINDS and not self.error

    @property
    def live(self) -> bool:
        """Whether it has no end: a camera or a live stream."""
        return self.kind in (Kind.CAMERA, Kind.STREAM)

    @property
    def name(self) -> str:
        """The path as tables and messages show it: addresses without user name and password."""
        return without_secrets(self.path)

    @property
    def nbytes(self) -> int:
        """Memory in bytes of its content."""
        return len(self.content) if self.content is not None else 0


def classify(path: str | os.PathLike[str]) -> Source:
    """Classify a path without opening it; existing files take precedence over camera numbers and globs."""
    path = os.fsdecode(path)
    if path == "-":
        return Source(path, Kind.LIST)
    if re.match(r"[a-z][a-z0-9+]+://", path, re.IGNORECASE):
        return _classify_address(path)
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


def _classify_address(address: str) -> Source:
    """Classify an address by its scheme and suffix."""
    live = Source(address, Kind.STREAM)
    try:
        parts = urlsplit(address)
    except ValueError:
        return Source(address, Kind.MISSING, f"{live.name}: is not a valid address")
    if parts.scheme in LIVE_SCHEMES:
        return live
    if parts.scheme not in ("http", "https"):
        return Source(
            address, Kind.MISSING, f"{live.name}: {parts.scheme} addresses are not supported; download the file"
        )
    suffix = PurePosixPath(parts.path).suffix.lower()
    if suffix in IMAGE_SUFFIXES | HEIC_SUFFIXES | RAW_SUFFIXES:
        return Source(address, Kind.IMAGE)
    return Source(address, Kind.VIDEO) if suffix in VIDEO_SUFFIXES else live


def _without_file(path: str, error: OSError | ValueError) -> Source:
    """Classify a path at which there is no file."""
    if path.isascii() and path.isdigit():
        return Source(path, Kind.CAMERA)
    if isinstance(error, PermissionError):
        return Source(path, Kind.UNREADABLE, f"{path}: {_DENIED}")
    if glob.has_magic(path):
        return Source(path, Kind.GLOB)
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        long = getattr(error, "errno", None) == errno.ENAMETOOLONG
        reason = "the name is too long" if long else getattr(error, "strerror", None) or str(error)
        return Source(path, Kind.MISSING, f"{path}: no such file: {reason}; check the path")
    if os.path.islink(path):  # noqa: PTH114
        return Source(path, Kind.MISSING, f"{path}: is a link to a file that does not exist")
    return Source(path, Kind.MISSING, f"{path or EMPTY_NAME}: no such file or folder; check the path")


def find_sources(
    sources: Iterable[str | os.PathLike[str] | Source],
    *,
    null: bool = False,
    videos: bool = False,
    skip: Collection[Path] = (),
    unread: Counter[str] | None = None,
) -> Iterator[Source]:
    """Yield the images of files, folders (with subfolders, sorted), globs and "-"; failures are sources with an error.

    A path that is reached twice is yielded twice.

    Args:
        sources: Paths, or results of this function.
        videos: Also yield videos, cameras and streams. Otherwise one that is given explicitly is an error, and those in
            folders are only counted.
        null: Paths on standard input are separated by NUL bytes, as `find -print0` writes them.
        skip: Resolved folders that are not searched.
        unread: Counts the files in folders that are not read, by kind.

    Raises:
        ConfigError: Standard input is not a list of paths.
    """
    for given in sources:
        source = given if isinstance(given, Source) else classify(given)
        if source.kind is Kind.LIST:
            for path in read_list(null):
                yield from _expand(listed(path), videos, skip, unread)
        else:
            yield from _expand(source, videos, skip, unread)


def listed(path: str) -> Source:
    """Classify a path from a list, in which - is a file of that name."""
    return Source(path, Kind.IMAGE) if path == "-" else classify(path)


def _expand(source: Source, videos: bool, skip: Collection[Path], unread: Counter[str] | None) -> Iterator[Source]:
    if source.kind is Kind.FOLDER:
        yield from walk(source.path, skip, unread, videos=videos)
    elif source.kind is Kind.GLOB:
        yield from _matches(source.path, videos)
    elif source.moves and not videos:
        error = (
            f"{source.name}: is a {source.kind}, not an image; read it with mftn.track or `mftn predict {source.name}`"
        )
        yield Source(source.path, source.kind, error)
    else:
        yield source


def find_images(sources: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Yield the paths of the images of `sources`, for callers that stop at the first failure.

    Raises:
        ImageError: A path cannot be read, or a folder or glob contains no image.
    """
    for source in find_sources(sources):
        if source.error:
            raise ImageError(source.error)
        yield source.path


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is ignored in folders."""
    return name.startswith(".") or name in SYSTEM_NAMES or _UNFINISHED_VIDEO.search(name) is not None


def walk(
    folder: str, skip: Collection[Path] = (), unread: Counter[str] | None = None, *, videos: bool = False
) -> Iterator[Source]:
    """Yield the images in a folder and its subfolders: a folder's own, sorted, then those of its subfolders.

    Hidden files and folders are skipped. Links to folders are counted but not followed, which avoids loops.
    Annotated copies and faces that this package saved are ignored, unless the folder contains nothing else.
    The clip of a live photo (a short .mov beside an image of the same name) and a RAW image beside a JPEG or HEIC of
    the same name are counted but not read.
    A folder that has no images or cannot be read is one source with an error.

    Args:
        folder: The top folder.
        skip: Resolved folders that are not searched.
        unread: Counts what is not read, by kind.
        videos: Also yield videos; otherwise they are only counted.
    """
    counts, found, own_copies = Counter[str](), False, list[Path]()
    suffixes = readable_suffixes() | (VIDEO_SUFFIXES if videos else frozenset())
    waiting = [Path(folder)]
    while waiting:
        directory = waiting.pop()
        try:
            entries = _entries(directory)
        except OSError as error:
            found = True
            denied = isinstance(error, PermissionError)
            reason = _DENIED if denied else f"the folder cannot be read: {error.strerror or error}"
            yield Source(str(directory), Kind.UNREADABLE, f"{directory}: {reason}")
            continue
        subfolders = []
        stills = {_stem(entry.name) for entry in entries if _suffix(entry.name) in STILL_SUFFIXES}
        for entry in entries:
            path = directory / entry.name
            if _is_folder(entry) and not entry.is_symlink():
                if not skip or path.resolve() not in skip:
                    subfolders.append(path)
            elif _suffix(entry.name) in suffixes and is_own_copy(path):
                own_copies.append(path)
            elif kind := _unread_kind(entry, stills, suffixes):
                counts[kind] += 1
            elif _suffix(entry.name) in suffixes:
                found = True
                yield classify(path)
        waiting += reversed(subfolders)
    if unread is not None:
        unread.update(counts)
    if not found and own_copies:
        yield from map(classify, own_copies)
    elif not found:
        but = f", but {describe(counts)}" if counts else ""
        what = "image or video" if videos else "image"
        yield Source(folder, Kind.FOLDER, f"{folder}: the folder contains no {what}{but}")


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted, without hidden names."""
    return sorted((each for each in os.scandir(directory) if not is_hidden(each.name)), key=lambda each: each.name)


def readable_suffixes() -> frozenset[str]:
    """Suffixes of the images that are read in a folder, including HEIC and RAW if their packages are installed."""
    installed = [suffixes for suffixes, package, _ in OPTIONAL.values() if find_spec(package)]
    return IMAGE_SUFFIXES.union(*installed)


def advice(unread: Counter[str]) -> str:
    """What to do about files that are not read."""
    extras = {name: extra for name, (*_, extra) in OPTIONAL.items()} | {"video": "video"}
    missing = [f"for {_plural(name)} pip install 'mftn[{extra}]'" for name, extra in extras.items() if unread[name]]
    return "; ".join([*missing, "to read clips, RAW images beside a JPEG or linked folders, name them explicitly"])


def describe(unread: Counter[str]) -> str:
    """The counts of `walk` as text: 3 HEIC images, 1 video."""
    return ", ".join(f"{count:,} {_plural(name) if count > 1 else name}" for name, count in unread.items())


def _plural(name: str) -> str:
    return _IRREGULAR.get(name, f"{name}s")


def _unread_kind(entry: os.DirEntry[str], stills: Collection[str], suffixes: Collection[str]) -> str | None:
    """The kind of an entry that is counted instead of read; None for images and videos to read, and for other files."""
    if _is_folder(entry):
        return "linked folder"
    suffix, has_still = _suffix(entry.name), _stem(entry.name) in stills
    if has_still and suffix in RAW_SUFFIXES:
        return _BESIDE
    if has_still and _may_be_live_photo(entry):
        return _CLIP
    if suffix in suffixes:
        return None
    kinds = {"video": VIDEO_SUFFIXES} | {name: theirs for name, (theirs, *_) in OPTIONAL.items()}
    return next((name for name, theirs in kinds.items() if suffix in theirs), None)


def _may_be_live_photo(entry: os.DirEntry[str]) -> bool:
    """Whether a video beside an image of the same name can be the clip of a live photo."""
    try:
        return _suffix(entry.name) == ".mov" and entry.stat().st_size <= LIVE_PHOTO_BYTES
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _matches(pattern: str, videos: bool) -> Iterator[Source]:
    """The files that match a glob, sorted; without hidden ones, unless the pattern names them."""
    hidden = SYSTEM_NAMES - set(Path(pattern).parts)
    try:
        paths = sorted(set(_glob(pattern)))
    except (OSError, ValueError):
        paths = []
    shown = (path for path in paths if hidden.isdisjoint(Path(path).parts))
    files = [source for source in map(classify, shown) if source.kind is not Kind.FOLDER]
    files = [source for source in files if not is_own_copy(source.path)] or files
    if not files:
        yield Source(pattern, Kind.GLOB, f"{pattern}: no file matches; check the pattern")
    for source in files:
        yield from _expand(source, videos, (), None)


def _glob(pattern: str) -> Iterator[str]:
    """As `glob.glob`, but ** does not follow links to folders: with two that point upwards it would never end."""
    any_depth = _ANY_DEPTH.search(pattern)
    if any_depth is None:
        yield from glob.iglob(pattern)
        return
    start, rest = pattern[: any_depth.start()], pattern[any_depth.end() :] or "*"
    for top in glob.iglob(start) if glob.has_magic(start) else [start]:
        for folder in _below(top):
            yield from _glob(os.path.join(glob.escape(folder), rest))  # noqa: PTH118 (Path would change its form)


def _below(folder: str) -> Iterator[str]:
    """A folder and all folders below it, except hidden ones and links."""
    yield folder
    with suppress(OSError), os.scandir(folder or ".") as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                yield from _below(os.path.join(folder, entry.name))  # noqa: PTH118 (as above)


def read_list(null: bool) -> Iterator[str]:
    """Yield the paths on standard input, each as soon as it arrives, in any encoding.

    Args:
        null: As in `find_sources`.

    Raises:
        ConfigError: Standard input is not a list of paths.
    """
    start = True
    for piece in _lines_of_input(b"\0" if null else b"\n"):
        if start and piece.startswith(IMAGE_STARTS):
            raise ConfigError(
                "standard input is an image, not a list of paths; give the file's name: mftn predict photo.jpg"
            )
        path = piece.removeprefix(b"\xef\xbb\xbf") if start else piece
        start = False
        if b"\0" in path:
            raise ConfigError("the paths on standard input contain NUL bytes; add --null to read find -print0")
        if not null:
            path = path.rstrip(b"\r\n")
        if path.strip():
            yield path.decode(sys.getfilesystemencoding(), "surrogateescape")


def _lines_of_input(separator: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := _read_input():
        *pieces, rest = (rest + chunk).split(separator)
        yield from pieces
    if rest:
        yield rest


def _read_input() -> bytes:
    """Read the bytes available on standard input; blocks until there are some, and is empty at the end.

    Python's own buffer is bypassed: a thread that waits in it holds a lock that the interpreter needs to exit.
    """
    try:
        number = sys.stdin.fileno()
    except OSError:  # not a real file
        return sys.stdin.buffer.read(65536)
    return os.read(number, 65536)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].lower()  # noqa: PTH122 (as in _suffix)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 (a path may be longer or odder than pathlib likes)
