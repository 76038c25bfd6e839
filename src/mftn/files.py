"""Atomic writes (a file is written under a temporary name, flushed, then renamed) and unique names."""

from __future__ import annotations

import csv
import errno
import glob
import io
import json
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from mftn.errors import ConfigError, ImageError, MFTNError, OutputError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_USER = re.compile(
    r"(?<![a-z0-9+.-])(?!abfss?://[^/?#:@]+@)([a-z][a-z0-9+.-]*://)"
    r"(?:[^/?#]*@|[^/?#@:\[]*:(?!\d*(?:[/?#]|$))[^?#@]*@)",  # slashes as in Amazon's keys; a port is no password
    re.IGNORECASE,
)
_SURROGATES = re.compile("[\ud800-\udfff]+")

MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
"""Pixels per side that a format can hold."""


@contextmanager
def atomic_write(path: str | Path, *, keep: bool = False, real_suffix: bool = False) -> Iterator[Path]:
    """Yield a path to write to; it replaces the file if the block succeeds, otherwise the earlier file is kept.

    A replaced file keeps its permissions. Missing folders are created. The block must close the files it opens,
    as Windows cannot rename open files. A symbolic link's target is replaced, not the link; a device or a pipe
    (/dev/stdout) is written to directly.

    Args:
        path: The file.
        keep: Keep partial results. The file is called NAME.partial while it is written. After an exception such as
            Ctrl-C it is still renamed, so the block must leave a valid file; after a disk error NAME.partial stays and
            the message names it. Without `keep` the partial file's name contains the process id, and it is removed.
        real_suffix: The partial file has the file's own suffix (NAME.partial.mp4), for libraries that infer the
            format from it.

    Raises:
        OutputError: The file cannot be written; it is also an OSError.
    """
    path = Path(path)
    target = Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 (never raises)
    partial = _partial(target, "" if keep else f".{os.getpid()}", real_suffix)
    with disk_errors(partial if keep else path, path, target, partial, kept=keep):
        if _is_pipe_or_device(path):
            yield path
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            _commit(partial, target)
        except BaseException as error:
            if keep and not _disk_error(error) and partial.exists():
                _commit(partial, target)
            raise
        finally:
            if not keep or not _is_not_empty(partial):
                with suppress(OSError):
                    partial.unlink(missing_ok=True)


def _partial(target: Path, number: str, real_suffix: bool) -> Path:
    if real_suffix:
        return target.with_name(f"{target.stem}{number}.partial{target.suffix}")
    return target.with_name(f"{target.name}{number}.partial")


def partial_names(target: Path) -> tuple[Path, Path]:
    """The names that a file written with `keep` may have while it is incomplete."""
    return _partial(target, "", False), _partial(target, "", True)


def remove_unfinished(path: Path) -> None:
    """Remove partial files that killed processes left, written without `keep`; no process may be writing the file."""
    target = path.resolve()
    for partial in target.parent.glob(f"{glob.escape(target.name)}.*.partial"):
        if partial.name.removeprefix(f"{target.name}.").removesuffix(".partial").isdecimal():  # a process id
            partial.unlink(missing_ok=True)


def lock(file: int | BinaryIO, path: Path) -> None:
    """Lock an open file or folder against other runs for as long as it is open; has no effect on Windows.

    Args:
        file: The open file, or its descriptor.
        path: Its path, for the message.

    Raises:
        ConfigError: Another run holds the lock.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"{path}: another run is writing to it; wait until it has finished") from None
    except OSError:  # a network drive without locks
        return


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a `lock` on a folder during the block; a killed process leaves no lock behind.

    Raises:
        ConfigError: Another run holds the lock.
    """
    if os.name == "nt":  # folders cannot be opened
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        lock(number, folder)
        yield
    finally:
        os.close(number)


def file_identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Device and inode, which all hard and symbolic links of a file share; None if there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 (a path may be longer or odder than pathlib likes)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    import hashlib  # not loaded when the command line starts

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_pipe_or_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    return not stat.S_ISREG(mode)


def _commit(partial: Path, target: Path) -> None:
    with partial.open("r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())
    with suppress(OSError):  # a new file, or a disk without permissions
        partial.chmod(stat.S_IMODE(target.stat().st_mode))
    partial.replace(target)


@contextmanager
def disk_errors(path: Path, *others: Path, kept: bool = False) -> Iterator[None]:
    """Turn a failure to write a file into an error that names the file and says what to do.

    Args:
        path: The file that the message names.
        others: Other paths of the file; errors about any other file are passed on unchanged.
        kept: Whether `path` is kept if the block fails.

    Raises:
        OutputError: The block could not write the file.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        cause = _disk_error(error)
        if cause is None or not _concerns(cause, (path, *others)):
            raise
        note = " (what was computed so far is in it)" if kept and _is_not_empty(path) else ""
        reason = cause.strerror or str(cause)
        raise OutputError(f"{path}: cannot be written{note}: {reason}; {what_to_do(cause)}") from error


def _concerns(error: OSError, paths: Iterable[Path]) -> bool:
    """Whether an error names no file, one of the paths, or a parent folder of one."""
    if not isinstance(error.filename, str):
        return True
    named = Path(error.filename).absolute()  # FFmpeg is given absolute paths
    return any(named == path or named in path.parents for path in map(Path.absolute, paths))


def _is_not_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def what_to_do(error: OSError) -> str:
    """Advice for users whose file cannot be written."""
    number = error.errno
    if number in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return "free space or choose another location"
    if number in (errno.EACCES, errno.EPERM):
        return "check its permissions, close the programs that have it open, or choose another location"
    return "choose another location"


def _disk_error(error: BaseException | None) -> OSError | None:
    """The system's error behind an exception; libraries that buffer raise exceptions of their own on top of it.

    None for Ctrl-C and for errors of this package, whatever caused them.
    """
    while isinstance(error, Exception) and not isinstance(error, MFTNError):
        if isinstance(error, OSError) and error.errno:
            return error
        error = error.__cause__ or error.__context__
    return None


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8; names in it are made valid text by `readable`."""
    write_bytes(path, readable(text).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_write(path) as partial:
        partial.write_bytes(content)


@contextmanager
def write_encoded(path: Path) -> Iterator[io.BytesIO]:
    """Yield a buffer for an image encoder; its content is written atomically if the block succeeds.

    When Pillow writes to a file itself, it does not notice that a full disk has truncated a write.
    """
    content = io.BytesIO()
    yield content
    write_bytes(path, content.getvalue())


def write_image(image: PillowImage.Image, file: io.BytesIO, kind: str, **options: Any) -> None:
    """Encode an image.

    Args:
        image: An image in any mode that the format supports.
        file: A buffer.
        kind: Pillow's name for the format.
        options: Options of Pillow's encoder.

    Raises:
        ImageError: The format cannot hold the image: JPEG is limited to 65,500 pixels per side, WebP to 16,383.
    """
    limit = MAX_SIDE.get(kind, max(image.size))
    if max(image.size) > limit:
        raise ImageError(
            f"{image.width}×{image.height} pixels are too many for {kind}, which is limited to {limit:,} per side"
        )
    try:
        image.save(file, kind, **options)
    except Exception as error:  # Pillow's encoders raise almost any error
        raise ImageError(f"cannot be written as {kind} ({error or type(error).__name__})") from error


class CsvLines:
    r"""A text file for `csv.writer` whose lines end with \n, and in which a \r in a name is quoted on every Python.

    Before 3.13, the writer quotes only the characters of its own line ending: leave that at \r\n.

    Args:
        file: The open file.
    """

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, row: str) -> None:
        """Write one row."""
        self.file.write(row.removesuffix("\r\n") + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table atomically; the first row names the columns."""
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, content.getvalue())


class UniqueNames:
    """Makes names that differ on every file system, even one that ignores case or equates é and e + ´.

    Args:
        taken: Names that are in use already.
        separator: The text before the number.

    Examples:
        >>> names = UniqueNames()
        >>> [names.name(stem) for stem in ("x", "X", "x-2", "x")]
        ['x', 'X-2', 'x-2-2', 'x-3']
    """

    MAX_BYTES = 200
    """Maximum bytes of a name's last part; file systems allow 255, including suffix and number."""

    def __init__(self, taken: Iterable[str] = (), separator: str = "-") -> None:
        self.separator = separator
        self.taken = {filesystem_key(name) for name in taken}
        self.count: Counter[str] = Counter()

    def name(self, stem: str) -> str:
        """The stem itself, or with -2, -3, …; the same stems in the same order get the same names."""
        folder, slash, last = stem.rpartition("/")
        content, base = os.fsencode(last), stem
        if len(content) > self.MAX_BYTES:
            base = folder + slash + content[: self.MAX_BYTES].decode(errors="ignore")
        key = filesystem_key(base)
        while True:
            self.count[key] += 1
            number = self.count[key]
            name = base if number == 1 else f"{base}{self.separator}{number}"
            if filesystem_key(name) not in self.taken:
                self.taken.add(filesystem_key(name))
                return name


def filesystem_key(name: str) -> str:
    """A name as the most lenient file system compares it: case-folded, in one Unicode normal form."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def without_secrets(address: str) -> str:
    """An address without user name and password, as tables and messages show it; other paths are unchanged.

    In Azure's addresses, abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/, the part before the @ is not a user name.
    """
    return _USER.sub(r"\1", address) if _ADDRESS.match(address) else address


def readable(name: str) -> str:
    r"""A path or a message as valid text: bytes of a file name that are not UTF-8 become \xNN, as in caf\xe9.jpg."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, which Windows allows
        return name.encode("utf-8", "backslashreplace").decode()


def visible(text: str) -> str:
    r"""A text on one line for display: as by `readable`, with control characters written as \xNN."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", readable(text))


def csv_delimiter(header: str) -> str:
    """The delimiter of a CSV table, judged by its first line: comma, semicolon or tab."""
    return max(",;\t", key=header.count)


def json_text(values: Any, indent: int | None = None) -> str:
    """Values as JSON that is valid UTF-8: names in it are made valid text by `readable`.

    Args:
        values: JSON-ready values.
        indent: Spaces per level of indentation; None for a single line.
    """
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    return _SURROGATES.sub(lambda found: readable(found[0]).replace("\\", "\\\\"), text)
