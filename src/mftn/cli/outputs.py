"""Checks before any work: no output replaces a source, nor an existing file without --overwrite."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mftn.errors import ConfigError
from mftn.files import file_identity, partial_names


def check_outputs(
    outputs: Iterable[tuple[str, Path | None]], sources: Iterable[str | os.PathLike[str]], overwrite: bool
) -> None:
    """Refuse outputs that are a source (also through links), that exist already, or that name one file twice.

    Args:
        outputs: Options as typed, and the files that they name.
        sources: The files that are read.
        overwrite: Existing files may be replaced.

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
        if any(file_identity(each) in read for each in (path, target, *partial_names(target))):
            raise ConfigError(f"{option} {path}: is a source, or its partial file would be; choose another name")
        if target in taken:
            raise ConfigError(f"{option} {path}: is the same file as {taken[target]}; choose another name")
        taken[target] = option
        if path.is_dir():
            raise ConfigError(f"{option} {path}: is a folder; name a file")
        if path.is_file() and not overwrite:
            raise ConfigError(f"{option} {path}: exists already; add --overwrite, or choose another name")
        check_location(option, path.parent)


def check_location(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be created or written to.

    Raises:
        ConfigError: It cannot; the message names the obstacle.
    """
    existing = next((each for each in (folder, *folder.absolute().parents) if os.path.lexists(each)), folder)
    if not existing.is_dir():
        raise ConfigError(f"{option}: {existing} is no folder; choose another location")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{option}: {existing} may not be written to; check its permissions")


def check_folders(outputs: Mapping[str, Path | None], sources: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse output folders that are source folders themselves; they may lie inside one.

    Raises:
        ConfigError: A folder is refused.
    """
    read = {identity for source in sources if (identity := file_identity(source))}
    for option, folder in outputs.items():
        if folder is None:
            continue
        if file_identity(folder) in read:
            raise ConfigError(
                f"{option} {folder}: is a source itself; choose another folder, such as {folder}/annotated"
            )
        check_location(option, folder)
