"""Images in: files, Pillow images and arrays become RGB arrays."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mftn.errors import ImageError
from mftn.types import Image

if TYPE_CHECKING:
    from PIL import Image as PillowImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Formats that are opened; Pillow's many others are rarely photographs and widen what a hostile file can reach."""

MAX_MEGAPIXELS = 178
"""Larger pictures are refused (Pillow's own limit); one of this size takes 537 MB as an array."""


def read_image(source: str | Path | PillowImage.Image | NDArray[Any]) -> Image:
    """One picture as an upright RGB array.

    EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits, and of an
    animation the first frame is taken.

    Args:
        source: A file, a Pillow image, or a uint8 array of shape H×W (grey) or H×W×3 (RGB).

    Raises:
        ImageError: The picture cannot be read; the message names the file, the reason and what to do.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if not isinstance(source, str | os.PathLike):
        return _to_rgb(source, "the picture")
    path = Path(source)
    if path.is_dir():
        raise ImageError(f"{source}: is a folder; give a picture in it, or use `mftn predict` or Recognizer.stream")
    if not path.exists():
        raise ImageError(f"{source}: no such file; check the path")
    return _read_file(path, str(source))


def _read_file(path: Path, name: str) -> Image:
    from PIL import Image as PillowImage
    from PIL import UnidentifiedImageError

    try:
        if path.is_file() and path.stat().st_size == 0:
            raise ImageError(f"{name}: the file is empty; copy or download it again")
        with warnings.catch_warnings():  # Pillow warns of what we accept or turn into an error
            warnings.simplefilter("ignore")
            PillowImage.init()
            known = [name for name in FORMATS if name in PillowImage.OPEN]  # AVIF depends on how Pillow was built
            with PillowImage.open(path, formats=known) as file:
                return _to_rgb(file, name)
    except ImageError:
        raise
    except PermissionError as error:
        raise ImageError(f"{name}: may not be read; check its permissions") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in a known format ({', '.join(FORMATS)})") from error
    except PillowImage.DecompressionBombError as error:
        raise ImageError(f"{name}: has more than {MAX_MEGAPIXELS} megapixels; scale it down first") from error
    except Exception as error:  # damaged files make Pillow's decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name}: damaged or incomplete ({reason}); copy or download it again") from error


def _to_rgb(picture: PillowImage.Image, name: str) -> Image:
    from PIL import Image as PillowImage
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16"):
        return _from_array((np.asarray(upright).astype(np.uint16) / 257).round().astype(np.uint8))
    if upright.mode in ("I", "F"):
        raise ImageError(f"{name}: has 32 bits a channel; save it with 8 or 16")
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = PillowImage.alpha_composite(PillowImage.new("RGBA", upright.size, "white"), upright)
    return np.array(upright.convert("RGB"))


def _from_array(array: NDArray[Any]) -> Image:
    if array.dtype != np.uint8:
        raise ImageError(f"an array of {array.dtype} is no picture: give uint8 values from 0 to 255")
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ImageError(f"an array of shape {array.shape} is no picture: give H×W grey or H×W×3 RGB")
    return np.ascontiguousarray(array)
