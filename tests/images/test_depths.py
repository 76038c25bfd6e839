"""Every depth and mode of pixels becomes 8-bit RGB of the same brightness."""

import io
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.util
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.errors import ImageError
from mftn.images import read_image

sys.path.insert(0, str(Path(__file__).parent))
import made_files

RAMP = np.tile(np.linspace(0, 255, 90).round().astype(np.uint8), (60, 1))
"""Grey from black to white, from left to right."""
RAMP16 = RAMP.astype(np.uint16) * 257
GREY = np.repeat(RAMP[..., None], 3, axis=2)
NOISE16 = np.random.default_rng(0).integers(0, 65536, (14, 10), dtype=np.uint16)
NOISE = np.repeat(skimage.util.img_as_ubyte(NOISE16)[..., None], 3, axis=2)
COLOURS = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def pillow_file(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tifffile_file(pixels: NDArray[np.generic], **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def pnm(kind: str, maximum: int, pixels: NDArray[np.integer]) -> bytes:
    height, width = pixels.shape[:2]
    header = f"{kind}\n{width} {height}\n{maximum}\n".encode()
    if kind in ("P2", "P3"):
        return header + " ".join(map(str, pixels.ravel().tolist())).encode()
    return header + pixels.astype(">u2" if maximum > 255 else "u1").tobytes()


TWELVE = RAMP.astype(int) * 4095 // 255

GREYS = {
    "16-bit PNG": made_files.png(RAMP16, 16, 0),
    "16-bit PNG with alpha": made_files.png(np.stack([RAMP16, np.full_like(RAMP16, 65535)], axis=2), 16, 4),
    "16-bit RGB PNG": made_files.png(np.repeat(RAMP16[..., None], 3, axis=2), 16, 2),
    "16-bit JPEG 2000": pillow_file(PillowImage.fromarray(RAMP16), "JPEG2000"),
    "16-bit PGM": pnm("P5", 65535, RAMP16),
    "10-bit PGM": pnm("P5", 1023, RAMP.astype(int) * 1023 // 255),
    "10-bit plain PGM": pnm("P2", 1023, RAMP.astype(int) * 1023 // 255),
    "16-bit plain PGM": pnm("P2", 65535, RAMP16),
    "5-bit PGM": pnm("P5", 31, (RAMP / 255 * 31).round().astype(int)),
    "16-bit PPM": pnm("P6", 65535, np.repeat(RAMP16[..., None], 3, axis=2)),
    "12-bit TIFF": made_files.tiff(made_files.twelve_bits(TWELVE), (90, 60), 12, 1),
    "8-bit TIFF, white is zero": made_files.tiff((255 - RAMP).tobytes(), (90, 60), 8, 0),
    "16-bit TIFF, white is zero": made_files.tiff((65535 - RAMP16).astype("<u2").tobytes(), (90, 60), 16, 0),
    "16-bit TIFF": made_files.tiff(RAMP16.astype("<u2").tobytes(), (90, 60), 16, 1),
    "16-bit TIFF, big-endian": tifffile_file(RAMP16, byteorder=">"),
    "16-bit TIFF, deflated with a predictor": tifffile_file(RAMP16, compression="zlib", predictor=True),
    "16-bit TIFF, white is zero, deflated": tifffile_file(65535 - RAMP16, photometric="miniswhite", compression="zlib"),
    "16-bit BigTIFF in tiles": tifffile_file(RAMP16, bigtiff=True, tile=(16, 32)),
    "16-bit RGB TIFF": tifffile_file(np.repeat(RAMP16[..., None], 3, axis=2), photometric="rgb"),
    "8-bit RGB TIFF in planes": tifffile_file(
        np.ascontiguousarray(GREY.transpose(2, 0, 1)), photometric="rgb", planarconfig="separate"
    ),
    "float TIFF": tifffile_file((RAMP / 255).astype(np.float32)),
    "float TIFF, white is zero": tifffile_file((1 - RAMP / 255).astype(np.float32), photometric="miniswhite"),
    "PFM": b"Pf\n90 60\n-1.0\n" + (RAMP / 255).astype("<f4")[::-1].tobytes(),
    "OpenCV's 16-bit PNG": cv2.imencode(".png", RAMP16)[1].tobytes(),
    "OpenCV's 16-bit TIFF": cv2.imencode(".tif", RAMP16)[1].tobytes(),
}


@pytest.mark.parametrize("name", GREYS)
def test_depths_keep_brightness(name: str) -> None:
    image = read_image(GREYS[name])
    assert image.shape == GREY.shape and image.dtype == np.uint8
    assert np.abs(image.astype(int) - GREY).max() <= (4 if "5-bit" in name else 1)


@pytest.mark.parametrize(("bits", "scale"), [(1, 255), (2, 85), (4, 17), (8, 1)])
def test_few_bits_fill_the_range(bits: int, scale: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (5, 11))
    expected = np.repeat((values * scale)[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(made_files.png(values, bits, 0)), expected)
    palette = np.random.default_rng(1).integers(0, 256, (2**bits, 3), dtype=np.uint8)
    indexed = read_image(made_files.png(values, bits, 3, PLTE=palette.tobytes()))
    np.testing.assert_array_equal(indexed, palette[values])


@pytest.mark.parametrize(("bits", "scale"), [(1, 255), (2, 85), (4, 17), (8, 1), (16, 1 / 257)])
@pytest.mark.parametrize("opened", [False, True])
def test_a_grey_key_colour_is_transparent(bits: int, scale: float, opened: bool) -> None:
    values = np.random.default_rng(0).integers(0, min(2**bits, 4), (9, 11)) * 2 ** max(bits - 2, 0)
    for key in np.unique(values).tolist():
        content = made_files.png(values, bits, 0, tRNS=struct.pack(">H", key))
        expected = np.where(values == key, 255, (values * scale).round())
        image = read_image(PillowImage.open(io.BytesIO(content)) if opened else content)
        np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("bits", [8, 16])
def test_an_rgb_key_colour_is_transparent(bits: int) -> None:
    step = 257 if bits == 16 else 1
    values = COLOURS.astype(np.uint16) * step
    values[2:5, 3:7] = values[0, 0]
    values[6, 6, :2] = values[0, 0, :2]  # as the key in two of three channels
    content = made_files.png(values, bits, 2, tRNS=struct.pack(">HHH", *values[0, 0].tolist()))
    expected = (values // step).copy()
    expected[0, 0] = expected[2:5, 3:7] = 255
    np.testing.assert_array_equal(read_image(content), expected)


def test_transparency_is_laid_over_white() -> None:
    alpha = np.random.default_rng(1).integers(0, 256, COLOURS.shape[:2], dtype=np.uint8)
    rgba = np.dstack([COLOURS, alpha])
    opacity = alpha[..., None] / 255
    expected = COLOURS * opacity + 255 * (1 - opacity)
    grey = rgba[..., 1:2] * opacity + 255 * (1 - opacity)
    premultiplied = np.dstack([(COLOURS * opacity).round().astype(np.uint8), alpha])
    la = PillowImage.fromarray(np.ascontiguousarray(rgba[..., 1::2]))
    pa = PillowImage.new("RGBA", rgba.shape[1::-1], (*COLOURS[0, 0].tolist(), 255)).convert("PA")
    pa.putalpha(PillowImage.fromarray(np.where(alpha > 99, 255, 0).astype(np.uint8)))
    for source, want, tolerance in (
        (pillow_file(PillowImage.fromarray(rgba), "PNG"), expected, 1),
        (pillow_file(PillowImage.fromarray(rgba), "WEBP", lossless=True, exact=True), expected, 1),
        (PillowImage.fromarray(rgba), expected, 1),
        (PillowImage.frombytes("RGBa", rgba.shape[1::-1], premultiplied.tobytes()), expected, 2),
        (tifffile_file(premultiplied, photometric="rgb", extrasamples=["assocalpha"]), expected, 2),
        (tifffile_file(rgba.astype(np.uint16) * 257, photometric="rgb", extrasamples=["unassalpha"]), expected, 1),
        (tifffile_file(rgba, photometric="rgb", extrasamples=["unspecified"]), COLOURS, 0),
        (pillow_file(la, "PNG"), grey, 1),
        (la, grey, 1),
        (pillow_file(pa, "TIFF"), np.where(alpha[..., None] > 99, COLOURS[0, 0], 255), 0),
        (la.convert("La"), grey, 2),
    ):
        difference = np.abs(read_image(source) - want)
        assert difference.max() <= tolerance


@pytest.mark.parametrize("transparency", [2, bytes([255, 128, 0, 255])])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_with_transparency(transparency: int | bytes, kind: str) -> None:
    if kind == "GIF" and isinstance(transparency, bytes):
        pytest.skip("GIF has one transparent colour")
    palette = np.array([(10, 20, 30), (100, 50, 200), (0, 0, 0), (255, 0, 128)], np.uint8)
    index = np.random.default_rng(0).integers(0, 4, (8, 9), dtype=np.uint8)
    image = PillowImage.fromarray(index)
    image.putpalette(palette.ravel().tolist())
    opacity = np.array([255, 255, 0, 255] if isinstance(transparency, int) else list(transparency))[:, None] / 255
    expected = palette * opacity + 255 * (1 - opacity)
    content = pillow_file(image, kind, transparency=transparency)
    np.testing.assert_allclose(read_image(content), expected[index], atol=1)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_colour_spaces(mode: str) -> None:
    smooth = PillowImage.fromarray(cv2.resize(COLOURS, (60, 60), interpolation=cv2.INTER_LINEAR))
    difference = np.abs(read_image(smooth.convert(mode)).astype(int) - np.asarray(smooth))
    assert difference.mean() < 2 and difference.max() < 30  # Lab in whole numbers is coarse


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("TIFF", {}), ("TIFF", {"compression": "jpeg"})]
)
def test_cmyk_files_are_no_negatives(kind: str, options: dict[str, object]) -> None:
    content = pillow_file(PillowImage.fromarray(GREY).convert("CMYK"), kind, **options)
    assert np.abs(read_image(content).astype(int) - GREY).mean() < 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_frame_counts(kind: str) -> None:
    first, *others = (PillowImage.new("RGB", (16, 16), (value, value, value)) for value in (200, 20, 90))
    options = {"lossless": True} if kind == "WEBP" else {}
    content = pillow_file(first, kind, save_all=True, append_images=others, **options)
    assert np.abs(read_image(content).astype(int) - 200).max() <= 2


def test_a_frame_that_was_chosen_counts() -> None:
    frames = [PillowImage.new("L", (6, 6), value) for value in (200, 20)]
    animation = PillowImage.open(io.BytesIO(pillow_file(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    animation.seek(1)
    assert (read_image(animation) == 20).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tifffile_file(RAMP16.astype(np.int32)), "unknown range"),
        (tifffile_file(RAMP16.astype(np.int16)), "unknown range"),
        (tifffile_file(RAMP.astype(np.float32)), "outside 0 to 1"),
        (tifffile_file(np.full((4, 4), np.nan, np.float32)), "outside 0 to 1"),
        (tifffile_file(RAMP.astype(np.float64)), "damaged TIFF, or one of a rare kind"),
    ],
)
def test_values_of_unknown_range_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_image(content)
    with pytest.raises(ImageError, match="unknown range"):
        read_image(PillowImage.new("I", (3, 3)))


@pytest.mark.parametrize("dtype", [np.uint16, np.dtype(">u2"), np.float32, np.float64])
def test_arrays_of_other_depths(dtype: np.dtype) -> None:
    values = NOISE16.astype(dtype) if np.dtype(dtype).kind == "u" else (NOISE16 / 65535).astype(dtype)
    np.testing.assert_allclose(read_image(values), NOISE, atol=1)
    np.testing.assert_allclose(read_image(np.dstack([values] * 3)), NOISE, atol=1)


def test_16_bits_are_rounded() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = (every / 257).round()
    for source in (every, PillowImage.fromarray(every), pillow_file(PillowImage.fromarray(every), "PNG")):
        np.testing.assert_array_equal(read_image(source)[..., 0], expected)
