"""Files in shared folders and object stores, by address, through the file systems of pyarrow and fsspec."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from mftn.errors import ConfigError, MissingExtraError
from mftn.files import disk_errors, without_secrets
from mftn.sources import is_hidden

T = TypeVar("T")

ADDRESS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<place>[^/?]*)/?(?P<path>.*?)(?P<query>\?(?:\w+=[^?]*)?)?",
    re.IGNORECASE | re.DOTALL,
)
"""An address; options of a store, such as its endpoint, come after the last question mark, which may end it."""

SECRET_OPTION = re.compile(r"[?&](sig|\w*(secret|password|token|key)\w*)=", re.IGNORECASE)
"""An option of a store that is or may be a password."""

PATIENCE_S = 120.0
"""Seconds for which a store may be unreachable."""

OBJECT_STORES = ("s3", "gcs", "abfs")
"""File systems of pyarrow that have no folders."""

FINAL = {errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""Numbers of permanent errors."""


DAMAGED = re.compile("Couldn't deserialize|Corrupt |[A-Za-z0-9]+ decompression failed|zlib inflate failed")
"""Start of pyarrow's messages about damaged Parquet files; these errors have no number."""

REFUSED = re.compile("AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET)")
"""Part of the messages of a store that was reached but refused."""


def is_stored(path: str) -> bool:
    """Whether a path is an address of a store; http(s) addresses are read image by image."""
    if "://" not in path:
        return False
    match = ADDRESS.fullmatch(path)
    return match is not None and match["scheme"].lower() not in ("http", "https")


def name_at(address: str) -> str:
    """An address as written in rows: without the options of its store; the query of an http(s) address is kept."""
    if "?" not in address or not is_stored(address):
        return address
    match = ADDRESS.fullmatch(address)
    return address[: match.start("query")] if match and match["query"] else address


def holds_secret(address: str) -> bool:
    """Whether an address contains a password, before its host or in the options of its store."""
    match = ADDRESS.fullmatch(address) if is_stored(address) else None
    return without_secrets(address) != address or bool(match and SECRET_OPTION.search(match["query"] or ""))


def locate(address: str) -> tuple[Any, str]:
    """The pyarrow file system of an address, and the path in it; a path without a scheme is a local one.

    Raises:
        ConfigError: There is no such store, or the address contains a password.
        MissingExtraError: pyarrow is not installed.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        return _connect("", "", "")[0], os.path.abspath(address)  # noqa: PTH100 (Path would change the name)
    if holds_secret(address):
        name = without_secrets(name_at(address))
        raise ConfigError(f"{name}: contains a password; set it in the environment, as for the store's own tools")
    query = (match["query"] or "").removesuffix("?")
    files, base = _connect(match["scheme"].lower(), match["place"], query)
    return files, f"{base.rstrip('/')}/{match['path']}".rstrip("/")


@lru_cache(maxsize=64)
def _connect(scheme: str, place: str, query: str) -> tuple[Any, str]:
    try:
        from pyarrow import fs
    except ImportError as error:
        raise MissingExtraError("Prediction on many machines", "ray") from error
    if not scheme:
        return fs.LocalFileSystem(), ""
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(f"{scheme}://{place}{query}" if place else f"{scheme}:///")
        return found
    except ValueError as error:
        if "Unrecognized filesystem type" not in str(error):  # such as an unknown option
            raise ConfigError(f"{scheme}://{place}: cannot be reached ({error})") from error
    except OSError as error:
        if "libjvm" in str(error) or "libhdfs" in str(error):
            raise ConfigError(
                f"{scheme}://{place}: needs Java and Hadoop's client; install them, and set JAVA_HOME and HADOOP_HOME"
            ) from error
        raise
    try:
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme))), place or "/"
    except Exception as error:  # each file system raises its own, for missing packages or options
        raise ConfigError(f"{scheme}://{place}: cannot be reached ({error})") from error


def patiently(action: Callable[[], T], patience: float = PATIENCE_S) -> T:
    """The result of an action that reads or writes, repeated while the store is unreachable.

    Args:
        action: Reads or writes.
        patience: Longest time in seconds.

    Raises:
        Exception: What the action raised, once it is final (`is_final`) or the time is over.
    """
    deadline, wait = time.monotonic() + patience, 0.5
    while True:
        try:
            return action()
        except Exception as error:
            if is_final(error) or time.monotonic() + wait > deadline:
                raise
        time.sleep(wait)
        wait = min(2 * wait, 15.0)


def is_final(error: Exception) -> bool:
    """Whether an error is permanent, so that waiting does not help."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError | ValueError):
        return True
    if DAMAGED.match(str(error)) or REFUSED.search(str(error)):
        return True
    return getattr(error, "errno", None) in FINAL


def walk_store(address: str) -> Iterator[str]:
    """The addresses of the files at an address: itself, the files of a folder at all levels, or a pattern's matches.

    A folder's own files come first, sorted, then those of its subfolders. Hidden names and the records of earlier runs
    are skipped. A name that exists is not a pattern. Only the names of one folder at a time are held in memory.
    """
    from pyarrow import fs

    match = ADDRESS.fullmatch(address)
    assert match
    head, query = address[: match.start("path")], match["query"] or ""
    files, path = locate(address)
    found, pattern = patiently(lambda: files.get_file_info(path)), None
    if found.type == fs.FileType.NotFound and any(sign in match["path"] for sign in "*["):
        pattern = path
        fixed = match["path"].partition("*")[0].partition("[")[0].rpartition("/")[0]
        files, path = locate(f"{head}{fixed}{query}")
        found = patiently(lambda: files.get_file_info(path))
    if found.type == fs.FileType.File:
        yield address
        return
    base = locate(f"{head}{query}")[1].strip("/")
    waiting = [path] if found.type == fs.FileType.Directory else []
    while waiting:
        folder = waiting.pop()
        entries = patiently(lambda folder=folder: files.get_file_info(fs.FileSelector(folder)))  # type: ignore[misc]
        entries = [entry for entry in entries if not is_hidden(entry.base_name) and entry.base_name != "_mftn"]
        entries.sort(key=lambda each: each.path)
        for entry in entries:
            if entry.type == fs.FileType.File and (pattern is None or fnmatch.fnmatchcase(entry.path, pattern)):
                inside = entry.path.lstrip("/").removeprefix(base).lstrip("/")
                yield f"{head}{inside}{query or ('?' if '?' in inside else '')}"
        waiting += [entry.path for entry in reversed(entries) if entry.type == fs.FileType.Directory]


def read_stored(address: str) -> bytes:
    """The content at an address, retried while the store is unreachable.

    Raises:
        OSError: It does not exist, may not be read, or remains unreachable.
    """
    return _read(*locate(address))


def _read(files: Any, path: str) -> bytes:
    def read() -> bytes:
        with files.open_input_stream(path) as file:
            content: bytes = file.read()
            return content

    return patiently(read)


@dataclass(frozen=True, slots=True)
class Store:
    """An output folder that several machines share, on a disk or in an object store.

    Attributes:
        address: Address of the folder.
    """

    address: str

    def put(self, name: str, content: bytes) -> None:
        """Write a file atomically: under a temporary name, then renamed.

        The temporary name is random, because process ids are not unique across machines.

        Raises:
            OutputError: It cannot be written to a disk.
            OSError: It cannot be written to a store.
        """
        files, root = locate(self.address)
        temporary = f"_mftn/partial/{uuid.uuid4().hex}"
        final, partial = f"{root}/{name}", f"{root}/{temporary}"

        def write() -> None:
            self._make_folders(final, partial)
            with files.open_output_stream(partial) as file:
                file.write(content)
            if self._is_disk:
                _flush(partial)
            files.move(partial, final)

        with disk_errors(Path(final), Path(partial)):
            try:
                patiently(write)
            except OSError:
                self.delete_files([temporary])  # leftovers would fill the disk
                raise

    def mark(self, name: str, content: bytes) -> None:
        """Write a marker file: its existence counts, not its content.

        Raises:
            OutputError: It cannot be written to a disk.
            OSError: It cannot be written to a store.
        """
        files, root = locate(self.address)
        path = f"{root}/{name}"

        def write() -> None:
            self._make_folders(path)
            with files.open_output_stream(path) as file:
                file.write(content)

        with disk_errors(Path(path)):
            patiently(write)

    def _make_folders(self, *paths: str) -> None:
        """Make the folders of files, if the store has folders."""
        files = locate(self.address)[0]
        if files.type_name not in OBJECT_STORES:
            for path in paths:
                files.create_dir(path.rpartition("/")[0])

    @property
    def _is_disk(self) -> bool:
        return ADDRESS.fullmatch(self.address) is None

    def get(self, name: str) -> bytes | None:
        """A file's content; None if there is none."""
        files, root = locate(self.address)
        try:
            return _read(files, f"{root}/{name}")
        except FileNotFoundError:
            return None

    def open(self, name: str) -> Any:
        """Open a file that pyarrow reads in pieces."""
        files, root = locate(self.address)
        return patiently(lambda: files.open_input_file(f"{root}/{name}"))

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder, sorted; none if it does not exist."""
        from pyarrow import fs

        files, root = locate(self.address)
        chosen = fs.FileSelector(f"{root}/{folder}".rstrip("/"), allow_not_found=True)
        return sorted(entry.base_name for entry in patiently(lambda: files.get_file_info(chosen)))

    def have(self, names: list[str]) -> list[bool]:
        """Which of these files exist."""
        from pyarrow import fs

        files, root = locate(self.address)
        found = patiently(lambda: files.get_file_info([f"{root}/{name}" for name in names]))
        return [entry.type == fs.FileType.File for entry in found]

    def delete_files(self, names: list[str]) -> None:
        """Delete files that exist, if the store can be reached."""
        files, root = locate(self.address)
        for name in names:
            with suppress(OSError):
                files.delete_file(f"{root}/{name}")

    def delete(self, folder: str) -> None:
        """Delete a folder, if it exists."""
        files, root = locate(self.address)
        with suppress(FileNotFoundError):
            patiently(lambda: files.delete_dir(f"{root}/{folder}"))


def _flush(path: str) -> None:
    """Flush a file to disk, so that it survives a power failure."""
    with open(path, "r+b") as file:  # noqa: PTH123
        os.fsync(file.fileno())
