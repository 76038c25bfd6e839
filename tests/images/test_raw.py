"""RAW images: their preview is read where rawpy is installed; without it they are named."""

import io
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from mftn.errors import ImageError
from mftn.images import read_image
from mftn.sources import advice, describe, walk

pytest.importorskip("rawpy")

KINDS = {1: "B", 3: "H", 4: "I", 5: "I", 10: "i"}
"""Types of TIFF fields, as struct writes them."""


def dng(preview: PillowImage.Image | None, orientation: int = 1) -> bytes:
    """A digital negative (TIFF 6.0, DNG 1.4): a sensor's 64×96 values, behind a JPEG preview if there is one."""
    sensor = np.random.default_rng(0).integers(200, 4000, (64, 96)).astype("<u2").tobytes()
    identity = np.stack([np.eye(3), np.ones((3, 3))], axis=-1).astype(int).ravel().tolist()
    camera: dict[int, Any] = {
        **{271: (2, b"Test\0"), 272: (2, b"Camera\0"), 274: (3, (orientation,)), 50706: (1, (1, 4, 0, 0))},
        **{50708: (2, b"Test\0"), 50721: (10, identity), 50728: (5, (1,) * 6), 50778: (3, (21,))},
    }
    values: dict[int, Any] = {
        **{254: (4, (0,)), 256: (4, (96,)), 257: (4, (64,)), 258: (3, (16,)), 259: (3, (1,)), 262: (3, (32803,))},
        **{273: sensor, 277: (3, (1,)), 278: (4, (64,)), 33421: (3, (2, 2)), 33422: (1, (0, 1, 1, 2))},
        **{50714: (3, (0,)), 50717: (4, (4095,))},
    }
    if preview is None:
        return tiff(values | camera)
    jpeg = io.BytesIO()
    preview.save(jpeg, "JPEG", quality=95)
    sides = {256: (4, (preview.width,)), 257: (4, (preview.height,)), 278: (4, (preview.height,))}
    first = {254: (4, (1,)), 258: (3, (8, 8, 8)), 259: (3, (7,)), 262: (3, (6,)), 273: jpeg.getvalue(), 277: (3, (3,))}
    return tiff(first | sides | {330: values} | camera)


def tiff(tags: dict[int, Any]) -> bytes:
    """A file of one image; tag 330 may hold the tags of another."""
    out = bytearray(b"II*\0\0\0\0\0")
    out[4:8] = struct.pack("<I", _directory(out, tags))
    return bytes(out)


def _directory(out: bytearray, tags: dict[int, Any]) -> int:
    """Append a directory and what it points to; where it begins."""

    def put(content: bytes) -> int:
        out.extend(b"\0" * (len(out) % 2))
        out.extend(content)
        return len(out) - len(content)

    fields = {}
    for tag, value in tags.items():
        if isinstance(value, dict):
            fields[tag] = (4, (_directory(out, value),))
        elif isinstance(value, bytes):  # pixels, with their length under another tag
            fields[tag], fields[279] = (4, (put(value),)), (4, (len(value),))
        else:
            fields[tag] = value
    rows = b""
    for tag, (kind, values) in sorted(fields.items()):
        content = values if kind == 2 else struct.pack(f"<{len(values)}{KINDS[kind]}", *values)
        place = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack("<I", put(content))
        rows += struct.pack("<HHI", tag, kind, len(values) // (2 if kind in (5, 10) else 1)) + place
    return put(struct.pack("<H", len(fields)) + rows + bytes(4))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_its_preview_is_read_upright_from_every_kind_of_source(tmp_path: Path, photos: Path, orientation: int) -> None:
    photo = PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((320, 240))
    content = dng(photo, orientation)
    photo.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(photo), np.float32)
    path = tmp_path / "photo.tif"  # the name does not matter
    path.write_bytes(content)
    for source in (content, io.BytesIO(content), path):
        image = read_image(source)
        assert image.shape == upright.shape
        assert np.abs(image - upright).mean() < 6


def test_without_a_preview_the_sensor_is_read_upright_at_half_the_resolution() -> None:
    assert read_image(dng(None)).shape == (32, 48, 3)
    assert read_image(dng(None, orientation=6)).shape == (48, 32, 3)


@pytest.mark.parametrize("share", [0.002, 0.1, 0.5])
def test_a_cut_off_one_is_an_image_error(photos: Path, share: float) -> None:
    content = dng(PillowImage.open(photos / "astronaut.jpg").convert("RGB"))
    with pytest.raises(ImageError):
        read_image(content[: int(share * len(content))])


@pytest.mark.parametrize(
    "start", [b"FUJIFILMCCD-RAW 0201", b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"]
)
def test_makers_own_formats_go_to_the_raw_reader(start: bytes) -> None:
    with pytest.raises(ImageError, match="damaged or incomplete"):  # not: an image in no known format
        read_image(start.ljust(4096, b"\0"))


def test_an_ordinary_tiff_stays_one() -> None:
    file = io.BytesIO()
    PillowImage.new("RGB", (64, 48), "red").save(file, "TIFF")
    assert (read_image(file.getvalue()) == (255, 0, 0)).all()


def test_in_a_folder_it_is_read_unless_its_jpeg_lies_beside(tmp_path: Path, photos: Path) -> None:
    content = dng(PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((64, 64)))
    for name in ("a.dng", "b.NEF", "c.dng"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "c.JPG").write_bytes(b"")
    unread: Counter[str] = Counter()
    assert [Path(source.path).name for source in walk(str(tmp_path), unread=unread)] == ["a.dng", "b.NEF", "c.JPG"]
    assert describe(unread) == "1 RAW image beside its JPEG"


def test_without_the_extra_one_line_says_how_many_and_what_to_install(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = dng(PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((64, 64)))
    for name in ("a.dng", "b.ARW"):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    monkeypatch.setattr("mftn.sources.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"a RAW image: pip install 'mftn\[raw\]'"):
        read_image(tmp_path / "a.dng")
    unread: Counter[str] = Counter()
    list(walk(str(tmp_path), unread=unread))
    assert describe(unread) == "2 RAW images" and "for RAW images pip install 'mftn[raw]'" in advice(unread)
