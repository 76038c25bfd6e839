"""The exceptions that users see. Each message names the file and says what is wrong and what to do."""

from collections.abc import Collection

EMPTY_NAME = "(an empty name)"
"""How messages refer to a file whose name is empty."""


class MFTNError(Exception):
    """Base class of every exception this package raises on purpose; the command line prints it in one line."""


class ImageError(MFTNError):
    """An image that cannot be read: missing, empty, truncated, not an image, or too large."""


class UnknownFormatError(ImageError):
    """A file that is not an image in a supported format."""


class MissingReaderError(ImageError):
    """An image in a format whose optional package is not installed."""


class TooManyPixelsError(ImageError):
    """An image that is too large to be decoded."""


class ConfigError(MFTNError):
    """A configuration with an unknown key or a value out of range."""


class ModelError(MFTNError):
    """A model that is unknown, unreadable, or incompatible with what it is loaded into."""


class UnknownModelError(ModelError, ConfigError):
    """A model that is neither a file nor the name of an installed model."""


class DataError(MFTNError):
    """A data set that is missing, incomplete or inconsistent with its own description."""


class OutputError(MFTNError, OSError):
    """A file that cannot be written: the disk is full, the folder is read-only, or a file would be overwritten."""


class MissingExtraError(MFTNError):
    """A feature whose optional dependencies are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed: pip install 'mftn[{extra}]' (in a clone, '.[{extra}]')"
        )


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of an error message about an unknown name: the closest known name, or all of them if none is close."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    *others, last = known
    return f"there are {', '.join(others)} and {last}"
