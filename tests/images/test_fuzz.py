"""Damaged files of every format are read or refused with an ImageError; nothing else happens."""

import io
import random

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL import features

from mftn.errors import ImageError
from mftn.images import read_image

MUTATIONS = 60


def valid_files() -> dict[str, bytes]:
    """A small image in every format, and in the kinds of a format that are decoded differently."""
    ramp = np.arange(24 * 20, dtype=np.uint16).reshape(20, 24)
    colour = PillowImage.fromarray(np.stack([ramp % 256, ramp // 2, 255 - ramp % 256], axis=2).astype(np.uint8))
    deep = PillowImage.fromarray(ramp * 130)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    made = {
        "JPEG": (colour, {"exif": exif}),
        "JPEG, progressive CMYK": (colour.convert("CMYK"), {"progressive": True}),
        "MPO": (colour, {"save_all": True, "append_images": [colour]}),
        "PNG": (colour, {"exif": exif}),
        "PNG, deep grey": (deep, {"transparency": 1300}),
        "PNG, palette": (colour.convert("P"), {"transparency": bytes(range(99))}),
        "PNG, animated": (colour, {"save_all": True, "append_images": [colour.rotate(90)]}),
        "WEBP": (colour, {"exif": exif}),
        "WEBP, animated": (colour, {"save_all": True, "append_images": [colour.rotate(90)]}),
        "GIF": (colour.convert("P"), {"transparency": 2}),
        "GIF, animated": (colour, {"save_all": True, "append_images": [colour.rotate(90)]}),
        "BMP": (colour.convert("P"), {}),
        "TIFF": (colour, {"exif": exif}),
        "TIFF, deep grey": (deep, {"exif": exif}),
        "TIFF, LZW": (colour.convert("RGBA"), {"compression": "tiff_lzw"}),
        "TIFF, JPEG": (colour, {"compression": "jpeg"}),
        "PPM": (colour, {}),
        "PPM, deep grey": (deep, {}),
        "JPEG2000": (colour, {}),
    }
    if features.check("avif"):
        made["AVIF"] = (colour, {"exif": exif})
    files = {}
    for name, (image, options) in made.items():
        buffer = io.BytesIO()
        image.save(buffer, name.split(",")[0], **options)
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, ramp / np.float32(480), bigtiff=True, tile=(16, 16))
    return {**files, "TIFF, big, floating point": buffer.getvalue(), "PPM, plain": b"P3\n2 2\n900\n" + b"7 800 9 " * 4}


FILES = valid_files()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Content with bytes cut, changed, repeated or mixed up."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data)), rng.randint(1, 40)
        match rng.randrange(6):
            case 0:
                del data[at:]
                data = data or bytearray(b"\0")
            case 1:
                data[at : at + length] = rng.randbytes(length)
            case 2:
                data[at] ^= 1 << rng.randrange(8)
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                header = rng.randrange(min(64, len(data)))
                data[header : header + 2] = rng.choice([b"\xff\xff", b"\0\0", b"\x7f\xff"])
            case 5:
                header = rng.randrange(min(200, len(data)))
                data[header] = rng.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")  # what Pillow says of damaged files
def test_mutations_raise_only_image_errors(name: str) -> None:
    assert read_image(FILES[name]).size
    rng = random.Random(name)
    read = 0
    for number in range(MUTATIONS):
        content = mutated(FILES[name], rng)
        try:
            image = read_image(content)
        except ImageError as error:
            assert str(error).startswith("the image: ") and "\n" not in str(error), number
        else:
            read += 1
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
    assert read < MUTATIONS
