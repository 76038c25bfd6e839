import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from mftn.errors import ImageError
from mftn.images import read_image

COLOUR = PillowImage.fromarray(np.dstack([np.tile(np.arange(0, 250, 10, dtype=np.uint8), (20, 1))] * 3))

STORED_AS = {  # what a camera did to the pixels before it wrote the orientation
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_90,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".ppm"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    COLOUR.save(path)
    image = read_image(path)
    assert image.shape == (20, 25, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - np.array(COLOUR)).max() < 25


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:16, :16] = 255  # the corner that must end up on top, left
    stored = PillowImage.fromarray(pixels)
    if orientation in STORED_AS:
        stored = stored.transpose(STORED_AS[orientation])
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_gives_grey_128(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        picture = PillowImage.fromarray(np.full((5, 7), 128 * 257, np.uint16))
    else:
        picture = PillowImage.new("RGB", (7, 5), (128, 128, 128)).convert(mode)
    suffix = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    picture.save(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.shape == (5, 7, 3)
    if mode != "1":  # black and white dithers
        assert np.abs(image.astype(int) - 128).max() <= (26 if mode == "P" else 2)  # the web palette has steps of 51


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    PillowImage.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [PillowImage.new("L", (6, 6), value) for value in (200, 20)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0, 0] == 200


def test_arrays_and_pillow_images() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (read_image(grey)[..., 1] == grey).all()
    assert read_image(PillowImage.new("L", (4, 3), 9)).shape == (3, 4, 3)
    for wrong in (grey.astype(float), np.zeros((3, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ImageError, match="an array of"):
            read_image(wrong)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    PillowImage.effect_noise((200, 200), 90).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not a picture at all, only text", "not a picture in a known format"),
        (jpeg()[:2000], "damaged or incomplete"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ") and reason in str(error.value)


def test_wrong_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: no such file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)


def test_over_large_pictures_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    PillowImage.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(ImageError, match="more than 178 megapixels"):
        read_image(tmp_path / "huge.png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_forbidden_files_are_named(tmp_path: Path) -> None:
    COLOUR.save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match="may not be read"):
        read_image(tmp_path / "a.png")
