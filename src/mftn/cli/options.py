"""Declaration of options, the options that all subcommands share, and parsing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from mftn.errors import ConfigError

T = TypeVar("T")

NO_DEFAULT = tyro.conf.arg(help_behavior_hint="")
Unset = Annotated[T | None, NO_DEFAULT]
"""An option that may be omitted; its help says what happens then."""

Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff, NO_DEFAULT]
"""An option that is off unless it is given."""

Group = Annotated[T, tyro.conf.OmitArgPrefixes]
"""Options under a heading of their own, without a prefix in their names."""

FILE, FOLDER, SECONDS, SIZE = (tyro.conf.arg(metavar=name) for name in ("FILE", "FOLDER", "SECONDS", "SIZE"))
FILES, FOLDERS, SOURCES = (
    tyro.conf.arg(metavar=f"{name} …", help_behavior_hint="") for name in ("FILE", "FOLDER", "SOURCE")
)
SHORT_O = tyro.conf.arg(aliases=["-o"])
OutFile = Annotated[Unset[Path], SHORT_O, FILE]
OutFolder = Annotated[Path, SHORT_O, FOLDER]


PATHS = ConstructorRegistry()
"""How paths are parsed."""


@PATHS.primitive_rule
def _path_rule(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """Reject an empty path, such as a script's unset variable, which `Path` takes for the working folder."""
    if kind.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: _path(*words),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


def _path(text: str) -> Path:
    if not text:
        raise ValueError("a path may not be empty")
    return Path(text)


def flag(name: str) -> str:
    """An option as it is typed: --save-images for save_images."""
    return f"--{name.replace('_', '-')}"


def refuse(options: Any, names: Collection[str], reason: str) -> None:
    """Raise a ConfigError, "--option REASON", if one of these fields of a dataclass differs from its default."""
    for field in fields(options):
        if field.name in names and getattr(options, field.name) != field.default:
            raise ConfigError(f"{flag(field.name)} {reason}; omit it")


@dataclass(frozen=True)
class Messages:
    """Messages on standard error.

    Attributes:
        quiet: Print errors only: no progress, no warnings, no summary.
        verbose: Print details, such as the model and engine in use, and a line for every image.
        log: Also append every message to this file, with a timestamp.
    """

    quiet: Annotated[Switch, tyro.conf.arg(aliases=["-q"])] = False
    verbose: Annotated[Switch, tyro.conf.arg(aliases=["-v"])] = False
    log: Annotated[Unset[Path], FILE] = None


@dataclass(frozen=True)
class VideoOptions:
    """What is read from videos, and what is written for them.

    Attributes:
        start: Timestamp of the first frame to read.
        end: Timestamp of the last frame to read.
        every: Read every Nth frame.
        fps: Read the frames nearest to this many evenly spaced times per second.
        detect_every: Interval in frames between detections in the whole image.
        smooth: Time over which probabilities are averaged; 0 turns smoothing off.
        save_video: File for an annotated copy with sound; for several videos, a folder.
        save_timeline: File for a figure of the expressions over time; for several videos, a folder.
    """

    start: Annotated[float, SECONDS] = 0.0
    end: Annotated[Unset[float], SECONDS] = None
    every: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    fps: Unset[float] = None
    detect_every: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    smooth: Annotated[float, SECONDS] = 0.3
    save_video: Annotated[Unset[Path], FILE] = None
    save_timeline: Annotated[Unset[Path], FILE] = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every subcommand.

    Attributes:
        messages: Messages on standard error.
    """

    messages: Annotated[Group[Messages], tyro.conf.arg(name="message")] = Messages()


Given = TypeVar("Given", bound=Options)


def parse_options(
    kind: type[Given],
    name: str,
    description: str | None,
    arguments: Sequence[str],
    examples: Sequence[str] = (),
    default: Given | None = None,
) -> Given:
    """Parse the options of a subcommand.

    Args:
        kind: The class that declares them.
        name: The subcommand.
        description: What it does, for its help text.
        arguments: The command line after the subcommand.
        examples: Command lines for the end of the help text.
        default: Values of options that are not given.

    Raises:
        SystemExit: The help text was printed (0), or the usage is wrong (2).
    """
    try:
        with PATHS:
            return tyro.cli(
                kind,
                prog=f"mftn {name}",
                description=description,
                args=arguments,
                config=(tyro.conf.DisallowNone,),
                default=tyro.MISSING_NONPROP if default is None else default,
            )
    except SystemExit as stop:
        if not stop.code and examples:
            print("examples:\n" + "\n".join(f"  {example}" for example in examples))
        raise
