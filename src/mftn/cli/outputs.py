"""Checks before any work: no output replaces a source, or a file that is there already without --overwrite."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mftn.errors import ConfigError
from mftn.files import file_identity, partial_names


def check_outputs(
    outputs: Iterable[tuple[str, Path | None]], sources: Iterable[str | os.PathLike[str]], overwrite: bool
) -> None:
    """Refuse outputs that are a source, whatever links lead there, that exist already, or that are one file twice.

    Args:
        outputs: Options as they are typed, and the files that they name.
        sources: The files that are read.
        overwrite: Existing files may be replaced.

    Raises:
        ConfigError: The first output that is refused, and what to do.
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
            raise ConfigError(f"{option} {path}: is what {taken[target]} names too; choose another name")
        taken[target] = option
        if path.is_dir():
            raise ConfigError(f"{option} {path}: is a folder; name a file")
        if path.is_file() and not overwrite:
            raise ConfigError(f"{option} {path}: exists already; add --overwrite, or choose another name")
        check_location(option, path.parent)


def check_location(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be made or written to.

    Raises:
        ConfigError: What stands in the way.
    """
    existing = next((each for each in (folder, *folder.absolute().parents) if os.path.lexists(each)), folder)
    if not existing.is_dir():
        raise ConfigError(f"{option}: {existing} is no folder; choose another location")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{option}: {existing} may not be written to; check its permissions")


def check_folders(outputs: Mapping[str, Path | None], sources: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse folders of outputs that are folders of sources themselves; inside of them they may lie.

    Raises:
        ConfigError: The first folder that is refused.
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
