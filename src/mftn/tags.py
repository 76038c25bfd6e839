"""Metadata of image files that copies keep, and the tag that distinguishes copies from sources."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mftn.version import __version__

if TYPE_CHECKING:
    from PIL import Image as PillowImage

PROGRAM = f"mftn {__version__}"
SOFTWARE = 0x0131
KEPT = (0x010F, 0x0110, 0x0132, 0x013B, 0x8298)
"""Make, model, date, artist and copyright. Location and maker notes are omitted, as copies may be shared."""

EXIF = 0x8769
KEPT_DATES = (0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292)
"""When the image was taken and digitized, with offsets from UTC and fractions of seconds."""

MAX_TEXT_LENGTH = 1_000
"""Maximum characters of a tag that is kept."""

_OWN_NAME = re.compile(r"_(faces|face\d+)\.jpg$", re.IGNORECASE)
_OWN_VIDEO_NAME = re.compile(r"_faces\.(mp4|mov|mkv)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tags:
    """The metadata of a source that its copy keeps.

    Attributes:
        exif: EXIF tags, without an orientation: the copy's pixels are upright.
        profile: The ICC profile of RGB images.
        modified_ns: The file's modification time in nanoseconds; None if the source is not a file.
    """

    exif: PillowImage.Exif
    profile: bytes | None
    modified_ns: int | None


def read_tags(source: str, open_image: Callable[[Path], AbstractContextManager[PillowImage.Image]]) -> Tags:
    """Read the metadata for a copy, with the tag that `is_own_copy` looks for; damaged tags are omitted.

    Args:
        source: The file's path.
        open_image: Opens the file.
    """
    from PIL import Image as PillowImage

    exif, profile, modified_ns = PillowImage.Exif(), None, None
    with suppress(Exception), open_image(Path(source)) as image:  # Pillow's readers raise almost any error
        if (image.info.get("icc_profile") or b"")[16:20] == b"RGB ":
            profile = image.info["icc_profile"]
        theirs = image.getexif()
        exif.update(_texts(theirs, KEPT))
        exif.get_ifd(EXIF).update(_texts(theirs.get_ifd(EXIF), KEPT_DATES))
    with suppress(OSError, ValueError):
        modified_ns = os.stat(source).st_mtime_ns  # noqa: PTH116 (a path may be longer or odder than pathlib likes)
    exif[SOFTWARE] = PROGRAM
    return Tags(exif, profile, modified_ns)


def _texts(tags: Mapping[int, Any], kept: Collection[int]) -> dict[int, str | bytes]:
    """The tags that are strings, as all of them should be, and short enough for a JPEG's header.

    Pillow decodes them as Latin-1, whatever their encoding, and would write them in ASCII, with ? for © and é.
    """
    found = {tag: tags[tag] for tag in kept if tag in tags}
    texts = {tag: value for tag, value in found.items() if isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH}
    return {tag: value if value.isascii() else value.encode("latin-1", "replace") for tag, value in texts.items()}


def is_own_copy(path: str | os.PathLike[str]) -> bool:
    """Whether a file was saved by this package: an annotated copy of an image or a video, or a face crop.

    Only files that are named like copies are opened, to read the tag that names the program: EXIF's Software, or a
    video's comment.
    """
    with suppress(Exception):  # Pillow's and FFmpeg's readers raise almost any error
        if not os.path.isfile(path):  # noqa: PTH113 (as above); opening a pipe would wait for its writer
            return False
        if _OWN_NAME.search(os.fspath(path)):
            from PIL import Image as PillowImage

            with PillowImage.open(path) as image:
                return str(image.getexif().get(SOFTWARE)).startswith("mftn ")
        if _OWN_VIDEO_NAME.search(os.fspath(path)):
            import av

            with av.open(os.path.abspath(path)) as video:  # noqa: PTH100 (FFmpeg takes 12:30.mp4 for a protocol)
                return any(
                    name.lower() == "comment" and text.startswith("mftn ") for name, text in video.metadata.items()
                )
    return False
