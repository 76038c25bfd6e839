"""Image reading: files, bytes, Pillow images and arrays become RGB arrays."""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from mftn.download import download, is_address
from mftn.errors import EMPTY_NAME, ImageError, MissingReaderError, TooManyPixelsError, UnknownFormatError
from mftn.files import without_secrets
from mftn.runtime import PerProcess
from mftn.types import Image

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PillowImage.Image | NDArray[Any]

PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "BMP": "BmpImagePlugin",
    "GIF": "GifImagePlugin",
    "TIFF": "TiffImagePlugin",
    "PPM": "PpmImagePlugin",
    "AVIF": "AvifImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
}
"""Supported formats and Pillow's modules for them, each imported only when it may be needed: importing all of them
takes as long as reading ten photographs. Pillow's other formats are rarely photographs and increase the attack
surface."""

HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
"""Brands of ISO media files whose images are compressed with HEVC."""

RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
"""First bytes of RAW files that are neither TIFF nor ISO media: Fujifilm, Olympus, Panasonic."""

CR3_BRANDS = frozenset((b"crx ",))

NEW_SUBFILE_TYPE, PHOTOMETRIC, REDUCED, SENSOR = 254, 262, 1, 32803
"""Two TIFF tags, and the values by which RAW files are recognised: the first image is a preview, or sensor data."""

BAND_PIXELS = 1_000_000
"""Pixels converted to RGB at a time: converting a whole 100-megapixel image takes up to a gigabyte per mode."""

DEEP_GREY = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's grey modes of more than 8 bits."""

AS_STORED: dict[int, Callable[[Image], Image]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""For each EXIF orientation, a view of the upright image whose pixels are in the file's order."""


def read_image(source: ImageSource, reserve: Callable[[int], object] | None = None, name: str | None = None) -> Image:
    """Read one image as an upright RGB array.

    EXIF orientation is applied (damaged EXIF is ignored), transparent images are composited on white, grey of more
    than 8 bits is scaled to 8, and the first image of an animation or a file of several pages is used. Colour profiles
    are not applied: reading Display P3 or Adobe RGB as sRGB changed no expression in 41 portraits.

    Args:
        source: A file's path, its http(s) address, its content as bytes or a binary file object (read from its start),
            a Pillow image, or an array of shape H×W (grey) or H×W×3 (RGB): uint8, uint16 (0 to 65535) or floating point
            (0 to 1).
        reserve: Called with the number of pixels before they are decoded; it may block until there is memory for them.
        name: The name in messages; if None, its path or address, or "the image".

    Raises:
        ImageError: The image cannot be read; the message names the file, the reason and what to do.
    """
    with _only_image_errors(name or name_in_messages(source)):
        if isinstance(source, np.ndarray):
            if reserve:
                reserve(source.size // (3 if source.ndim == 3 else 1))
            return _from_array(source)
        with open_image(source) as image:
            if reserve:
                reserve(image.width * image.height)
            return _to_rgb(image)


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height of an image's stored pixels, from its header alone.

    Args:
        source: As in `read_image`, except arrays.

    Raises:
        ImageError: The header cannot be read.
    """
    with _only_image_errors(name_in_messages(source)), open_image(source) as image:
        return image.width, image.height


def name_of(source: ImageSource) -> str:
    """The source's name in a prediction: the path or address, or the type of an image given as a value."""
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)  # the str of an os.DirEntry is not its path
        return without_secrets(path) if is_address(source) else path
    return type(source).__name__


def as_value(source: ImageSource, bgr: bool = False) -> ImageSource:
    """A source that can be read twice: the content of an address or a file object; others are returned unchanged.

    Args:
        source: As in `read_image`.
        bgr: The channels of arrays are blue, green, red, as OpenCV reads them.

    Raises:
        ImageError: It cannot be downloaded or read.
    """
    with _only_image_errors(name_in_messages(source)):
        if isinstance(source, str) and is_address(source):
            return download(source)
        if hasattr(source, "read"):
            return _content(source)
        if bgr and isinstance(source, np.ndarray) and source.ndim == 3:
            return source[:, :, ::-1]
        return source


def name_in_messages(source: ImageSource) -> str:
    """The name of a source in messages."""
    return name_of(source) or EMPTY_NAME if isinstance(source, str | os.PathLike) else "the image"


@contextmanager
def _only_image_errors(name: str) -> Iterator[None]:
    """Turn all exceptions into ImageErrors whose messages name the image."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error.__cause__
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file; check the path") from error
    except PermissionError as error:
        raise ImageError(f"{name}: cannot be read; check its permissions") from error
    except MemoryError as error:
        raise ImageError(f"{name}: too large for this machine's memory; scale it down first") from error
    except Exception as error:  # Pillow's decoders raise almost any error for damaged files
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name}: damaged or incomplete ({reason}); copy or download it again") from error


@contextmanager
def open_image(source: Any) -> Iterator[PillowImage.Image]:
    """Open an image from any source of `read_image` but arrays with Pillow, without decoding it.

    Raises:
        ImageError: The source is not an image; damaged files may also raise nearly any other exception.
    """
    from PIL import Image as PillowImage

    if isinstance(source, PillowImage.Image):
        if not source.width or not source.height:
            raise ImageError(f"has {source.width}×{source.height} pixels; give an image that is not empty")
        yield source
    elif isinstance(source, bytes | bytearray | memoryview):
        yield _identify(io.BytesIO(source))
    elif hasattr(source, "read"):
        yield _identify(io.BytesIO(_content(source)))
    elif isinstance(source, str) and is_address(source):
        yield _identify(io.BytesIO(download(source)))
    elif isinstance(source, str | os.PathLike):
        if os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises for names that no file can have
            raise ImageError("is a folder; give an image in it, or use `mftn predict` or Recognizer.stream")
        with _open_file(source) as file:
            yield _identify(file if file.seekable() else io.BytesIO(_content(file)))
    else:
        raise ImageError(
            f"a value of type {type(source).__name__} is not an image; give a path, an address, bytes, a binary file "
            "object, a Pillow image or an array"
        )


def _open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    try:
        return open(path, "rb")  # noqa: PTH123 - Path("") is the current folder
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, ValueError) as error:  # a name that is too long or has a null byte, a broken drive
        raise ImageError(f"cannot be opened ({getattr(error, 'strerror', None) or error}); check the path") from error


def _lock_of(source: object) -> Lock:
    """The lock of a file object or a Pillow image, which several threads of a stream may be given at once.

    A file has one position, and Pillow reads pixels and EXIF on first use, without locks of its own.
    """
    locks = _locks()
    return locks[id(source) // 16 % len(locks)]


def _make_locks() -> tuple[Lock, ...]:
    return tuple(Lock() for _ in range(1021))  # so many that different images hardly ever share one


_locks = PerProcess(_make_locks)


def _content(file: Any) -> bytes:
    """Read the whole content of a file object, from its start if it is seekable."""
    with _lock_of(file):
        with suppress(AttributeError, OSError):  # a pipe or a socket
            file.seek(0)
        content = file.read()
    if not isinstance(content, bytes):
        raise ImageError(f"its `read` returns {type(content).__name__}, not bytes; open it in binary mode")
    return content


def _identify(file: IO[bytes]) -> PillowImage.Image:
    """Open an image in one of the formats in PLUGINS.

    `PIL.Image.open` would warn about images above 89 megapixels, and a warning cannot be silenced in a single thread.
    """
    from PIL import Image as PillowImage

    start = file.read(64)
    if not start:
        raise ImageError("the file is empty; copy or download it again")
    if _has_brand(start, HEIC_BRANDS):
        return _open_heic(file)
    if _is_raw(file, start):
        return _open_raw(file)
    for format_name, plugin in PLUGINS.items():
        with suppress(ImportError):  # Pillow before 11.3 has no AVIF
            import_module(f"PIL.{plugin}")
        factory, accept = PillowImage.OPEN.get(format_name, (None, None))  # AVIF depends on how Pillow was built
        if factory is None or accept is None or accept(start[:16]) is not True:
            continue
        file.seek(0)
        try:
            image = factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            raise ImageError(f"a damaged {format_name}, or one of a rare kind ({error}); save it again") from error
        return _within_limit(image)
    raise UnknownFormatError(f"not an image in a known format ({', '.join(PLUGINS)})")


def _within_limit(image: PillowImage.Image) -> PillowImage.Image:
    from PIL import Image as PillowImage

    limit = 2 * (PillowImage.MAX_IMAGE_PIXELS or sys.maxsize)
    if image.width * image.height > limit:
        raise TooManyPixelsError(f"has more than {limit // 10**6} megapixels; scale it down first")
    return image


def _has_brand(start: bytes, brands: frozenset[bytes]) -> bool:
    """Whether the first bytes are those of an ISO media file that lists one of these brands."""
    if start[4:8] != b"ftyp":
        return False
    listed = start[8 : int.from_bytes(start[:4], "big")]
    return any(listed[k : k + 4] in brands for k in range(0, len(listed) - 3, 4))


def _is_raw(file: IO[bytes], start: bytes) -> bool:
    """Whether a file is a camera's RAW file: Pillow would read the thumbnail of one based on TIFF."""
    if start.startswith(RAW_STARTS) or _has_brand(start, CR3_BRANDS):
        return True
    if not start.startswith((b"II*\0", b"MM\0*")):
        return False
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with suppress(Exception):  # Pillow's readers raise almost any error; damaged files are reported when opened
        directory = ImageFileDirectory_v2(start[:8])
        file.seek(directory.next)
        directory.load(file)
        is_preview = directory.get(NEW_SUBFILE_TYPE) == REDUCED
        return start[8:10] == b"CR" or is_preview or directory.get(PHOTOMETRIC) == SENSOR
    return False


def _open_heic(file: IO[bytes]) -> PillowImage.Image:
    try:
        from pillow_heif import HeifImageFile
    except ModuleNotFoundError as error:
        raise MissingReaderError("a HEIC image: pip install 'mftn[heif]' to read it, or convert it to JPEG") from error
    file.seek(0)
    image: PillowImage.Image = HeifImageFile(file, "")  # type: ignore[no-untyped-call]
    return _within_limit(image)


def _open_raw(file: IO[bytes]) -> PillowImage.Image:
    """Open the preview that the camera stored; without one, develop the sensor data at half resolution."""
    try:
        import rawpy
    except ModuleNotFoundError as error:
        raise MissingReaderError("a RAW image: pip install 'mftn[raw]' to read it, or convert it to JPEG") from error
    from PIL import Image as PillowImage

    file.seek(0)
    with rawpy.imread(cast(BinaryIO, file)) as raw:
        with suppress(rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            preview = raw.extract_thumb()
            if isinstance(preview.data, bytes):  # a JPEG; LibRaw adds the orientation where it is missing
                return _identify(io.BytesIO(preview.data))
        return PillowImage.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))


def _to_rgb(image: PillowImage.Image) -> Image:
    with _lock_of(image):
        colour = _transparent_colour(image)
        _load(image)
        orientation = _orientation(image)
    sides = (image.width, image.height) if orientation >= 5 else (image.height, image.width)
    upright = np.empty((*sides, 3), np.uint8)
    stored = AS_STORED[orientation](upright)
    convert = _from_deep_grey(image) or _band_to_rgb
    height = max(1, BAND_PIXELS // image.width)
    as_it_is = image.mode == "RGB" and image.height <= height  # avoids a copy
    for top in range(0, image.height, height):
        band = image if as_it_is else image.crop((0, top, image.width, min(top + height, image.height)))
        rows = stored[top : top + height]
        rows[:] = convert(band)
        if colour is not None:
            rows[_matches(band, colour)] = 255
    return upright


def _transparent_colour(image: PillowImage.Image) -> int | tuple[int, ...] | None:
    """The colour that a grey or RGB image declares transparent, as its pixels will show it; call before loading them.

    Pillow scales 2-bit and 4-bit pixels up and 16-bit RGB pixels down, but not this colour.
    """
    colour = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    raw_mode = tiles[0][3] if tiles else None
    if image.mode == "RGB" and isinstance(colour, tuple):
        return tuple(value >> 8 for value in colour) if raw_mode == "RGB;16B" else colour
    if image.mode in ("1", "L", *DEEP_GREY) and isinstance(colour, int):
        return colour * {"L;2": 85, "L;4": 17}.get(str(raw_mode), 1)
    return None


def _matches(band: PillowImage.Image, colour: int | tuple[int, ...]) -> NDArray[np.bool_]:
    values = np.asarray(band)
    return values == colour if values.ndim == 2 else (values == colour).all(axis=2)


def _load(image: PillowImage.Image) -> None:
    """Decode without Pillow's memory mapping, which scrambles TIFFs that are stored rotated by 90°."""
    if not hasattr(image, "filename"):
        image.load()
        return
    name, image.filename = image.filename, ""
    try:
        image.load()
    finally:
        image.filename = name


def _orientation(image: PillowImage.Image) -> int:
    """EXIF orientation, 1 to 8; unreadable EXIF does not make the pixels unreadable."""
    try:
        orientation = image.getexif().get(0x0112)
        return orientation if orientation in AS_STORED else 1
    except Exception:  # Pillow's EXIF reader raises almost any error
        return 1


def _from_deep_grey(image: PillowImage.Image) -> Callable[[PillowImage.Image], NDArray[np.uint8]] | None:
    """A function that converts bands of a grey image of more than 8 bits to 8 bits; None for other images."""
    if image.mode not in DEEP_GREY:
        return None
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # these formats give values from 0 to 65535
        raise ImageError("has 32-bit integers of unknown range; save it with 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    white = 4095 if 12 in np.ravel(tags.get(258, 16)) else 65535
    inverted = tags.get(262) == 0  # white is zero

    def convert(band: PillowImage.Image) -> NDArray[np.uint8]:
        grey = _to_8_bits(np.asarray(band), white)[:, :, None]
        return 255 - grey if inverted else grey

    return convert


def _to_8_bits(values: NDArray[Any], white: int = 65535) -> NDArray[np.uint8]:
    """Scale integers from 0 to `white`, or floating-point numbers from 0 to 1, to 0 to 255."""
    if values.dtype.kind != "f":
        return np.linspace(0, 255, white + 1).round().astype(np.uint8)[values]
    if not (values.min() >= 0 and values.max() <= 1):  # or not a number
        raise ImageError("has floating-point values outside 0 to 1; scale them, or save it with 8 or 16 bits")
    return (values * 255).round().astype(np.uint8)


def _band_to_rgb(band: PillowImage.Image) -> NDArray[np.uint8]:
    from PIL import Image as PillowImage

    if band.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (band.mode == "P" and band.has_transparency_data):
        band = band.convert("LA") if band.mode == "La" else band
        band = band.convert("RGBA")
        page = PillowImage.new("RGB", band.size, "white")
        page.paste(band, mask=band)
        return np.asarray(page)
    if band.mode == "RGB":
        return np.asarray(band)
    return np.asarray(band.convert("RGB"))


def _from_array(array: NDArray[Any]) -> Image:
    if array.dtype.kind == "f" or (array.dtype.kind, array.dtype.itemsize) == ("u", 2):
        array = _to_8_bits(array) if array.size else array.astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(
            f"an array of {array.dtype} is not an image: give uint8, uint16, or floating point from 0 to 1"
        )
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ImageError(f"an array of shape {array.shape} is not an image: give H×W grey or H×W×3 RGB")
    return np.ascontiguousarray(array)
