"""EXIF orientation, for every mode of pixels in every format and compression that can carry it."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import features

from mftn.images import read_image

ORIENTATION = 0x0112
FIRST_ROW_AND_COLUMN = {  # of what is stored: which sides of the upright image they are (EXIF 2.32, 4.6.4)
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
LOSSLESS = [
    *((mode, "PNG", {}) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")),
    *((mode, "WEBP", {"lossless": True, "exact": True}) for mode in ("RGB", "RGBA")),
    *(
        (mode, "TIFF", {"compression": compression})
        for mode in ("1", "L", "P", "PA", "LA", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "F")
        for compression in (None, "tiff_lzw", "packbits")
    ),
    *(("L", "TIFF", {"compression": name}) for name in ("tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd")),
    *(("1", "TIFF", {"compression": name}) for name in ("group3", "group4", "tiff_ccitt")),
    ("RGB", "TIFF", {"big_tiff": True}),
    ("RGB", "TIFF", {"strip_size": 90}),
]
LOSSY = [
    ("L", "JPEG", {"quality": 95}),
    ("RGB", "JPEG", {"quality": 95, "subsampling": 0}),
    ("CMYK", "JPEG", {"quality": 95}),
    ("RGB", "MPO", {"quality": 95}),
    ("RGB", "WEBP", {"quality": 95}),
    ("RGB", "TIFF", {"compression": "jpeg", "quality": 95}),
    ("L", "TIFF", {"compression": "jpeg", "quality": 95}),
    pytest.param(
        "RGB", "AVIF", {"quality": 90}, marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF")
    ),
]


def as_stored(upright: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """The pixels as the file has them, straight from the standard's words."""
    first_row, first_column = FIRST_ROW_AND_COLUMN[orientation]
    if first_row in ("left", "right"):
        upright = np.swapaxes(upright, 0, 1)  # its first row is the left side now
    if first_row in ("bottom", "right"):
        upright = np.flip(upright, 0)
    if first_column in ("bottom", "right"):
        upright = np.flip(upright, 1)
    return upright


def scene(mode: str) -> PillowImage.Image:
    """30×21, with four different corners, in a mode."""
    y, x = np.mgrid[0:21, 0:30]
    rgb = PillowImage.fromarray(np.stack([x * 8, y * 12, np.where(x + y < 12, 250, 20)], axis=2).astype(np.uint8))
    match mode:
        case "I;16" | "I;16B":
            grey = PillowImage.fromarray((x * 2000 + y * 100).astype(np.uint16))
            return grey if mode == "I;16" else grey.convert("I").convert("I;16B")
        case "F":
            return PillowImage.fromarray((x / 60 + y / 60).astype(np.float32))
        case "La":
            return rgb.convert("LA").convert("La")
        case "PA":
            return rgb.convert("RGBA").convert("PA")
    return rgb.convert(mode)


def turned(image: PillowImage.Image, orientation: int) -> PillowImage.Image:
    """The image with its pixels as a camera stores them."""
    if image.mode in ("1", "P", "PA", "La", "LAB", "I;16B"):  # numpy knows no such pixels
        index = as_stored(np.arange(image.width * image.height).reshape(image.height, image.width), orientation)
        stored = PillowImage.new(image.mode, index.shape[::-1])
        if image.palette:
            stored.putpalette(image.getpalette(image.palette.mode), image.palette.mode)
        for (row, column), at in np.ndenumerate(index):
            stored.putpixel((column, row), image.getpixel((int(at) % image.width, int(at) // image.width)))
        return stored
    pixels = np.ascontiguousarray(as_stored(np.asarray(image), orientation))
    return PillowImage.frombytes(image.mode, pixels.shape[1::-1], pixels.tobytes())


def save(image: PillowImage.Image, path: Path, kind: str, orientation: int, options: dict[str, object]) -> None:
    exif = PillowImage.Exif()
    exif[ORIENTATION] = orientation
    if kind == "MPO":
        options = {**options, "save_all": True, "append_images": [image]}
    try:
        image.save(path, kind, exif=exif, **options)
    except (OSError, ValueError) as error:
        pytest.skip(f"Pillow writes no such file: {error}")


@pytest.mark.parametrize(("mode", "kind", "options"), LOSSLESS)
@pytest.mark.parametrize("opened", [False, True], ids=["path", "Pillow"])
def test_turned_images_are_upright(tmp_path: Path, mode: str, kind: str, options: dict, opened: bool) -> None:
    upright = scene(mode)
    save(upright, tmp_path / "upright", kind, 1, options)
    expected = read_image(tmp_path / "upright")
    assert expected.shape == (21, 30, 3) and len(np.unique(expected)) > 1
    for orientation in FIRST_ROW_AND_COLUMN:
        path = tmp_path / f"{orientation}"
        save(turned(upright, orientation), path, kind, orientation, options)
        image = read_image(PillowImage.open(path) if opened else path)
        np.testing.assert_array_equal(image, expected, err_msg=f"orientation {orientation}")
        assert image.flags.c_contiguous


@pytest.mark.parametrize(("mode", "kind", "options"), LOSSY)
def test_turned_lossy_images_are_upright(tmp_path: Path, mode: str, kind: str, options: dict) -> None:
    upright = scene(mode)
    expected = np.asarray(upright.convert("RGB")).astype(int)
    for orientation in FIRST_ROW_AND_COLUMN:
        save(turned(upright, orientation), tmp_path / "a", kind, orientation, options)
        image = read_image(tmp_path / "a")
        assert image.shape == (21, 30, 3)
        assert np.abs(image - expected).mean() < 12, orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_in_xmp(tmp_path: Path, kind: str) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    buffer = io.BytesIO()
    options: dict[str, object] = {"xmp": xmp}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        information = PngInfo()
        information.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options = {"pnginfo": information}
    if kind == "TIFF":
        options = {"tiffinfo": {700: xmp}}
    scene("RGB").save(buffer, kind, **options)
    assert read_image(buffer.getvalue()).shape == (30, 21, 3)


def test_large_images_are_turned_whole(tmp_path: Path) -> None:
    """Higher than the rows that are converted at a time."""
    upright = np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    for orientation in FIRST_ROW_AND_COLUMN:
        exif = PillowImage.Exif()
        exif[ORIENTATION] = orientation
        stored = PillowImage.fromarray(np.ascontiguousarray(as_stored(upright, orientation)))
        stored.save(tmp_path / "a.bmp.png", exif=exif, compress_level=1)
        np.testing.assert_array_equal(read_image(tmp_path / "a.bmp.png"), upright)
