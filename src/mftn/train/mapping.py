"""Builds typed configurations from YAML or JSON content."""

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from mftn.errors import ConfigError, did_you_mean

Config = TypeVar("Config")


def from_mapping(cls: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """A config from nested mappings; omitted keys keep their defaults.

    Raises:
        ConfigError: A key is unknown (the message suggests the closest), or a value has the wrong type.
    """
    types = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in types:
            raise ConfigError(f"{source}: unknown key {key}; {did_you_mean(str(key), types)}")
        kind = types[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{source}: {key} needs keys and values, not {value!r}")
            arguments[key] = from_mapping(kind, value, f"{source}: {key}")  # type: ignore[arg-type]
        else:
            arguments[key] = _checked(kind, value, f"{source}: {key}")
    return cls(**arguments)


def _checked(kind: Any, value: Any, source: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise ConfigError(f"{source}: {value!r} is not one of {', '.join(map(str, typing.get_args(kind)))}")
    elif origin is tuple:
        item, *more = typing.get_args(kind)
        count = None if more[-1:] == [...] else 1 + len(more)
        name = {str: "strings", int: "whole numbers", float: "numbers"}[item]
        wanted = int | float if item is float else item
        fits = isinstance(value, list | tuple) and count in (None, len(value))
        if not fits or not all(isinstance(each, wanted) and not isinstance(each, bool) for each in value):
            raise ConfigError(f"{source}: needs a list of {f'{count} ' if count else ''}{name}, not {value!r}")
        return tuple(map(item, value))
    elif kind is Path:
        if not isinstance(value, str | Path):
            raise ConfigError(f"{source}: needs a path, not {value!r}")
        return Path(value)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif not isinstance(value, origin or kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{source}: needs {getattr(kind, '__name__', kind)}, not {value!r}")
    return value
