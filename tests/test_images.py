import io
import os
import threading
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from mftn.errors import ImageError
from mftn.images import read_image

COLOUR = PillowImage.fromarray(np.dstack([np.tile(np.arange(0, 250, 10, dtype=np.uint8), (20, 1))] * 3))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".ppm"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    COLOUR.save(path)
    image = read_image(path)
    assert image.shape == (20, 25, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - np.array(COLOUR)).max() < 25


def content_of(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class OnlyRead:
    """A stream that can do nothing else."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


def test_paths_bytes_files_arrays_and_pillow_images_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    content = content_of(COLOUR, "PNG")
    path.write_bytes(content)
    at_the_end = io.BytesIO()
    COLOUR.save(at_the_end, "PNG")
    with path.open("rb") as file, zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", content)
        for source in (
            path,
            str(path),
            content,
            bytearray(content),
            memoryview(content),
            io.BytesIO(content),
            at_the_end,
            file,
            archive.open("a.png"),
            OnlyRead(content),
            PillowImage.open(path),
            COLOUR,
            np.array(COLOUR),
        ):
            np.testing.assert_array_equal(read_image(source), np.array(COLOUR))
        assert not file.closed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content_of(COLOUR, "PNG"),))
    writer.start()
    np.testing.assert_array_equal(read_image(tmp_path / "pipe"), np.array(COLOUR))
    writer.join()


def test_arrays_of_other_kinds_are_refused() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_image(grey), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_image(np.dstack([grey] * 3)[:, ::-1]), np.dstack([grey] * 3)[:, ::-1])
    assert read_image(np.dstack([grey] * 3)[:, ::-1]).flags.c_contiguous
    for wrong in (
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((0, 4), np.float32),
        np.zeros(4, np.uint8),
        np.zeros((2, 3, 4, 3), np.uint8),
        grey.astype(int),
        grey.astype(object),
        grey.astype(complex),
        grey > 3,
    ):
        with pytest.raises(ImageError, match=r"the image: an array of"):
            read_image(wrong)
    for wrong in (grey.astype(float), grey / -12, np.full((3, 4), np.nan)):
        with pytest.raises(ImageError, match="^the image: has floating-point values outside 0 to 1; scale them"):
            read_image(wrong)


def test_a_callers_pillow_image_stays_as_it_is(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    COLOUR.convert("P").save(tmp_path / "a.png", exif=exif, transparency=3)
    image = PillowImage.open(tmp_path / "a.png")
    before = (image.mode, image.size, image.filename, dict(image.info))
    assert read_image(image).shape == (25, 20, 3)
    assert (image.mode, image.size, image.filename, dict(image.info)) == before
    assert image.getexif()[0x0112] == 6
    COLOUR.convert("L").save(tmp_path / "grey.png", transparency=30)
    grey = PillowImage.open(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(grey), read_image(grey))
    assert grey.info["transparency"] == 30


JPEG = content_of(PillowImage.effect_noise((200, 200), 90), "JPEG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not a image at all, only text", "not an image in a known format"),
        (b"P", "not an image in a known format"),
        (JPEG[:2000], "damaged or incomplete"),
        (JPEG[:20], "a damaged JPEG"),
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


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: "x" * 300, "cannot be opened"),
        (lambda: "a\0b.jpg", "cannot be opened"),
        (lambda: __file__ + "/a.jpg", "cannot be opened|no such file"),
        (lambda: "", r"\(an empty name\): no such file"),
        (lambda: None, "of type NoneType is not an image; give a path"),
        (lambda: 3, "of type int is not an image"),
        (lambda: [COLOUR], "of type list is not an image"),
        (lambda: b"", "is empty"),
        (lambda: io.StringIO("text"), "returns str, not bytes; open it in binary mode"),
        (lambda: PillowImage.new("RGB", (0, 0)), "has 0×0 pixels"),
        (lambda: PillowImage.new("L", (5, 0)), "has 5×0 pixels"),
        (lambda: PillowImage.open(io.BytesIO(JPEG[:2000])), "damaged or incomplete"),
    ],
)
def test_whatever_is_given_only_image_errors_are_raised(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_image(make())


def test_a_closed_file_or_image_is_an_image_error(tmp_path: Path) -> None:
    COLOUR.save(tmp_path / "a.png")
    file = io.BytesIO(JPEG)
    file.close()
    image = PillowImage.open(tmp_path / "a.png")
    image.close()
    for closed in (file, image):
        with pytest.raises(ImageError):
            read_image(closed)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0" + bytes(range(256)), b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b""]
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_exif_says_nothing_against_the_pixels(kind: str, exif: bytes) -> None:
    image = read_image(content_of(COLOUR, kind, exif=exif))
    assert np.abs(image.astype(int) - np.array(COLOUR)).max() < 25


def test_over_large_images_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PillowImage.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(ImageError, match="more than 178 megapixels"):
        read_image(tmp_path / "huge.png")
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 250)
    np.testing.assert_array_equal(read_image(content_of(COLOUR, "PNG")), np.array(COLOUR))  # 500, the limit itself
    with pytest.raises(ImageError, match="more than 0 megapixels"):
        read_image(content_of(COLOUR.resize((25, 21)), "PNG"))
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", None)
    assert read_image(content_of(COLOUR, "PNG")).shape == (20, 25, 3)


def test_memory_is_reserved_before_pixels_are_decoded() -> None:
    reserved = []
    read_image(content_of(COLOUR, "PNG"), reserved.append)
    with pytest.raises(ImageError, match="damaged or incomplete"):
        read_image(JPEG[:2000], reserved.append)
    for array in (np.array(COLOUR), np.array(COLOUR)[:, :, 0]):
        read_image(array, reserved.append)
    assert reserved == [500, 40_000, 500, 500]

    def full(pixels: int) -> None:
        raise MemoryError

    with pytest.raises(ImageError, match="too large for this machine's memory; scale it down first"):
        read_image(content_of(COLOUR, "PNG"), full)


def test_the_callers_warning_filters_stay_and_good_images_warn_of_nothing(tmp_path: Path) -> None:
    """In many threads at once, above Pillow's limit for a warning, and with transparency in the palette."""
    PillowImage.new("1", (10_000, 9_000)).save(tmp_path / "large.png")
    COLOUR.convert("P").save(tmp_path / "palette.png", transparency=bytes(range(200)))
    paths = [tmp_path / "large.png", *[tmp_path / "palette.png"] * 40]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(lambda path: read_image(path).shape, paths))) == 41
        assert warnings.filters == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_forbidden_files_are_named(tmp_path: Path) -> None:
    COLOUR.save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match="cannot be read; check its permissions"):
        read_image(tmp_path / "a.png")
