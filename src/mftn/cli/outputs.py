"""Checks before any work: no output may replace a source, or an existing file without --overwrite."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from mftn.errors import ConfigError
from mftn.files import UniqueNames, file_identity, partial_names
from mftn.journal import journal_path
from mftn.sources import Source


def check_outputs(
    outputs: Iterable[tuple[str, Path | None]],
    sources: Iterable[str | os.PathLike[str]],
    overwrite: bool,
    own: Callable[[Path], bool] | None = None,
) -> None:
    """Refuse outputs that are a source (also through links), exist already, or name the same file twice.

    Args:
        outputs: Options as typed, and the files that they name.
        sources: The files that are read.
        overwrite: Whether existing files may be replaced.
        own: Whether a file was written by the earlier run that this one resumes, and may be replaced.

    Raises:
        ConfigError: An output is refused; the message says what to do.
    """
    named = [(option, path) for option, path in outputs if path is not None]
    if not named:
        return
    read = {identity for source in sources if (identity := file_identity(source))}
    taken: dict[Path, str] = {}
    for option, path in named:
        target = Path(os.path.realpath(path))
        if any(file_identity(each) in read for each in (path, target, *partial_names(target), journal_path(target))):
            raise ConfigError(f"{option} {path}: is a source, or its partial file would be; choose another name")
        if target in taken:
            raise ConfigError(f"{option} {path}: is the same file as {taken[target]}; choose another name")
        taken[target] = option
        if path.is_dir():
            raise ConfigError(f"{option} {path}: is a folder; name a file")
        if path.is_file() and not overwrite and not (own and own(path)):
            raise ConfigError(f"{option} {path}: {_exists('name', resuming=own is not None)}")
        check_location(option, path.parent)


def _exists(other: str, *, resuming: bool) -> str:
    """The error message for a file that already exists, with advice."""
    if resuming:
        return "already exists, and does not belong to the run that --resume continues; move it away"
    return f"already exists; add --overwrite, or choose another {other}"


def check_location(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be created or written to.

    Raises:
        ConfigError: The folder is refused; the message names the obstacle.
    """
    existing = next((each for each in (folder, *folder.absolute().parents) if os.path.lexists(each)), folder)
    if not existing.is_dir():
        raise ConfigError(f"{option}: {existing} is not a folder; choose another location")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{option}: {existing} cannot be written to; check its permissions")


def check_folders(outputs: Mapping[str, Path | None], sources: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse output folders that are source folders themselves; they may be inside one.

    Raises:
        ConfigError: A folder is refused.
    """
    read = {identity for source in sources if (identity := file_identity(source))}
    for option, folder in outputs.items():
        if folder is None:
            continue
        if file_identity(folder) in read:
            example = f", such as {folder / 'annotated'}" if folder.is_dir() else ""
            raise ConfigError(f"{option} {folder}: is a source itself; choose another folder{example}")
        check_location(option, folder)


class FilePerVideo:
    """The paths of one kind of output for videos: a file for a single video, or a folder with a file for each.

    Args:
        option: The option as typed.
        path: The file or the folder.
        ending: The end of file names in a folder, after the video's own name: faces.mp4.
        suffixes: Suffixes of files.
        only: The only video of the command; None if there may be several.
        overwrite: Replace existing files.
        own: As in `check_outputs`.

    Raises:
        ConfigError: The path names neither a folder nor a file of a known kind, or one file for several videos.
    """

    def __init__(
        self,
        option: str,
        path: Path,
        ending: str,
        suffixes: Sequence[str],
        only: Source | None,
        overwrite: bool,
        own: Callable[[Path], bool] | None = None,
    ) -> None:
        self.option, self.given, self.ending, self.overwrite, self.own = option, path, ending, overwrite, own
        self.is_folder = path.is_dir() or not path.suffix
        self._unique, self._names, self._written = UniqueNames(), dict[str, str](), set[Path]()
        if self.is_folder:
            return
        if path.suffix.lower() not in suffixes:
            raise ConfigError(f"{option} {path}: unknown suffix; use {', '.join(suffixes)}, or name a folder")
        if only is None:
            raise ConfigError(f"{option} {path}: is one file, and there may be several videos; name a folder")

    def path(self, source: Source) -> Path:
        """The file for a video; the first call sets its name."""
        if not self.is_folder:
            return self.given
        if source.path not in self._names:
            self._names[source.path] = self._unique.name(_file_stem(source))
        return self.given / f"{self._names[source.path]}_{self.ending}"

    def checked_path(self, source: Source) -> Path:
        """The file for a video that is about to be written.

        Raises:
            FileExistsError: The file already exists; not all names are known when `check_outputs` runs.
        """
        path = self.path(source)
        known = path in self._written or self.overwrite or (self.own and self.own(path))
        if self.is_folder and path.exists() and not known:
            raise FileExistsError(f"{source.name}: {path} {_exists('folder', resuming=self.own is not None)}")
        self._written.add(path)
        return path


def _file_stem(source: Source) -> str:
    """A stem for output files of a source: that of its own file, or a stream's last path component."""
    if "://" not in source.path:
        return Path(source.path).stem
    address = urlsplit(source.path)
    stem = PurePosixPath(address.path).stem or address.hostname or "stream"
    return re.sub(r"[^\w.-]+", "_", stem)
