"""HEIC images: read where pillow-heif is installed, named where it is not."""

import io
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps

from mftn.errors import ImageError
from mftn.images import read_image
from mftn.output import ImageFolder
from mftn.sources import advice, describe, walk

pillow_heif = pytest.importorskip("pillow_heif")


def heic(photo: PillowImage.Image, orientation: int = 1) -> bytes:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    pillow_heif.from_pillow(photo).save(file, format="HEIF", quality=95, exif=exif.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_it_is_read_upright_from_every_kind_of_source(tmp_path: Path, photos: Path, orientation: int) -> None:
    photo = PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((320, 240))
    content = heic(photo, orientation)
    photo.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(photo), np.float32)
    path = tmp_path / "photo.jpg"  # the name does not matter
    path.write_bytes(content)
    for source in (content, io.BytesIO(content), path):
        image = read_image(source)
        assert image.shape == upright.shape
        assert np.abs(image - upright).mean() < 6


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_cut_off_one_is_an_image_error(photos: Path, share: float) -> None:
    content = heic(PillowImage.open(photos / "astronaut.jpg").convert("RGB"))
    with pytest.raises(ImageError):
        read_image(content[: int(share * len(content))])


def test_avif_of_the_same_container_stays_avif() -> None:
    file = io.BytesIO()
    PillowImage.new("RGB", (64, 48), "red").save(file, "AVIF")
    assert read_image(file.getvalue()).shape == (48, 64, 3)


def test_without_the_extra_one_line_says_how_many_and_what_to_install(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = heic(PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((64, 64)))
    for name in ("a.heic", "b.HEIF"):
        (tmp_path / name).write_bytes(content)
    assert [source.error for source in walk(str(tmp_path))] == [None, None]
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr("mftn.sources.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"a HEIC image: pip install 'mftn\[heif\]'"):
        read_image(content)
    unread = Counter[str]()
    (nothing,) = walk(str(tmp_path), unread=unread)
    assert nothing.error and "2 HEIC images" in nothing.error
    assert describe(unread) == "2 HEIC images" and "pip install 'mftn[heif]'" in advice(unread)
    assert "pip install 'mftn[video]'" in advice(Counter(video=2)) and "[video]" not in advice(unread)


def test_copies_keep_its_date_camera_and_colours(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif.update({0x010F: "Apple", 0x0132: "2024:05:06 07:08:09"})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo, source = PillowImage.new("RGB", (64, 48), "red"), tmp_path / "photo.heic"
    photo.info["icc_profile"] = profile
    pillow_heif.from_pillow(photo).save(source, format="HEIF", exif=exif.tobytes())
    saved = ImageFolder(tmp_path / "out").save(photo, str(source), "faces")
    with PillowImage.open(saved) as copy:
        assert copy.info["icc_profile"] == profile
        assert (copy.getexif()[0x010F], copy.getexif()[0x0132]) == ("Apple", "2024:05:06 07:08:09")
