"""Installed models: those that ship with this package, and those that add-on packages bring.

An add-on package declares an entry point in the group `mftn.models` whose value is a package that holds NAME.onnx,
NAME.json (the fields of `ModelCard`) and NAME.md (its card). Add-ons are looked for only where they are needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mftn.errors import EMPTY_NAME, ModelError, UnknownModelError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

DEFAULT_MODEL = "mftn_mobile_ferplus"

IN_THE_CLONE = {name: f"weights/{name}" for name in ("mftn_facenet_ferplus", "mftn_mobile_robust")}
"""Add-on packages of this repository, and the folder that pip installs each from."""

GROUP = "mftn.models"
"""The group of the entry points that add-on packages declare."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """An installed model, as its card describes it.

    Attributes:
        name: What `load` takes.
        summary: One line.
        input: Size and colour of its crops.
        parameters: Number of weights.
        megabytes: Size of its file.
        accuracy: Measured accuracy, 0 to 1, by test data.
        licence: Licence of the weights.
    """

    name: str
    summary: str
    input: str
    parameters: int
    megabytes: float
    accuracy: dict[str, float]
    licence: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An add-on package or card that cannot be read.

    Attributes:
        name: The entry point, or the file.
        reason: Why it cannot be read.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: cannot be read ({self.reason}); reinstall or remove the package"


def list_models() -> list[ModelCard]:
    """Cards of the installed models: first the shipped ones, then those of add-on packages, each sorted by name."""
    return scan_models()[0]


def scan_models() -> tuple[list[ModelCard], list[Unreadable]]:
    """The cards that `list_models` returns, and the add-on packages and cards that cannot be read."""
    cards = {path.stem: _read_card(path.with_suffix(".json")) for path in _models_in(_shipped_folder())}
    unreadable: list[Unreadable] = []
    added: dict[str, ModelCard] = {}
    for found in _added_models():
        if isinstance(found, Unreadable):
            unreadable.append(found)
        elif found.stem not in cards | added:
            try:
                added[found.stem] = _read_card(found.with_suffix(".json"))
            except ModelError as error:
                unreadable.append(Unreadable(str(found), str(error)))
    return [*cards.values(), *(added[name] for name in sorted(added))], unreadable


def find_model(model: str | Path | None = None) -> Path:
    """The file of an installed model, by its name, or the path itself.

    A name is looked up first among the shipped models, then as a file, then in add-on packages.

    Raises:
        UnknownModelError: There is no such model or file.
    """
    name = str(DEFAULT_MODEL if model is None else model)
    is_name = Path(name).name == name
    shipped = _shipped_folder() / f"{name}.onnx"
    if is_name and os.path.isfile(shipped):  # noqa: PTH113 (Path.is_file raises where a name is too long)
        return shipped
    if os.path.isfile(name):  # noqa: PTH113
        return Path(name)
    added = list(_added_models())
    for found in added:
        if isinstance(found, Path) and found.stem == name:
            return found
    raise UnknownModelError(_unknown(name, added))


def is_shipped(path: Path) -> bool:
    """Whether a model's file ships with this package."""
    return path.parent == _shipped_folder()


def _unknown(name: str, added: list[Path | Unreadable]) -> str:
    """The message for a name that is neither a file nor an installed model."""
    installed = [path.stem for path in [*_models_in(_shipped_folder()), *added] if isinstance(path, Path)]
    names = ", ".join(dict.fromkeys(installed))
    message = f"{name or EMPTY_NAME}: neither a model file nor an installed model (installed: {names})"
    if name in IN_THE_CLONE:
        message += f"; it is a separate package: in a clone of the repository, pip install ./{IN_THE_CLONE[name]}"
    return "; ".join([message, *(str(found) for found in added if isinstance(found, Unreadable))])


def _added_models() -> Iterator[Path | Unreadable]:
    """The model files of add-on packages, and the packages that cannot be read."""
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            folder = Path(str(files(entry.value)))
            models = _models_in(folder)
        except Exception as error:  # an add-on's import may raise anything
            yield Unreadable(_described(entry), str(error) or type(error).__name__)
            continue
        if not models:
            yield Unreadable(_described(entry), "it holds no .onnx file")
        yield from models


def _described(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else entry.value
    return f"the add-on package {package}"


def _models_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".onnx")


def _read_card(path: Path) -> ModelCard:
    """A model's card.

    Raises:
        ModelError: It is missing, or lacks a field.
    """
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ModelCard(**fields)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path.name}: {error}") from error


def _shipped_folder() -> Path:
    return Path(str(files("mftn.engines"))) / "weights"
