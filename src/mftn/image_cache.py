"""Images that results keep so that they can be shown: the latest ones, at most 256 MB per process."""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import suppress
from threading import Lock
from typing import Any

from mftn.runtime import PerProcess

MAX_BYTES = 256_000_000
"""Maximum bytes of images given as values that all results of a process keep."""

MAX_IMAGES = 100
"""Maximum number of images that all results of a process keep."""


class CachedImage:
    """An image given as a value, kept for as long as its result lives; released earlier if there are many results.

    A released image remains reachable from its result while other references to it exist.

    Args:
        image: An array, a Pillow image, or a file's content.
    """

    __slots__ = ("__weakref__", "_image", "_weak", "nbytes")

    def __init__(self, image: Any) -> None:
        self._image: Any = image
        self._weak: weakref.ref[Any] | None = None
        with suppress(TypeError):  # bytes
            self._weak = weakref.ref(image)
        self.nbytes = value_bytes(image)
        _limit(self)

    def image(self) -> Any:
        """The image; None if it was released."""
        return self._image if self._image is not None or self._weak is None else self._weak()

    def release(self) -> None:
        """Release the image."""
        self._image = None


def value_bytes(image: Any) -> int:
    """Memory in bytes of an array, a Pillow image, or a file's content; 0 for a path or a file object."""
    if hasattr(image, "nbytes"):
        return int(image.nbytes)
    if isinstance(image, bytes | bytearray):
        return len(image)
    if hasattr(image, "getbands"):
        return int(image.width * image.height * (4 if len(image.getbands()) > 1 else 1))
    return 0


_latest: deque[weakref.ref[CachedImage]] = deque()
_lock = PerProcess(Lock)  # in a fork, the parent's may be held by a thread that does not exist there


def _limit(new: CachedImage) -> None:
    """Release the oldest images, but never the new one, if there are too many or their total size is too large."""
    with _lock():
        living = [kept for each in _latest if (kept := each()) is not None]
        total = new.nbytes + sum(kept.nbytes for kept in living)
        while living and (total > MAX_BYTES or len(living) >= MAX_IMAGES):
            oldest = living.pop(0)
            oldest.release()
            total -= oldest.nbytes
        _latest.clear()
        _latest.extend(weakref.ref(kept) for kept in [*living, new])
